print("from src")
