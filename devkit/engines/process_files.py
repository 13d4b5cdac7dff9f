"""Files of a process's application root, by the paths that a container would have."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from errno import ENOENT
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO

from devkit.contract import APP_ROOT
from devkit.errors import Unsupported

_CHUNK = 1 << 16


def here(root: Path, path: PurePosixPath) -> Path:
    """Return a container's path as this machine has it."""
    return root / path.relative_to(APP_ROOT) if path.is_relative_to(APP_ROOT) else Path(path)


def inside(root: Path, path: PurePosixPath) -> Path:
    """Return an existing path below the application root.

    Raises:
        FileNotFoundError: it is not there.
        Unsupported: it is outside the application root.
    """
    found = here(root, path)
    if not found.is_relative_to(root) or ".." in found.parts:
        raise Unsupported(
            f"{path} is not in the application root, which is all that a process has.",
            hint=f"Use a path below {APP_ROOT}, or the file itself.",
        )
    if not found.exists():
        raise FileNotFoundError(ENOENT, "not in the container", str(path))
    return found


def unpack(tar: BinaryIO, folder: Path) -> None:
    """Write the files and folders of a tar stream below `folder`; nothing leads out of it.

    Below a link stands the workspace itself: what it has already is left as it is.

    Raises:
        Unsupported: an entry would change the workspace, or is neither a file nor a folder.
    """
    with tarfile.open(fileobj=tar, mode="r|*") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is None and not member.isdir():
                raise Unsupported(
                    f"{member.name} is neither a file nor a folder.",
                    hint="Copy what it leads to instead, or leave it out.",
                )
            target = folder / member.name
            if not Path(os.path.realpath(target)).is_relative_to(os.path.realpath(folder)):
                _leave(target, content)
            elif content is None:
                target.mkdir(parents=True, exist_ok=True)
            else:
                _write(content, target, member.mode & 0o777)


def packed(source: Path, *, name: str) -> Iterator[bytes]:
    """Yield a file or folder as a tar stream; a link at the top is followed, one inside is kept."""
    with tempfile.TemporaryFile() as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            archive.add(os.path.realpath(source), arcname=name)
        file.seek(0)
        while data := file.read(_CHUNK):
            yield data


def _leave(target: Path, content: IO[bytes] | None) -> None:
    same = target.is_dir() if content is None else target.is_file()
    if not same or (content is not None and content.read() != target.read_bytes()):
        real = os.path.realpath(target)
        raise Unsupported(
            f"{real} is not the service's own: a process has the workspace's files.",
            hint="Change the file there.",
        )


def _write(content: IO[bytes], target: Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as fresh:
        shutil.copyfileobj(content, fresh)
    Path(fresh.name).chmod(mode)
    Path(fresh.name).replace(target)
