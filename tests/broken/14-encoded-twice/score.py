import json


def init():
    pass

def run(data):
    return json.dumps({"x": 1})
