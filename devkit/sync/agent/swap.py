"""Step 5, sync: old and new change places, and what somebody wrote at the last moment goes back.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import os
import time
from typing import Callable, Optional

from . import places
from .digests import is_old, made_digest, signature_at
from .entry import FILE, SLICE_BYTES, Entry, Moved, Signature

Dispose = Callable[[int, str, Entry], None]
"""Does away with an old content, which stands at a name of a folder by now."""


def put(
    folder: int, temporary: str, name: str, *, old: Optional[Entry], aside: str, dispose: Dispose
) -> None:
    """Put `temporary` at `name` while that is `old`; `aside` is a name for the old content."""
    if old is not None:
        _replace(folder, temporary, name, old, aside, dispose)
        return
    try:
        places.rename_new(folder, temporary, folder, name)
    except FileExistsError:
        raise Moved from None


def remove(folder: int, name: str, *, old: Entry, aside: str, dispose: Dispose) -> None:
    """Do away with what is at `name` while that is `old`."""
    before = signature_at(folder, name)
    # Out of the way first: what came between the look and now goes back.
    os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        _dispose_expected(folder, aside, before, old, dispose)
    except (OSError, Moved):
        places.put_back(folder, aside, name)
        raise


def _replace(
    folder: int, temporary: str, name: str, old: Entry, aside: str, dispose: Dispose
) -> None:
    try:
        before, ours = signature_at(folder, name), signature_at(folder, temporary)
        os.rename(temporary, aside, src_dir_fd=folder, dst_dir_fd=folder)
        if not places.exchange(folder, aside, name):
            os.rename(aside, temporary, src_dir_fd=folder, dst_dir_fd=folder)
            _replace_linked(folder, temporary, name, before, old, aside, dispose)
            return
    except FileNotFoundError:
        places.unlink(folder, aside)
        raise Moved from None
    try:
        _dispose_expected(folder, aside, before, old, dispose)
    except (OSError, Moved):
        _exchange_back(folder, aside, name, ours)
        raise


def _replace_linked(
    folder: int,
    temporary: str,
    name: str,
    before: Signature,
    old: Entry,
    aside: str,
    dispose: Dispose,
) -> None:
    """Where two names cannot change places, the old content gets a second name first."""
    os.link(name, aside, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    if not _is_same(folder, aside, before, old) or not _is_same(folder, name, before, old):
        places.unlink(folder, aside)
        raise Moved
    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    try:
        _dispose_expected(folder, aside, before, old, dispose)
    except (OSError, Moved):
        places.put_back(folder, aside, name)
        raise


def _dispose_expected(
    folder: int, aside: str, before: Signature, old: Entry, dispose: Dispose
) -> None:
    if not _is_same(folder, aside, before, old):
        raise Moved
    dispose(folder, aside, old)


def _is_same(folder: int, name: str, before: Signature, expect: Entry) -> bool:
    """Whether what was moved to `name` is what it was; a rename changes the last time by itself."""
    after = signature_at(folder, name)
    if after[:4] != before[:4]:
        return False
    if expect.kind != FILE or after[0] > SLICE_BYTES or is_old(after, time.time_ns()):
        return True
    return made_digest(folder, name) == expect.digest


def _exchange_back(folder: int, aside: str, name: str, ours: Signature) -> None:
    """Undo an exchange; what somebody wrote to `name` meanwhile stays, too."""
    try:
        places.exchange(folder, aside, name)
    except FileNotFoundError:  # the name was removed
        places.put_back(folder, aside, name)
        return
    if signature_at(folder, aside)[:4] == ours[:4]:
        places.unlink(folder, aside)
    else:
        places.put_back(folder, aside, name)
