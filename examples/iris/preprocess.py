import numpy as np

COLUMNS = ["sepal length", "sepal width", "petal length", "petal width"]


def as_features(data):
    """Rows of four lengths in centimetres, as the model was trained on."""
    features = np.asarray(data, dtype=float)
    if features.ndim != 2 or features.shape[1] != len(COLUMNS):
        raise ValueError(f"each row needs {len(COLUMNS)} numbers: {', '.join(COLUMNS)}")
    return features
