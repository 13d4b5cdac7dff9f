"""Step 5, sync: what is opened by descriptor, name by name: no link on the way is followed.

Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import ContextManager, Iterable, Iterator, List, Optional, Tuple

from . import places
from .digests import signature_of
from .entry import Moved, RootGone, Signature


class Root:
    """An open folder; as long as it is open, no other one is taken for it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._info = os.fstat(self.descriptor)

    def is_at(self, path: str) -> bool:
        """Whether that folder still stands at `path`."""
        return os.path.samestat(self._info, os.stat(path))

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.descriptor)


class Kept:
    """The folder that was opened last stays open until another one is."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._path: Optional[str] = None
        self._folder = -1

    def folder(self, path: str, opening: ContextManager[int]) -> int:
        """Return the folder at `path`, opened by `opening` if it is not open yet."""
        if path != self._path:
            self.close()
            self._folder = self._open.enter_context(opening)
            self._path = path
        return self._folder

    def close(self) -> None:
        """Let go of it."""
        self._path = None
        self._open.close()


@contextmanager
def folder_below(root: int, names: Iterable[str]) -> Iterator[int]:
    """Open the folder that names lead to from an open one, which is closed then."""
    here = root
    try:
        for name in names:
            below = places.open_folder(name, here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


@contextmanager
def file_in(folder: int, name: str) -> Iterator[Tuple[int, Signature]]:
    """Open a file, and nothing else; yield its descriptor and its signature."""
    file = places.open_file(name, folder)
    try:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise Moved
        yield file, signature_of(info)
    finally:
        os.close(file)


class Below:
    """The way to what stands below a folder."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._root: Optional[Root] = None
        self._kept: Optional[Kept] = None

    def open_root(self, path: str) -> int:  # noqa: ARG002
        """Open the folder that `route(path)` starts from."""
        try:
            # Kept open, as opening is slow; a root that was replaced is another one.
            if self._root is None or not self._root.is_at(self.root):
                self._root = Root(self.root)
            return os.dup(self._root.descriptor)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RootGone(error.errno, "the folder {} is gone".format(self.root)) from None

    def route(self, path: str) -> List[str]:
        """The names that lead to `path` from its root; none for the root itself."""
        return places.parts(path) if path else []

    @contextmanager
    def together(self) -> Iterator[None]:
        """Meanwhile a folder stays open from one path in it to the next; not for long."""
        before, self._kept = self._kept, self._kept or Kept()
        try:
            yield
        finally:
            if before is None:
                self._kept.close()
            self._kept = before

    @contextmanager
    def _parent(self, path: str) -> Iterator[Tuple[int, str]]:
        """Open the folder that holds `path`; yield its descriptor and the last name."""
        *folders, name = self.route(path)
        if self._kept is not None and folders:
            yield self._kept.folder(path.rpartition("/")[0], self._below(path, folders)), name
            return
        with self._below(path, folders) as folder:
            yield folder, name

    def _folder(self, path: str) -> ContextManager[int]:
        return self._below(path, self.route(path))

    @contextmanager
    def _below(self, path: str, names: List[str]) -> Iterator[int]:
        with folder_below(self.open_root(path), names) as folder:
            yield folder

    @contextmanager
    def _opened(self, path: str) -> Iterator[Tuple[int, Signature]]:
        with self._parent(path) as (folder, name), file_in(folder, name) as file:
            yield file
