"""Step 6, commit: what a committed image says of itself, in its labels.

Anybody can write labels: what does not fit is left out, and nothing is done because of them but to
show them and to decide which files are compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, Literal

from devkit.contract import LABEL_PARENT
from devkit.engine import Image

Kind = Literal["added", "modified", "deleted"]

MESSAGE = "devkit.message"
CREATED = "devkit.committed"
CHANGED = "devkit.changed"
LAYER = "devkit.layer"
PACKAGED = "devkit.packaged"
CONTAINER = "devkit.container"
GIT = "devkit.git"
# More than that makes an image's configuration slow to read; the number is told all the same.
MOST_FILES = 5_000
_UNDONE: Mapping[Kind, Kind] = {"added": "deleted", "modified": "modified", "deleted": "added"}


@dataclass(frozen=True)
class Changed:
    """A file that is not as it was; `bytes` and `digest` (sha256) are of what it is now."""

    path: str
    kind: Kind
    bytes: int = 0
    digest: str = ""


@dataclass(frozen=True)
class Git:
    """Which revision the workspace had; `dirty`: it had changes beside."""

    revision: str
    dirty: bool


@dataclass(frozen=True)
class Record:
    """How a committed image came to be.

    `parent` is the image (id, tag) that the container was last committed as, or came from;
    `packaged` the id of the one whose layers lie below; `changed` is what differs from the parent,
    `layer` what differs from the packaged one; `files` counts the changed ones, also those left
    out.
    """

    parent: str
    parent_tag: str
    packaged: str
    container: str
    message: str
    committed: str
    changed: tuple[Changed, ...]
    layer: tuple[Changed, ...]
    files: int
    git: Git | None = None

    def labels(self) -> dict[str, str]:
        """Return the labels that say it."""
        git = {} if self.git is None else {GIT: _json(asdict(self.git))}
        return {
            LABEL_PARENT: _json({"id": self.parent, "tag": self.parent_tag}),
            PACKAGED: self.packaged,
            CONTAINER: self.container,
            MESSAGE: self.message,
            CREATED: self.committed,
            CHANGED: _json({"files": self.files, "list": _rows(self.changed)}),
            LAYER: _json(_rows(self.layer)),
            **git,
        }


def of(image: Image) -> Record | None:
    """Read an image's record; None where it has none, or one that is not as devkit writes it."""
    return _read(tuple(item for item in image.labels.items() if is_label(item[0])))


@lru_cache(maxsize=256)
def _read(labels: tuple[tuple[str, str], ...]) -> Record | None:
    # A list of images asks for each several times, and thousands of files may be in one.
    said = dict(labels)
    try:
        parent, changed = json.loads(said[LABEL_PARENT]), json.loads(said[CHANGED])
        git = json.loads(said[GIT]) if GIT in said else None
        return Record(
            parent=_text(parent["id"]),
            parent_tag=_text(parent["tag"]),
            packaged=said[PACKAGED],
            container=said[CONTAINER],
            message=said[MESSAGE],
            committed=said[CREATED],
            changed=_changed(changed["list"]),
            layer=_changed(json.loads(said[LAYER])),
            files=_count(changed["files"]),
            git=Git(_text(git["revision"]), git["dirty"] is True) if git else None,
        )
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError):
        return None


def is_label(name: str) -> bool:
    """Whether a label is of a record, which an image of another one must not inherit."""
    return name in (LABEL_PARENT, PACKAGED, CONTAINER, MESSAGE, CREATED, CHANGED, LAYER, GIT)


def since(parent: Iterable[Changed], now: Iterable[Changed]) -> list[Changed]:
    """Return what differs between two layers on the same image, as changes from the first on."""
    before = {item.path: item for item in parent}
    after = {item.path: item for item in now}
    were_gone, are_gone = _gone(before), _gone(after)
    folders = {str(parent) for path in after for parent in PurePosixPath(path).parents}
    found = [
        replace(item, kind=_kind(before.get(path), item, was_gone=were_gone(path)))
        for path, item in after.items()
        if before.get(path) != item and not (item.kind == "deleted" and were_gone(path))
    ]
    # What the parent had changed is again as in the packaged image, unless its folder is gone.
    found += [
        Changed(path, _UNDONE[item.kind])
        for path, item in before.items()
        if path not in after and path not in folders and not are_gone(path)
    ]
    return sorted(found, key=lambda item: item.path)


def _kind(before: Changed | None, now: Changed, *, was_gone: bool) -> Kind:
    if now.kind == "deleted":
        return "deleted"
    if before is None:
        return "added" if was_gone else now.kind
    return "added" if before.kind == "deleted" else "modified"


def _gone(layer: Mapping[str, Changed]) -> Callable[[str], bool]:
    """Say whether a path is below a folder that a layer deletes: only the folder is listed."""
    deleted = {PurePosixPath(path) for path, item in layer.items() if item.kind == "deleted"}

    def is_gone(path: str) -> bool:
        return not deleted.isdisjoint(PurePosixPath(path).parents)

    return is_gone


def _rows(changed: Iterable[Changed]) -> list[list[Any]]:
    return [[c.path, c.kind, c.bytes, c.digest] for c in changed][:MOST_FILES]


def _changed(rows: Any) -> tuple[Changed, ...]:
    return tuple(
        Changed(_text(path), _known(kind), int(size), _text(digest))
        for path, kind, size, digest in rows
    )


def _known(kind: Any) -> Kind:
    if kind not in ("added", "modified", "deleted"):
        raise ValueError(f"unknown kind {kind!r}")
    known: Kind = kind
    return known


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("no number of files")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    value.encode()  # half a character, which JSON can say, could not be shown
    return value


def _json(value: Mapping[str, Any] | list[Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
