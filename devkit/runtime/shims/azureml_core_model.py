"""Model.get_model_path as the SDK has it: same search order, same errors, same DEBUG listing.

Source: azureml-core 1.61.0 as run, azureml-spec.md 1.2.
"""

from __future__ import annotations

import logging
import os
from typing import Any, List, Optional

from azureml.exceptions import ModelNotFoundException, WebserviceException

module_logger = logging.getLogger(__name__)

MODELS_DIR = os.path.join(os.environ.get("AML_APP_ROOT", ""), "azureml-models")


class Model:
    """The one function of the SDK's class that entry scripts call in a container."""

    @staticmethod
    def get_model_path(
        model_name: str, version: Optional[int] = None, _workspace: Any = None
    ) -> str:
        """Return the path of a model's one file or folder.

        Looks in MODELS_DIR/name/version, the largest version where none is given, then for `name`
        in the current directory.

        Raises:
            ModelNotFoundException: neither place has it (WebserviceException where a version was
            given). WebserviceException: the arguments or the layout are wrong.
        """
        if model_name is None:
            raise WebserviceException("model_name is None")
        if version is not None and (not isinstance(version, int) or isinstance(version, bool)):
            raise WebserviceException("version should be an int")
        if "SERVICE_NAME" not in os.environ:
            module_logger.debug(
                "RunEnvironmentException: not inside a submitted run, looking for a local model"
            )
        folder = os.path.join(MODELS_DIR, model_name)
        chosen = _latest(folder) if version is None and os.path.isdir(folder) else version
        if chosen is not None and os.path.isdir(os.path.join(folder, str(chosen))):
            origin = "latest" if version is None else "passed in"
            module_logger.debug("Using %s version %s of model %s", origin, chosen, model_name)
            return _only_entry(os.path.join(folder, str(chosen)))
        return _from_working_directory(model_name, version)


def _latest(folder: str) -> int:
    versions = [name for name in os.listdir(folder) if os.path.isdir(os.path.join(folder, name))]
    if not versions:
        raise WebserviceException("versions is empty: {} holds no version directory".format(folder))
    strange = [name for name in versions if not name.isdigit()]
    if strange:
        raise WebserviceException(
            "{} may hold only version numbers, found: {}".format(folder, strange)
        )
    return max(int(name) for name in versions)


def _only_entry(folder: str) -> str:
    entries = sorted(os.listdir(folder))
    if len(entries) != 1:
        raise WebserviceException(
            "Directory {} may only contain 1 file or folder. Found: {}".format(folder, entries)
        )
    path = os.path.join(folder, entries[0])
    module_logger.debug("Found model path at %s", path)
    return path


def _from_working_directory(model_name: str, version: Optional[int]) -> str:
    files = _files(MODELS_DIR)
    module_logger.debug(
        "Falling back to the working directory for %s; %s has %d files:\n%s",
        model_name,
        MODELS_DIR,
        len(files),
        "\n".join(files),
    )
    if os.path.exists(model_name):
        return model_name
    message = (
        "Model {} not found in cache at {} or in current working directory {}. "
        "For more info, set logging level to DEBUG."
    ).format(model_name, MODELS_DIR, os.getcwd())
    raise (ModelNotFoundException if version is None else WebserviceException)(message)


def _files(folder: str) -> List[str]:
    return [
        os.path.join(where, name) for where, _, names in os.walk(folder) for name in sorted(names)
    ]
