"""The container contract: paths, ports, labels and variables that all parts agree on.

The runtime (devkit/runtime) is copied into images and imports nothing from here; a test compares
the two.
"""

from __future__ import annotations

from pathlib import PurePosixPath

APP_ROOT = PurePosixPath("/var/azureml-app")
MODELS_DIR = "azureml-models"
RUNTIME_ROOT = PurePosixPath("/opt/devkit")
RUNTIME_PACKAGE = RUNTIME_ROOT / "devkit_runtime"

SCORE_PORT = 5001
DEBUG_PORT = 5678

# The base image for a Python, and the one that `devkit base bootstrap` makes instead.
OFFICIAL_BASE = "python:{python}-slim"
OWN_BASE = "devkit-base:{python}"

# In the name of what a container had where both sides had changed a file.
CONFLICT = ".conflict-container-"

USER = "devkit"
UID = 1000

# On images, containers and networks; devkit finds its own by the first.
LABEL_SERVICE = "devkit.service"
LABEL_WORKSPACE = "devkit.workspace"
LABEL_CONTENT = "devkit.content-hash"
LABEL_ENVIRONMENT = "devkit.environment-hash"
LABEL_LAYOUT = "devkit.layout"
# On base images that `devkit base bootstrap` made.
LABEL_BASE_PYTHON = "devkit.base.python"
LABEL_PARENT = "devkit.parent"
LABEL_VERSION = "devkit.version"
LABEL_RUN = "devkit.run"
# On containers that never run, made to read an image.
LABEL_READING = "devkit.reading"

# Read by the runtime at start; see devkit/runtime/settings.py.
ENV_DEBUG = "DEVKIT_DEBUG"
ENV_WAIT_FOR_CLIENT = "DEVKIT_WAIT_FOR_CLIENT"
ENV_RELOAD = "DEVKIT_RELOAD"
ENV_STATUS = "DEVKIT_STATUS"
ENV_WORKERS = "DEVKIT_WORKERS"
ENV_MAX_CONCURRENT_REQUESTS = "DEVKIT_MAX_CONCURRENT_REQUESTS"
ENV_RECORD = "DEVKIT_RECORD"
ENV_MAX_QUEUE_WAIT = "DEVKIT_MAX_QUEUE_WAIT_MS"
ENV_SHOW_ERRORS = "DEVKIT_SHOW_ERRORS"
ENV_SCORE_ADDRESS = "DEVKIT_SCORE_ADDRESS"
ENV_DEBUG_ADDRESS = "DEVKIT_DEBUG_ADDRESS"
ENV_DEBUG_CLIENTS = "DEVKIT_DEBUG_CLIENTS"
ENV_SCORING_TIMEOUT = "SCORING_TIMEOUT_MS"
