from _greeter import version


def greet(name):
    return f"hello {name}, libpq {version() // 10000}"
