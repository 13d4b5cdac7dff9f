"""devkit's own folder in a workspace, .devkit: out of version control, images and sync.

A workspace may bring one along, whose links could lead anywhere: none is followed. Every refusal is
OwnFolderUnusable, which is an OSError, too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EDQUOT, EEXIST, EISDIR, ELOOP, ENOSPC, ENOTDIR
from pathlib import Path
from shlex import quote

from devkit.errors import OwnFolderUnusable
from devkit.whole_file import write_whole

NAME = ".devkit"
_WRONG_KIND = (EEXIST, EISDIR, ELOOP, ENOTDIR)
_FULL = (ENOSPC, EDQUOT)


def own_path(root: Path, *below: str) -> Path:
    """Return `root`/.devkit, or a folder below it, which may be missing.

    Raises:
        OwnFolderUnusable: a link or a file is in its place, or in that of one above.
    """
    folder = root
    for name in (NAME, *below):
        folder /= name
        _refuse_other(folder, stat.S_ISDIR, ENOTDIR)
    return folder


def own_folder(root: Path, *below: str) -> Path:
    """Return `root`/.devkit, or a folder below it, made where it is missing.

    Raises:
        OwnFolderUnusable: it cannot be made, or a link or a file is in its place.
    """
    folder = own_path(root)
    with usable(folder):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            (folder / ".gitignore").write_text("*\n", "utf-8")
    for name in below:
        folder /= name
        _refuse_other(folder, stat.S_ISDIR, ENOTDIR)
        with usable(folder):
            folder.mkdir(exist_ok=True)
    return folder


def own_file(path: Path) -> Path:
    """Return the path of a file in one of these folders, which may be missing.

    Raises:
        OwnFolderUnusable: a link, a folder or the like is in its place.
    """
    _refuse_other(path, stat.S_ISREG, EISDIR)
    return path


def opened(path: Path, flags: int) -> int:
    """Open a file in one of these folders, made where it is missing; return its descriptor.

    Raises:
        OwnFolderUnusable: it cannot be opened, or a link or the like is in its place.
    """
    with usable(own_file(path)):
        return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)


def stored(path: Path, content: bytes) -> None:
    """Write a file in one of these folders, complete at once, that nobody else may read.

    Raises:
        OwnFolderUnusable: it cannot be written; nothing of it is left.
    """
    with usable(own_file(path)):
        write_whole(path, content, mode=0o600)


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn the system's refusals meanwhile into OwnFolderUnusable, which names `path`."""
    try:
        yield
    except OwnFolderUnusable:
        raise
    except OSError as error:
        raise unusable(path, error.strerror or str(error), error.errno) from error


def unusable(path: Path, why: str, number: int | None) -> OwnFolderUnusable:
    """Return what refuses a file or folder here: why, and the system's number for that."""
    if number in _WRONG_KIND:
        hint = f"Remove it (`rm -r {quote(str(path))}`): devkit makes one of its own."
    elif number in _FULL:
        hint = f"Make room on the disk of {path.parent}."
    else:
        hint = f"Let your user write there: `ls -ld {quote(str(path.parent))}` shows who may."
    return OwnFolderUnusable(f"{path} cannot be used: {why}.", hint=hint, number=number, why=why)


def _refuse_other(path: Path, is_right: Callable[[int], bool], number: int) -> None:
    with usable(path):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise OSError(ELOOP, "this is a link, and devkit follows none there")
        if not is_right(mode):
            raise OSError(number, os.strerror(number))
