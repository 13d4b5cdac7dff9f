"""Between steps: what a container's labels say, checked first, as anybody can write labels."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from devkit import contract
from devkit.engine import Container, Engine
from devkit.errors import NotOurs

FRAME = "devkit.frame-hash"
OPTIONS = "devkit.options"
# PATH_MAX and NAME_MAX of Linux.
_MOST_BYTES, _MOST_NAME = 4096, 255


@dataclass(frozen=True)
class Options:
    """With which options a container was started.

    `config` holds dotted keys; of the variables in `env` only the names were written down.
    """

    config: Mapping[str, Any]
    env: tuple[str, ...]
    debug: bool


def is_ours(engine: Engine, container: Container) -> bool:
    """Whether devkit started it: it has the mark of a start, and its service's name.

    All other labels may come with the image; the mark may not, whatever the image says.
    """
    mark = container.labels.get(contract.LABEL_RUN)
    if not mark or container.labels.get(contract.LABEL_SERVICE) != container.name:
        return False
    image = engine.image(container.image_id)
    return image is None or image.labels.get(contract.LABEL_RUN) != mark


def workspace(container: Container) -> Path:
    """Return the folder that a container was made from.

    Raises:
        NotOurs: the label names none.
    """
    text = container.labels.get(contract.LABEL_WORKSPACE, "")
    if not _is_path(text) or not Path(text).is_absolute():
        raise _unreadable(container, contract.LABEL_WORKSPACE)
    return Path(text)


def layout(container: Container) -> list[Mapping[str, str]]:
    """Return which local path is which remote one; the source directory is the first.

    Raises:
        NotOurs: the label says something else.
    """
    pairs = _json(container, contract.LABEL_LAYOUT, "[]")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise _unreadable(container, contract.LABEL_LAYOUT)
    return pairs


def options(container: Container) -> Options:
    """Return the options that stick to a container.

    `--bind` and `--allow-remote-debug` never do: who wants an open port asks for it each time.

    Raises:
        NotOurs: the label says something else.
    """
    said = _json(container, OPTIONS, "{}")
    said = said if isinstance(said, dict) else {"config": None}
    config, env, debug = said.get("config", {}), said.get("env", []), said.get("debug", True)
    fits = isinstance(config, dict) and isinstance(env, list) and isinstance(debug, bool)
    if not fits or not all(isinstance(name, str) for name in env):
        raise _unreadable(container, OPTIONS)
    return Options(config, tuple(env), debug)


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, dict) or set(pair) != {"local", "remote"}:
        return False
    if not all(map(_is_path, pair.values())):
        return False
    remote = PurePosixPath(pair["remote"])
    return contract.APP_ROOT in remote.parents and ".." not in remote.parts


def _is_path(text: object) -> bool:
    """Whether the system takes it for a path."""
    if not isinstance(text, str) or "\0" in text:
        return False
    try:
        path = os.fsencode(text)
    except UnicodeEncodeError:  # half of a character
        return False
    return len(path) < _MOST_BYTES and all(len(name) <= _MOST_NAME for name in path.split(b"/"))


def _json(container: Container, label: str, default: str) -> Any:
    try:
        return json.loads(container.labels.get(label, default))
    except (ValueError, RecursionError) as error:
        raise _unreadable(container, label) from error


def _unreadable(container: Container, label: str) -> NotOurs:
    return NotOurs(
        f"The label {label} of the container {container.name} is not as devkit writes it.",
        hint=f"Take out what you need of it, then: `docker rm --force {container.name}`",
    )
