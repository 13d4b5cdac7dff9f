"""devkit's own folder in a workspace, .devkit: out of version control, images and sync."""

from __future__ import annotations

from errno import ELOOP
from pathlib import Path

NAME = ".devkit"


def own_folder(root: Path, *below: str) -> Path:
    """Return `root`/.devkit, or a folder below it, made where it is missing.

    Raises:
        OSError: it cannot be made, or a link is in its place, which could lead anywhere.
    """
    folder = root / NAME
    if not folder.exists():
        folder.mkdir()
        (folder / ".gitignore").write_text("*\n", "utf-8")
    for name in below:
        _refuse_link(folder)
        folder /= name
        folder.mkdir(exist_ok=True)
    _refuse_link(folder)
    return folder


def _refuse_link(folder: Path) -> None:
    if folder.is_symlink():
        raise OSError(ELOOP, "this is a link, and devkit writes into a folder only", str(folder))
