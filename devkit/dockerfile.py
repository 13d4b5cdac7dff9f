"""Step 1, package: the text of the Dockerfile, from the template and the user's own base."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined

from devkit.config import Workspace
from devkit.errors import BadValue

_STAGE = "devkit-base"
_FROM = re.compile(
    r"^\s*FROM\s+(?P<flags>(?:--\S+\s+)*)(?P<image>\S+)(?:\s+AS\s+(?P<name>\S+))?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_COPIES = re.compile(r"^\s*(COPY|ADD)\s+(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
_REFERENCE = re.compile(r"^[\w][\w.\-/:@]*$")


@dataclass(frozen=True)
class Base:
    """Where the image starts: text that ends in the stage devkit-base, and its first image."""

    text: str
    image: str


def base(workspace: Workspace, python: str, chosen: str | None) -> Base:
    """Decide the base: `chosen`, else image.dockerfile, else image.base, else python:X.Y-slim.

    Raises:
        BadValue: image.dockerfile cannot be used, or the base is no image name.
    """
    own = workspace.config.image.dockerfile
    if own and not chosen:
        return _own(own, workspace.root)
    image = chosen or workspace.config.image.base or f"python:{python}-slim"
    if not _REFERENCE.match(image):
        raise BadValue(
            f"{image!r} is not the name of an image.",
            hint='Write image.base as in "python:3.13-slim".',
        )
    return Base(f"FROM {image} AS {_STAGE}", image)


def render(values: Mapping[str, Any], *, buildkit: bool) -> str:
    """Fill the template in; plain, or with BuildKit's mounts."""
    return _templates().get_template("Dockerfile.j2").render(values, buildkit=buildkit)


@cache
def _templates() -> Templates:
    package = Path(__file__).parent
    templates = Templates(
        # In a wheel they are in the package, in a checkout beside it.
        loader=FileSystemLoader([package / "templates", package.parent / "templates"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # no HTML; `quoted` and `sh` escape
    )
    templates.filters["quoted"] = _quoted
    templates.filters["sh"] = shlex.quote
    return templates


def _quoted(value: str) -> str:
    """A value of an ENV line; spaces, quotes and dollar signs stay what they are."""
    if "\n" in value:
        raise BadValue(
            "A variable of the image holds a line break, which a Dockerfile cannot express.",
            hint="Set it when the container runs: `run.env` in devkit.yaml.",
        )
    escaped = re.sub(r'([\\"$])', r"\\\1", value)
    return f'"{escaped}"'


def _own(written: str, root: Path) -> Base:
    """Read image.dockerfile: the text itself, or the path of a file."""
    text = written
    origin = "image.dockerfile"
    if "\n" not in written and not _FROM.match(written):
        path = root / written
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
    return Base(whole.rstrip(), stages[0]["image"])


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
