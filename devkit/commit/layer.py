"""Step 6, commit: what a container has that its image has not, file by file.

The engine names the paths; what stands there is read out of the committed image, so that what
changed in the meantime does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from devkit.commit import files
from devkit.commit.record import Changed
from devkit.engine import FileChange, Member, listed

# A password that is shorter would be found everywhere.
_SECRET_BYTES = 8
_SEARCHED_BYTES = 4 * files.BLOCK


@dataclass(frozen=True)
class Layer:
    """Files that differ, by path; `leaks` says in which file which variable's value stands."""

    files: tuple[Changed, ...]
    leaks: Mapping[str, str]


def paths(changes: Sequence[FileChange]) -> set[PurePosixPath]:
    """Return those of what changed that may be files and are there."""
    folders = {parent for change in changes for parent in change.path.parents}
    return {change.path for change in changes if change.kind != "deleted"} - folders


def perhaps_replaced(changes: Sequence[FileChange]) -> set[PurePosixPath]:
    """Return the folders that may have been files: the engine says only that they are changed.

    One with something in it that was there before was a folder before.
    """
    kinds = {change.path: change.kind for change in changes}
    below = {path.parent for path, kind in kinds.items() if kind == "added"}
    were = {path.parent for path, kind in kinds.items() if kind != "added"}
    return {path for path in below - were if kinds.get(path) == "modified"}


def read(
    changes: Sequence[FileChange], members: Iterable[Member], *, secrets: Mapping[str, str]
) -> Layer:
    """Look at the changed files of a container.

    Args:
        changes: what the engine says of the container that was committed.
        members: what of that is in the image.
        secrets: values that should stand in no file, by their names.
    """
    kinds = {change.path: change.kind for change in changes}
    found = [Changed(str(c.path), c.kind) for c in changes if c.kind == "deleted"]
    wanted = {n: v.encode() for n, v in secrets.items() if len(v) >= _SECRET_BYTES}
    leaks = dict[str, str]()
    for path, member, content in members:
        digest, leaked = _digest(content, wanted)
        name = listed(path)
        leaks.update(dict.fromkeys(leaked, str(name)))
        if content is None:
            digest = hashlib.sha256(member.linkname.encode(errors="surrogateescape")).hexdigest()
        found.append(Changed(str(name), kinds[name], member.size, digest))
    return Layer(tuple(sorted(found, key=lambda item: item.path)), leaks)


def _digest(content: IO[bytes] | None, wanted: Mapping[str, bytes]) -> tuple[str, set[str]]:
    """Return a content's digest, and which secrets are in it."""
    digest, leaked, searched, rest = hashlib.sha256(), set[str](), 0, b""
    while content is not None and (block := content.read(files.BLOCK)):
        digest.update(block)
        if searched < _SEARCHED_BYTES:
            searched += len(block)
            # One may begin in the block before.
            text = rest + block
            leaked.update(name for name, value in wanted.items() if value in text)
            rest = text[-256:]
    return digest.hexdigest(), leaked
