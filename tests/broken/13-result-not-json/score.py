def init():
    pass


def run(data):
    labels = {"a", "b"}
    return {"n": 2, "labels": labels}
