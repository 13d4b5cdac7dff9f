"""Step 7, diagnose: which package on PyPI brings a module, and what packages bring besides.

Own tables: the data that pipreqs ships comes with IPython, and names homonyms too.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from functools import cache

from packaging.utils import canonicalize_name

_OTHER_NAMES = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyopenssl",
    "PIL": "pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "faiss": "faiss-cpu",
    "fitz": "pymupdf",
    "git": "gitpython",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "imblearn": "imbalanced-learn",
    "jose": "python-jose",
    "jwt": "pyjwt",
    "kafka": "kafka-python",
    "magic": "python-magic",
    "mpl_toolkits": "matplotlib",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pywt": "pywavelets",
    "scikits": "scikit-learn",
    "sentence_transformers": "sentence-transformers",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socks": "pysocks",
    "sksurv": "scikit-survival",
    "tf_keras": "tf-keras",
    "umap": "umap-learn",
    "usb": "pyusb",
    "win32com": "pywin32",
    "yaml": "pyyaml",
    "zmq": "pyzmq",
}
# Modules below a name that many packages share: azure.x and google.x have one package each.
_SHARED = ("azure", "google", "opentelemetry", "zope", "ruamel", "backports")

_SKLEARN = "numpy scipy joblib threadpoolctl"
_PANDAS = "numpy python-dateutil pytz tzdata six"
# What an image of devkit has in any case: the inference server, and what that needs.
_SERVER_NAMES = """
    azureml-inference-server-http azureml-core azureml debugpy flask flask-cors gunicorn
    inference-schema pydantic pydantic-core pydantic-settings python-dateutil pytz six wrapt
    werkzeug jinja2 markupsafe itsdangerous click blinker typing-extensions python-dotenv psutil
    requests urllib3 certifi idna charset-normalizer azure-core azure-identity packaging ptvsd
    azure-monitor-opentelemetry-exporter opentelemetry-api opentelemetry-sdk msal cryptography cffi
    msrest isodate annotated-types
"""
SERVER = frozenset(_SERVER_NAMES.split())
# Package -> what it installs besides itself; for these, and only these, that is known here.
_BRINGS = {
    "numpy": "",
    "scipy": "numpy",
    "joblib": "",
    "threadpoolctl": "",
    "six": "",
    "pyyaml": "",
    "pillow": "",
    "requests": "urllib3 certifi idna charset-normalizer",
    "flask": "werkzeug jinja2 markupsafe itsdangerous click blinker",
    "beautifulsoup4": "soupsieve typing-extensions",
    "scikit-learn": _SKLEARN,
    "pandas": _PANDAS,
    "xgboost": "numpy scipy",
    "lightgbm": "numpy scipy",
    "catboost": f"{_PANDAS} scipy graphviz matplotlib plotly pillow",
    "imbalanced-learn": _SKLEARN + " scikit-learn",
    "onnx": "numpy protobuf typing-extensions ml-dtypes",
    "onnxruntime": "numpy protobuf flatbuffers packaging coloredlogs sympy mpmath",
    "torch": "numpy filelock typing-extensions networkx jinja2 markupsafe fsspec sympy mpmath",
    "opencv-python-headless": "numpy",
    "opencv-python": "numpy",
    "matplotlib": "numpy pillow python-dateutil six packaging cycler contourpy pyparsing",
    "statsmodels": f"{_PANDAS} scipy patsy packaging",
    "azureml-defaults": "azureml-core azureml-inference-server-http applicationinsights",
    "azureml-inference-server-http": "",
    "azureml-core": "",
    "debugpy": "",
    "ptvsd": "",
    "pip": "",
    "setuptools": "",
    "wheel": "",
    "python-dotenv": "",
    "python-dateutil": "six",
    "pydantic": "pydantic-core annotated-types typing-extensions",
    "joblibspark": "joblib",
}


def package(module: str) -> str:
    """Return the package that brings a dotted module, as far as names tell."""
    top = module.split(".")[0]
    if top in _SHARED:
        below = module.split(".")[:3]
        return _OTHER_NAMES.get(".".join(below[:2])) or canonicalize_name("-".join(below))
    if top in _OTHER_NAMES:
        return _OTHER_NAMES[top]
    # What is installed beside devkit is not what the service has, but has the same names.
    here = _installed_here().get(top, ())
    return canonicalize_name(here[0]) if len(here) == 1 else canonicalize_name(top)


def brought(packages: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return what packages install, themselves included, and those of which that is not known."""
    asked = set(packages)
    found = asked | SERVER
    for name in asked:
        found |= set(_BRINGS.get(name, "").split())
    return found, asked - _BRINGS.keys()


@cache
def _installed_here() -> Mapping[str, list[str]]:
    # Each call reads the metadata of all packages: 0.15 s.
    return importlib.metadata.packages_distributions()
