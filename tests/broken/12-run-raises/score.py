def init():
    pass


def run(data):
    raise ValueError("no such class")
