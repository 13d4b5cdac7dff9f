"""Step 5, sync: names below a folder, and what the system can do with them at once.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import time
from contextlib import suppress
from typing import Callable, List, Optional

# Devkit's own, made beside the file that they become; a side sweeps them when it begins.
TEMPORARY = ".devkit-tmp-"
# Of these, those that may hold what somebody else wrote: they are never removed unseen.
ASIDE = TEMPORARY + "old-"
# Editors' and interpreters' own files. They are never synced, whatever the ignore files say.
FLEETING = re.compile(
    r"4913|.*~|\..*\.sw[a-px]|.*___jb_(?:tmp|old)___|.*\.vsctmp|\.#.*|#.*#|\..*\.kate-swp"
    r"|__pycache__|.*\.py[co]|\.DS_Store|\.nfs.*|\.devkit-tmp-.*"
    r"|\.git|\.hg|\.svn|\.venv|\.devkit|node_modules|\.ipynb_checkpoints"
    r"|\.mypy_cache|\.ruff_cache|\.pytest_cache|\.hypothesis",
    re.DOTALL,
)
_MOST_NAME_BYTES = 255
# Flags of renameat2(2).
_NO_REPLACE, _EXCHANGE = 1, 2


def parts(path: str) -> List[str]:
    """The names of a path. ValueError for one that is not below the root."""
    names = path.split("/")
    if "\0" in path or not {"", ".", ".."}.isdisjoint(names):
        raise ValueError(f"not a path below the root: {path!r}")
    return names


def is_fleeting(path: str) -> bool:
    """Whether a path is none of ours, or is in a folder that is none."""
    return any(map(is_fleeting_name, path.split("/")))


def is_fleeting_name(name: str) -> bool:
    """Whether a file or folder of that name is none of ours."""
    return FLEETING.fullmatch(name) is not None


def leads_inside(path: str, target: str) -> bool:
    """Whether a link at `path` stays below the root."""
    if not target or target.startswith("/") or "\0" in target:
        return False
    depth = path.count("/")
    for name in target.split("/"):
        if name == "..":
            depth -= 1
            if depth < 0:
                return False
        elif name not in ("", "."):
            depth += 1
    return True


def open_folder(name: str, above: int) -> int:
    """Open a folder in the folder `above`; no link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=above)


def open_file(name: str, folder: int) -> int:
    """Open a file in a folder for reading; no link, and a pipe does not wait for its other end."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, flags, dir_fd=folder)


def unlink(folder: int, name: str) -> None:
    """Remove a name, if it is there."""
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def put_back(folder: int, aside: str, name: str) -> None:
    """Give a file its name back; where somebody took it meanwhile, it gets one of its own."""
    try:
        rename_new(folder, aside, folder, name)
    except FileExistsError:
        rename_new(folder, aside, folder, longer(name, f".devkit-{time.time_ns()}"))


def longer(name: str, suffix: str) -> str:
    """A name with a suffix, no longer than a file system's names may be."""
    while len(os.fsencode(name + suffix)) > _MOST_NAME_BYTES:
        name = name[:-1]
    return name + suffix


def rename_new(folder: int, name: str, other: int, fresh: str) -> None:
    """Rename to a name that nobody has; FileExistsError otherwise."""
    if _renameat2(folder, name, other, fresh, _NO_REPLACE):
        return
    try:
        os.link(name, fresh, src_dir_fd=folder, dst_dir_fd=other, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)
        return
    except FileExistsError:
        raise
    except OSError:
        pass  # a folder, or a file system without links
    if is_there(other, fresh):
        raise FileExistsError(errno.EEXIST, "it is there", fresh)
    os.rename(name, fresh, src_dir_fd=folder, dst_dir_fd=other)


def is_there(folder: int, name: str) -> bool:
    """Whether something has that name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def exchange(folder: int, one: str, other: str) -> bool:
    """Let two names change places, at once; False where the system cannot."""
    return _renameat2(folder, one, folder, other, _EXCHANGE)


def _renameat2(folder: int, name: str, other: int, fresh: str, flags: int) -> bool:
    if _LIBC is None:
        return False
    if _LIBC(folder, os.fsencode(name), other, os.fsencode(fresh), flags) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # not on this file system
        return False
    raise OSError(number, os.strerror(number), name)


def _renameat2_of_libc() -> Optional[Callable[..., int]]:
    try:
        function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    return function


_LIBC = _renameat2_of_libc()
