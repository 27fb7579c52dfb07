from setuptools import Extension, setup

setup(
    name="greeter",
    version="1.0",
    py_modules=["greeter"],
    ext_modules=[Extension("_greeter", ["_greeter.c"], libraries=["pq"])],
)
