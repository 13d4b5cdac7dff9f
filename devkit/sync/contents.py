"""Step 5, sync: old contents by their digests, in the workspace's .devkit/trash/contents."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from devkit.own_folder import own_folder, own_path, usable
from devkit.sync.agent.places import TEMPORARY
from devkit.sync.agent.side import FILE, Entry, Staged
from devkit.sync.agent.staged import temporary_name

MOST_BYTES = 1_000_000_000
"""Of more, the oldest go."""
# What is staged is written to as long as it comes.
_ON_ITS_WAY_S = 3600
_DIGEST = re.compile("[0-9a-f]{64}")


class Contents:
    """What is kept; a workspace may bring it along, so that none is taken for what its name says.

    `kept_bytes` came since the last `prune`. Raises OwnFolderUnusable, which is an OSError.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = own_path(root, "trash", "contents")
        self._sound = set[str]()
        self.kept_bytes = 0

    def make(self) -> Path:
        """Return the folder, made where it is missing."""
        return own_folder(self._root, "trash", "contents")

    def place(self, digest: str) -> Path:
        """Where the content with that digest is kept, if it is."""
        return self._folder / digest

    def holds(self, digest: str) -> bool:
        """Whether a content is kept, and is what its digest says."""
        try:
            is_file = _DIGEST.fullmatch(digest) and stat.S_ISREG(self.place(digest).lstat().st_mode)
            if is_file and digest not in self._sound:
                with self.place(digest).open("rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() == digest:
                        self._sound.add(digest)
        except OSError:
            return False
        return bool(is_file) and digest in self._sound

    def has(self, digest: str) -> bool:
        """Whether a content is kept; from now on it is as young as a new one."""
        if not self.holds(digest):
            return False
        with suppress(FileNotFoundError):
            os.utime(self.place(digest))
            return True
        return False

    def content(self, digest: str) -> bytes | None:
        """Return a content; None where it is not kept any more."""
        if not self.holds(digest):
            return None
        content = self.place(digest).read_bytes()
        return content if hashlib.sha256(content).hexdigest() == digest else None

    def keep(self, content: bytes) -> None:
        """Keep a content."""
        digest = hashlib.sha256(content).hexdigest()
        if self.has(digest):
            return
        with self._coming(digest) as file:
            file.write(content)
        self._sound.add(digest)
        self.kept_bytes += len(content)

    def take(self, folder: int, name: str, digest: str) -> None:
        """Move a file, by descriptor of its folder, into what is kept."""
        if self.has(digest):
            os.unlink(name, dir_fd=folder)
            return
        place = self.make() / digest
        try:
            os.rename(name, place, src_dir_fd=folder)
        except OSError:  # on another file system
            source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder)
            with os.fdopen(source, "rb") as old, self._coming(digest) as new:
                shutil.copyfileobj(old, new)
            os.unlink(name, dir_fd=folder)
        os.utime(place)
        self.kept_bytes += place.stat().st_size

    def stage(self, path: str) -> Staged:  # noqa: ARG002  # a content has no path here
        """Begin a content that is too large to be kept at once."""
        folder = os.open(self.make(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return Staged(folder, temporary_name())

    def commit(
        self,
        staged: Staged,
        path: str,  # noqa: ARG002
        expect: Entry | None,  # noqa: ARG002
        executable: bool,
    ) -> Entry:
        """Keep a staged content."""
        digest = staged.digest.hexdigest()
        (self._folder / staged.name).replace(self.place(digest))
        self._sound.add(digest)
        self.kept_bytes += self.place(digest).stat().st_size
        return Entry(FILE, digest, executable)

    def prune(self, oldest: float) -> None:
        """Remove what is older, and the oldest of what is too much."""
        self.kept_bytes, left = 0, MOST_BYTES
        files = [(path.lstat(), path) for path in self.make().iterdir()]
        for info, path in sorted(files, key=lambda item: item[0].st_mtime, reverse=True):
            if path.name.startswith(TEMPORARY) and info.st_mtime > time.time() - _ON_ITS_WAY_S:
                continue
            left -= info.st_size
            # The newest stays, however large it is.
            if info.st_mtime < oldest or (left < 0 and left + info.st_size < MOST_BYTES):
                with suppress(OSError):
                    path.unlink()

    @contextmanager
    def _coming(self, digest: str) -> Iterator[IO[bytes]]:
        """Yield a file that becomes a content; nothing of it stays where that fails."""
        with usable(self._folder), NamedTemporaryFile(dir=self.make(), delete=False) as file:
            try:
                yield file
                file.flush()
                Path(file.name).replace(self.place(digest))
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
