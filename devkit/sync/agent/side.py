"""Step 5, sync: a side, the files below one folder: look, read, and change what is as expected.

The workspace is one, and the container's folder another. Part of the agent: standard library only,
Python 3.7 and up.

A path is relative to the root, with "/", in the file system's bytes as text (surrogateescape). No
path or link leads out: each folder on the way is opened by descriptor, and links are not followed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import time
from contextlib import contextmanager, suppress
from typing import ContextManager, Dict, Iterator, List, Optional, Set, Tuple

from . import places, swap
from .digests import Digests, blocks, runs, signature_at, signature_of
from .entry import (
    FILE,
    FOLDER,
    LARGE_BYTES,
    LINK,
    OTHER,
    PENDING,
    SLICE_BYTES,
    Entry,
    Moved,
    RootGone,
    Signature,
    Snapshot,
    TooLarge,
    reason,
)
from .opened import Below
from .scan import Scan
from .staged import Content, Staged, content_of, new_mode, temporary_name, with_run_bit, write_new

__all__ = [
    "FILE",
    "FOLDER",
    "LARGE_BYTES",
    "LINK",
    "OTHER",
    "PENDING",
    "SLICE_BYTES",
    "Entry",
    "Moved",
    "RootGone",
    "Side",
    "Signature",
    "Snapshot",
    "Staged",
    "TooLarge",
    "reason",
]


class Side(Below):
    """The files below `root`. Raises OSError for what the system refuses, Moved for a surprise."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._digests = Digests()
        self._entry = self._digests.entry
        self._left_over: Set[str] = set()
        self._keeps: Optional[List[bytes]] = None

    # What another kind of side decides for itself; not all arguments are needed here.

    def ignores(self, path: str, is_folder: bool) -> bool:  # noqa: ARG002
        """Whether `path` is none of ours."""
        return False

    def dispose(self, folder: int, name: str, old: Entry) -> None:
        """Do away with an old content, which stands at `name` by now."""
        if self._keeps is not None and old.kind == FILE:
            self._keeps.append(content_of(folder, name, old.digest))
        os.unlink(name, dir_fd=folder)

    def recover(self, folder: int, name: str) -> None:
        """Give a content, that a side which was killed has put aside, a name that is seen."""
        places.rename_new(folder, name, folder, f"devkit-recovered-{time.time_ns()}")

    # Looking.

    def scan(self, path: str = "") -> Snapshot:
        """Look at all below `path`, and at itself. OSError where the root is gone."""
        scan = Scan(self._folder, self._entry, self.ignores)
        if path:
            scan.add(path, self.look(path, scan.found.unknown))
        else:
            os.close(self.open_root(""))
            self._left_over.clear()
            scan.add_below("")
        self._left_over |= scan.left_over
        return scan.found

    def look(self, path: str, unknown: Optional[Dict[str, str]] = None) -> Optional[Entry]:
        """What stands at `path`; None for nothing.

        What cannot be told comes into `unknown`: a large file's digest, what may not be read.
        Without it, the digest is made now, and the refusal raised.
        """
        entry = self._looked(path, unknown)
        if entry is None and self._kept is not None:
            self._kept.close()  # by now another folder may stand where it stood
            entry = self._looked(path, unknown)
        return entry

    def _looked(self, path: str, unknown: Optional[Dict[str, str]]) -> Optional[Entry]:
        try:
            with self._parent(path) as (folder, name):
                return self._entry(folder, name, path, unknown)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except RootGone:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link is on the way: nothing of ours is behind it
                return None
            if unknown is None:
                raise
            unknown[path] = reason(error)
            return None

    def signature(self, path: str) -> Optional[Signature]:
        """What tells a file from its next version, without reading it; None for nothing."""
        try:
            with self._parent(path) as (folder, name):
                return signature_at(folder, name)
        except OSError:
            return None

    def knows(self, path: str, signature: Signature, digest: str) -> None:
        """Take over a digest that was made before; it counts while the signature is the same."""
        self._digests.knows(path, signature, digest)

    # Reading.

    def read(self, path: str, most: int = sys.maxsize) -> Tuple[bytes, Entry]:
        """Return a file's content and its entry; TooLarge where it has more than `most` bytes."""
        with self._opened(path) as (file, before):
            if before[0] > most:
                raise TooLarge(before)
            seen = time.time_ns()
            content = b"".join(blocks(file, before[0]))
            if signature_of(os.fstat(file)) != before or len(content) != before[0]:
                raise Moved
        digest = hashlib.sha256(content).hexdigest()
        self._digests.keep(path, before, digest, seen)
        return content, Entry(FILE, digest, runs(before[3]))

    def read_part(self, path: str, offset: int, size: int, expect: Signature) -> bytes:
        """Return a part of a file that is still the one which `expect` describes."""
        with self._opened(path) as (file, before):
            if before != expect:
                raise Moved
            return os.pread(file, size, offset)

    # Changing.

    def refuse(self, path: str) -> None:
        """Raise OSError where nothing may be changed."""

    def _changing(self, path: str) -> ContextManager[Tuple[int, str]]:
        self.refuse(path)
        return self._parent(path)

    @contextmanager
    def keeping(self) -> Iterator[List[bytes]]:
        """Yield where the old contents come that are done away with meanwhile."""
        kept: List[bytes] = []
        self._keeps = kept
        try:
            yield kept
        finally:
            self._keeps = None

    def create(self, path: str, content: Content, executable: bool) -> Entry:
        """Put a file where nothing is, complete at once."""
        digest = hashlib.sha256(content).hexdigest()
        with self._changing(path) as (folder, name):
            signature = write_new(folder, temporary_name(), name, content, executable)
        if signature is None:
            self._digests.forget(path)
        else:
            self._digests.knows(path, signature, digest)
        return Entry(FILE, digest, executable)

    def write(self, path: str, content: bytes, expect: Optional[Entry], executable: bool) -> Entry:
        """Put a file in place of `expect` (None: of nothing), complete at once."""
        with self._changing(path) as (folder, name):
            staged = Staged(os.dup(folder), temporary_name())
            try:
                staged.add(content)
                return self._put(staged, folder, name, path, expect, executable)
            finally:
                staged.close()

    def stage(self, path: str) -> Staged:
        """Begin a file that `commit` puts in its place; its folder has to be there."""
        with self._changing(path) as (folder, _):
            return Staged(os.dup(folder), temporary_name())

    def commit(self, staged: Staged, path: str, expect: Optional[Entry], executable: bool) -> Entry:
        """Put a staged file in place of `expect`."""
        with self._changing(path) as (folder, name):
            return self._put(staged, folder, name, path, expect, executable)

    def link(self, path: str, target: str, expect: Optional[Entry]) -> Entry:
        """Put a symbolic link in place of `expect`; only one that stays below the root."""
        if not places.leads_inside(path, target):
            raise PermissionError(errno.EPERM, "the link leads out of the folder", path)
        with self._changing(path) as (folder, name):
            temporary = temporary_name()
            os.symlink(target, temporary, dir_fd=folder)
            try:
                self._swap(folder, name, path, temporary, expect)
            finally:
                places.unlink(folder, temporary)
        return Entry(LINK, target)

    def make_folder(self, path: str) -> Entry:
        """Make a folder; one that is there will do."""
        with self._changing(path) as (folder, name):
            try:
                os.mkdir(name, 0o755, dir_fd=folder)
            except FileExistsError:
                now = self._entry(folder, name, path)
                if now is None or now.kind != FOLDER:
                    raise Moved(now) from None
        return Entry(FOLDER)

    def set_executable(self, path: str, expect: Entry, executable: bool) -> Entry:
        """Change nothing but the run bit."""
        self.refuse(path)
        now = self.look(path)
        if now != expect:
            raise Moved(now)
        seen = time.time_ns()
        with self._opened(path) as (file, before):
            os.fchmod(file, with_run_bit(before[3], executable))
            self._digests.keep(path, signature_of(os.fstat(file)), expect.digest, seen)
        return Entry(FILE, expect.digest, executable)

    def delete(self, path: str, expect: Entry) -> None:
        """Remove what is as expected: a file, a link, or a folder that is empty."""
        with self._changing(path) as (folder, name):
            now = self._entry(folder, name, path)
            if now != expect or now.kind == OTHER:
                raise Moved(now)
            if now.kind == FOLDER:
                os.rmdir(name, dir_fd=folder)
                return
            aside = temporary_name(places.ASIDE)
            swap.remove(folder, name, old=now, aside=aside, dispose=self.dispose)
        self._digests.forget(path)

    def rename(self, path: str, to: str) -> None:
        """Move a file or a whole folder to a name that nobody has."""
        with self._changing(path) as (folder, name), self._changing(to) as (other, fresh):
            places.rename_new(folder, name, other, fresh)

    def sweep(self, older_s: float = 0.0) -> None:
        """Clear away what a side that was killed has left, as far as the last scan found it.

        What is not `older_s` old may be of a side that is alive.
        """
        for path in self._left_over:
            with suppress(OSError, Moved), self._parent(path) as (folder, name):
                if time.time() - signature_at(folder, name)[4] / 1e9 >= older_s:
                    clear = self.recover if name.startswith(places.ASIDE) else places.unlink
                    clear(folder, name)
        self._left_over.clear()

    def _put(
        self,
        staged: Staged,
        folder: int,
        name: str,
        path: str,
        expect: Optional[Entry],
        executable: bool,
    ) -> Entry:
        digest = staged.digest.hexdigest()
        os.fchmod(staged.file, new_mode(folder, name, executable))
        seen = time.time_ns()
        self._swap(folder, name, path, staged.name, expect)
        with suppress(FileNotFoundError):
            self._digests.keep(path, signature_at(folder, name), digest, seen)
        return Entry(FILE, digest, executable)

    def _swap(
        self, folder: int, name: str, path: str, temporary: str, expect: Optional[Entry]
    ) -> None:
        """Put `temporary` at `name` if that is as expected, to the last moment."""
        now = self._entry(folder, name, path)
        if now != expect or (now is not None and now.kind in (FOLDER, OTHER)):
            raise Moved(now)
        aside = temporary_name(places.ASIDE)
        swap.put(folder, temporary, name, old=now, aside=aside, dispose=self.dispose)
