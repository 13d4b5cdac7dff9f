"""Step 0, configure: the devkit.yaml that `devkit init` writes, with what was detected and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devkit.config import CONFIG_FILE, Workspace, schema
from devkit.errors import BadValue
from devkit.own_folder import NAME, own_file, own_folder

SCHEMA_NAME = "schema.json"
SCHEMA_PATH = f"{NAME}/{SCHEMA_NAME}"

_COMMENTS = {
    "service": "names the container, its network and what the commands print",
    "entry_script": "has init() and run()",
    "source_directory": "all of it goes into the image",
    "environment": "a conda file, requirements.txt or pyproject.toml",
    "models": "each lands in azureml-models/<name>/<version>/",
}
_OTHERS = """\
# The other keys have defaults (`devkit config show --origin` says all of them):
#
# image: {base: python:3.13-slim, tag: "debug:1", apt: [libgomp1]}
# ports: {score: 8000, debug: 5678}     # on 127.0.0.1; a number or auto
# run: {env: {NAME: value}, env_file: null, memory: null, cpus: null, gpus: null, read_only: false}
# runtime: {status: aks, reload: process, workers: 1, scoring_timeout_ms: 60000}
# debug: {wait_for_client: false, just_my_code: true}
"""


@dataclass(frozen=True)
class Initialised:
    """The file that `devkit init` wrote, or would have written."""

    path: Path
    text: str


def write(workspace: Workspace, *, force: bool, dry_run: bool) -> Initialised:
    """Write devkit.yaml, and its schema where editors find it.

    Raises:
        BadValue: there is a devkit.yaml, and no `force`; or the folder cannot be written to.
    """
    path = workspace.root / CONFIG_FILE
    if path.exists() and not (force or dry_run):
        raise BadValue(f"{path} is there already.", hint="`devkit init --force` writes over it.")
    made = Initialised(path, rendered(workspace))
    if not dry_run:
        try:
            _store(workspace.root, made)
        except OSError as error:
            raise BadValue(
                f"{path} cannot be written: {error.strerror or error}.",
                hint="Correct the folder's rights; `devkit init --dry-run` prints the file.",
            ) from error
    return made


def rendered(workspace: Workspace) -> str:
    """Return the text of a devkit.yaml that says what was found, and names what else there is."""
    config = workspace.config.model_dump(mode="json", include=set(_COMMENTS))
    lines = [f"# yaml-language-server: $schema={SCHEMA_PATH}", ""]
    for key, comment in _COMMENTS.items():
        if workspace.origins[key] == "default":
            continue
        block = _block(key, config[key])
        lines += [f"{block[0]}  # {comment}", *block[1:]]
    return "\n".join([*lines, "", _OTHERS])


def _store(root: Path, made: Initialised) -> None:
    schema_path = own_file(own_folder(root) / SCHEMA_NAME)
    schema_path.write_text(json.dumps(schema(), indent=2) + "\n", "utf-8")
    made.path.write_text(made.text, "utf-8")


def _block(key: str, value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"{key}:", *(f"  - {_flow(item)}" for item in value)]
    return [f"{key}: {_flow(value)}"]


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    text = str(value)
    # A word that YAML would read as something else, or that breaks a flow mapping, is quoted.
    plain = yaml.safe_load(text) == value and not set(text) & set(",[]{}#&*!|>'\"%@`:")
    return text if plain or not isinstance(value, str) else json.dumps(value, ensure_ascii=False)
