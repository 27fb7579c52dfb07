import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def hello():
    return f"flask as {os.getuid()}\n"
