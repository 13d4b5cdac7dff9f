"""Step 1, package: the text of the Dockerfile, from the template and the user's own base."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from devkit import contract as c
from devkit.config import Workspace
from devkit.errors import BadValue
from devkit.package import build_secrets, models
from devkit.package.environment import Environment
from devkit.package.network import Network

_STAGE = "devkit-base"
_FROM = re.compile(
    r"^\s*FROM\s+(?P<flags>(?:--\S+\s+)*)(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_COPIES = re.compile(r"^\s*(COPY|ADD)\s+(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
_APT_PACKAGE = re.compile(r"^[a-z0-9][a-z0-9+.\-]*(:[a-z0-9]+)?([=/][\w.+:~\-]+)?$")
# "ARG VERSION=3.13" and "${VERSION}", "${VERSION:-3.13}" or "$VERSION" in a FROM line.
_ARG = re.compile(r"^\s*ARG\s+(\w+)=(\S+)", re.IGNORECASE | re.MULTILINE)
_ARG_USED = re.compile(r"\$(?:\{(?P<braced>\w+)(?::-(?P<default>[^}]*))?\}|(?P<bare>\w+))")
_REFERENCE = re.compile(r"^[\w][\w.\-/:@]*$")


@dataclass(frozen=True)
class Base:
    """Where the image starts: text that ends in the stage devkit-base, and its first image.

    `is_whole` says that nothing of the user's is built on that image.
    """

    text: str
    image: str
    is_whole: bool = True


def base(workspace: Workspace, chosen: str | None, *, default: str) -> Base:
    """Decide the base: `chosen`, else image.dockerfile, else image.base, else `default`.

    Raises:
        BadValue: image.dockerfile cannot be used, or the base is no image name.
    """
    own = workspace.config.image.dockerfile
    if own and not chosen:
        return _own(own, workspace)
    image = chosen or workspace.config.image.base or default
    if not _REFERENCE.match(image):
        raise BadValue(
            f"{image!r} is not the name of an image.",
            hint='Write image.base as in "python:3.13-slim".',
        )
    return Base(f"FROM {image} AS {_STAGE}", image)


def variables(workspace: Workspace, wanted: Environment, source: str) -> dict[str, str]:
    """The variables that the image sets; the service's own stand first, so that ours hold."""
    config = workspace.config
    return {
        **dict(wanted.variables),
        "AML_APP_ROOT": str(c.APP_ROOT),
        "AZUREML_ENTRY_SCRIPT": f"{source}/{PurePosixPath(config.entry_script)}",
        "AZUREML_SOURCE_DIRECTORY": source,
        "AZUREML_MODEL_DIR": models.model_dir(config.models),
        c.ENV_DEBUG: "1",
        c.ENV_WAIT_FOR_CLIENT: str(int(config.debug.wait_for_client)),
        c.ENV_RELOAD: config.runtime.reload,
        c.ENV_STATUS: config.runtime.status,
        c.ENV_WORKERS: str(config.runtime.workers),
        c.ENV_SCORING_TIMEOUT: str(config.runtime.scoring_timeout_ms),
        "PYTHONUNBUFFERED": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "VIRTUAL_ENV": "/opt/env",
    }


def values(
    workspace: Workspace,
    wanted: Environment,
    reach: Network,
    start: Base,
    *,
    env: Mapping[str, str],
    has_models: bool,
) -> dict[str, Any]:
    """What the template is filled with.

    Raises:
        BadValue: run.user or image.apt does not do.
    """
    uid, gid = user_ids(workspace.config.run.user)
    for name in workspace.config.image.apt:
        if not _APT_PACKAGE.match(name):
            raise BadValue(
                f"image.apt: {name!r} is not the name of a Debian package.",
                hint='Write it as in "libgomp1".',
            )
    return {
        "base": start.text,
        "base_name": start.image,
        "python": wanted.python,
        "python_place": wanted.python_place,
        "editor": ["vim"],
        "apt": list(workspace.config.image.apt),
        "uid": uid,
        "gid": gid,
        "user": c.USER,
        "settings": sorted(reach.settings),
        "secret": build_secrets.INDEX if reach.secrets else "",
        "has_ca": reach.ca is not None,
        "has_requirements": bool(wanted.wants.lines or wanted.wants.local),
        "constraints": bool(wanted.wants.constraints),
        "local": bool(wanted.wants.local),
        "needs_git": any("git+" in line for line in wanted.requirements),
        "models": has_models,
        "app_root": c.APP_ROOT,
        "models_dir": c.MODELS_DIR,
        "runtime": c.RUNTIME_PACKAGE,
        "ports": (c.SCORE_PORT, c.DEBUG_PORT),
        "env": dict(env),
        "command": ["python", str(c.RUNTIME_PACKAGE)],
    }


def user_ids(user: int | str) -> tuple[int, int]:
    """Return the user and the group that `run.user` means.

    Raises:
        BadValue: it is no number, nor "root".
    """
    text = "0" if user == "root" else str(user)
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not (gid or "0").isdecimal():
        raise BadValue(
            f"run.user: {user!r} is not a user id.",
            hint='Write a number, as in 1000 or "1000:100"; the image makes that user.',
        )
    return int(uid), int(gid or uid)


def _own(written: str, workspace: Workspace) -> Base:
    """Read image.dockerfile: the text itself, or the path of a file."""
    text = written
    origin = "image.dockerfile"
    if "\n" not in written and not _FROM.match(written):
        path = workspace.root / written
        if not path.is_file():
            raise BadValue(
                f"image.dockerfile names {written}, which is not there.",
                hint="Correct the path, or write the Dockerfile's text there.",
            )
        text, origin = path.read_text(encoding="utf-8-sig"), written
    _refuse_copies(text, origin)
    stages = list(_FROM.finditer(text))
    if not stages:
        raise BadValue(
            f"{origin} has no FROM line.", hint='Start it with one, as in "FROM python:3.13-slim".'
        )
    last = stages[-1]
    named = f"FROM {last['flags']}{last['image']} AS {_STAGE}"
    whole = text[: last.start()] + "\n" * _leading(last[0]) + named + text[last.end() :]
    if last["name"]:
        # Later lines of theirs may copy from that name.
        whole = f"{text.rstrip()}\n\nFROM {last['name']} AS {_STAGE}"
    image = _first_image(text, stages[0], workspace.config.build.args, origin)
    return Base(whole.rstrip(), image, is_whole=False)


def _first_image(text: str, stage: re.Match[str], args: Mapping[str, str], origin: str) -> str:
    """Return the image of a FROM line, its arguments filled in: the engine is asked for it."""
    values = {**dict(_ARG.findall(text[: stage.start()])), **args}

    def value(use: re.Match[str]) -> str:
        given = values.get(use["braced"] or use["bare"]) or use["default"] or ""
        return given.strip("\"'")

    image = _ARG_USED.sub(value, stage["image"])
    if not _REFERENCE.match(image):
        raise BadValue(
            f"{origin}: FROM {stage['image']} names no image.",
            hint="Give its arguments a value: ARG NAME=..., or build.args in devkit.yaml.",
        )
    return image


def _leading(matched: str) -> int:
    return len(matched) - len(matched.lstrip("\n"))


def _refuse_copies(text: str, origin: str) -> None:
    for match in _COPIES.finditer(text):
        rest = match["rest"]
        if "--from=" in rest or (match[1].upper() == "ADD" and "://" in rest):
            continue
        line = text[: match.start(1)].count("\n") + 1
        raise BadValue(
            f"{origin}:{line}: {match[1].upper()} cannot take files of the workspace.",
            hint="The source directory and the models get into the image by themselves.",
        )
