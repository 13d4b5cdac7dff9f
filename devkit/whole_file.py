"""Between steps: a file written beside its place and renamed: it is there whole, or as it was."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

# The sync leaves alone what is called so.
_PREFIX = ".devkit-tmp-"


def write_whole(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file; a link in its place is replaced, not followed.

    Args:
        path: its folder is there.
        content: all of it.
        mode: its permissions; None for those of the file that is there, else for usual ones.

    Raises:
        OSError: it cannot be written; nothing is left of it.
    """
    with TemporaryDirectory(dir=path.parent, prefix=_PREFIX) as folder:
        fresh = Path(folder, "file")
        # Never readable for more than it will be in the end.
        usual = 0o666 if mode is None else mode
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, usual)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if mode is None:
            with suppress(FileNotFoundError):
                fresh.chmod(stat.S_IMODE(path.lstat().st_mode))
        fresh.replace(path)
