from azureml.core.model import Model


def init():
    Model.get_model_path("my-best-model")


def run(data):
    return 1
