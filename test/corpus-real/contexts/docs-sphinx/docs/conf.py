project = "Manual"
html_theme = "basic"
exclude_patterns = ["requirements.txt"]
