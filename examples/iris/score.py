import json
import logging
import pickle

from azureml.core.model import Model

from preprocess import as_features

SPECIES = ["setosa", "versicolor", "virginica"]


def init():
    global model
    path = Model.get_model_path("iris")
    with open(path, "rb") as file:
        model = pickle.load(file)
    logging.info("loaded %s", path)


def run(raw_data):
    data = json.loads(raw_data)["data"]
    features = as_features(data)
    label = model.predict(features)
    return {"species": [SPECIES[number] for number in label]}
