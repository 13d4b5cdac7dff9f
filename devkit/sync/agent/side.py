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
import stat
import sys
import time
from contextlib import contextmanager, suppress
from typing import Dict, Iterator, List, NamedTuple, Optional, Set, Tuple

from . import places

FILE, FOLDER, LINK, OTHER = "file", "folder", "link", "other"
# Why nothing is known of a large file that a scan found.
PENDING = "its digest is being made"
# Larger files are digested in slices, so that a small one never waits for them.
SLICE_BYTES = 1 << 20
LARGE_BYTES = 8 * SLICE_BYTES
# Files with a time as young as this may change once more without a new time.
_RACY_NS = 20_000_000
_MOST_DEPTH = 120

Signature = Tuple[int, int, int, int, int]
"""Size, time of content (ns), inode, mode, time of change (ns)."""


class Entry(NamedTuple):
    """What stands at a path: `digest` is a file's sha256, or what a link leads to."""

    kind: str
    digest: str = ""
    executable: bool = False


class Moved(Exception):
    """The path has not what was expected; `now` is what it has, as far as that is known."""

    def __init__(self, now: Optional[Entry] = None) -> None:
        super().__init__("it has changed meanwhile")
        self.now = now


class TooLarge(Exception):
    """The file is larger than what is read at once; `signature` is what it is now."""

    def __init__(self, signature: Signature) -> None:
        super().__init__("it is too large")
        self.signature = signature


class RootGone(OSError):
    """The folder itself is not there, or is no folder: that says nothing about what was in it."""


class Snapshot(NamedTuple):
    """All entries below a path, and the paths below which nothing is known, each with why."""

    entries: Dict[str, Entry]
    unknown: Dict[str, str]


class Side:
    """The files below `root`. Raises OSError for what the system refuses, Moved for a surprise."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)
        self._digests: Dict[str, Tuple[Signature, str, int]] = {}
        self._count = 0
        self._left_over: Set[str] = set()
        self._root: Optional[_Root] = None

    # What another kind of side decides for itself; not all arguments are needed here.

    def ignores(self, path: str, is_folder: bool) -> bool:  # noqa: ARG002
        """Whether `path` is none of ours."""
        return False

    def dispose(self, folder: int, name: str, old: Entry) -> None:  # noqa: ARG002
        """Do away with an old content, which stands at `name` by now."""
        os.unlink(name, dir_fd=folder)

    def recover(self, folder: int, name: str) -> None:
        """Give a content, that a side which was killed has put aside, a name that is seen."""
        places.rename_new(folder, name, folder, f"devkit-recovered-{time.time_ns()}")

    def open_root(self, path: str) -> int:  # noqa: ARG002
        """Open the folder that `route(path)` starts from."""
        try:
            # Kept open, as opening is slow; a root that was replaced is another one.
            if self._root is None or not self._root.is_at(self.root):
                self._root = _Root(self.root)
            return os.dup(self._root.descriptor)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RootGone(error.errno, "the folder {} is gone".format(self.root)) from None

    def route(self, path: str) -> List[str]:
        """The names that lead to `path` from its root; none for the root itself."""
        return places.parts(path) if path else []

    # Looking.

    def scan(self, path: str = "") -> Snapshot:
        """Look at all below `path`, and at itself. OSError where the root is gone."""
        found = Snapshot({}, {})
        if not path:
            os.close(self.open_root(""))
            self._left_over.clear()
            self._scan_below("", found)
            return found
        entry = self.look(path, found.unknown)
        if entry is not None:
            found.entries[path] = entry
            if entry.kind == FOLDER:
                self._scan_below(path, found)
        return found

    def look(self, path: str, unknown: Optional[Dict[str, str]] = None) -> Optional[Entry]:
        """What stands at `path`; None for nothing.

        What cannot be told comes into `unknown`: a large file's digest, what may not be read.
        Without it, the digest is made now, and the refusal raised.
        """
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
                return _signature_at(folder, name)
        except OSError:
            return None

    def knows(self, path: str, signature: Signature, digest: str) -> None:
        """Take over a digest that was made before; it counts while the signature is the same."""
        self._digests[path] = (signature, digest, sys.maxsize)

    def known(self) -> Dict[str, Tuple[Signature, str]]:
        """The digests that another side of the same folder may take over."""
        return {
            path: (signature, digest)
            for path, (signature, digest, seen) in self._digests.items()
            if _is_old(signature, seen)
        }

    # Reading.

    def read(self, path: str, most: int = sys.maxsize) -> Tuple[bytes, Entry]:
        """Return a file's content and its entry; TooLarge where it has more than `most` bytes."""
        with self._opened(path) as (file, before):
            if before[0] > most:
                raise TooLarge(before)
            seen = time.time_ns()
            content = b"".join(_blocks(file, before[0]))
            if _signature(os.fstat(file)) != before or len(content) != before[0]:
                raise Moved
        digest = hashlib.sha256(content).hexdigest()
        self._digests[path] = (before, digest, seen)
        return content, Entry(FILE, digest, _runs(before[3]))

    def read_part(self, path: str, offset: int, size: int, expect: Signature) -> bytes:
        """Return a part of a file that is still the one which `expect` describes."""
        with self._opened(path) as (file, before):
            if before != expect:
                raise Moved
            return os.pread(file, size, offset)

    # Changing.

    def write(self, path: str, content: bytes, expect: Optional[Entry], executable: bool) -> Entry:
        """Put a file in place of `expect` (None: of nothing), complete at once."""
        with self._parent(path) as (folder, name):
            staged = Staged(os.dup(folder), self._temporary())
            try:
                staged.add(content)
                return self._put(staged, folder, name, path, expect, executable)
            finally:
                staged.close()

    def stage(self, path: str) -> Staged:
        """Begin a file that `commit` puts in its place; its folder has to be there."""
        with self._parent(path) as (folder, _):
            return Staged(os.dup(folder), self._temporary())

    def commit(self, staged: Staged, path: str, expect: Optional[Entry], executable: bool) -> Entry:
        """Put a staged file in place of `expect`."""
        with self._parent(path) as (folder, name):
            return self._put(staged, folder, name, path, expect, executable)

    def link(self, path: str, target: str, expect: Optional[Entry]) -> Entry:
        """Put a symbolic link in place of `expect`; only one that stays below the root."""
        if not places.leads_inside(path, target):
            raise PermissionError(errno.EPERM, "the link leads out of the folder", path)
        with self._parent(path) as (folder, name):
            temporary = self._temporary()
            os.symlink(target, temporary, dir_fd=folder)
            try:
                self._swap(folder, name, path, temporary, expect)
            finally:
                places.unlink(folder, temporary)
        return Entry(LINK, target)

    def make_folder(self, path: str) -> Entry:
        """Make a folder; one that is there will do."""
        with self._parent(path) as (folder, name):
            try:
                os.mkdir(name, 0o755, dir_fd=folder)
            except FileExistsError:
                now = self._entry(folder, name, path)
                if now is None or now.kind != FOLDER:
                    raise Moved(now) from None
        return Entry(FOLDER)

    def set_executable(self, path: str, expect: Entry, executable: bool) -> Entry:
        """Change nothing but the run bit."""
        now = self.look(path)
        if now != expect:
            raise Moved(now)
        seen = time.time_ns()
        with self._opened(path) as (file, before):
            os.fchmod(file, _with_run_bit(stat.S_IMODE(before[3]), executable))
            self._digests[path] = (_signature(os.fstat(file)), expect.digest, seen)
        return Entry(FILE, expect.digest, executable)

    def delete(self, path: str, expect: Entry) -> None:
        """Remove what is as expected: a file, a link, or a folder that is empty."""
        with self._parent(path) as (folder, name):
            now = self._entry(folder, name, path)
            if now != expect or now.kind == OTHER:
                raise Moved(now)
            if now.kind == FOLDER:
                os.rmdir(name, dir_fd=folder)
                return
            before = _signature_at(folder, name)
            aside = self._temporary(places.ASIDE)
            # Out of the way first: what came between the look and now goes back.
            os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            try:
                self._dispose_expected(folder, aside, before, expect)
            except (OSError, Moved):
                places.put_back(folder, aside, name)
                raise
        self._digests.pop(path, None)

    def rename(self, path: str, to: str) -> None:
        """Move a file or a whole folder to a name that nobody has."""
        with self._parent(path) as (folder, name), self._parent(to) as (other, fresh):
            places.rename_new(folder, name, other, fresh)

    def sweep(self, older_s: float = 0.0) -> None:
        """Clear away what a side that was killed has left, as far as the last scan found it.

        What is not `older_s` old may be of a side that is alive.
        """
        for path in self._left_over:
            with suppress(OSError, Moved), self._parent(path) as (folder, name):
                if time.time() - _signature_at(folder, name)[4] / 1e9 < older_s:
                    continue
                if name.startswith(places.ASIDE):
                    self.recover(folder, name)
                else:
                    os.unlink(name, dir_fd=folder)
        self._left_over.clear()

    # Below.

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
        os.fchmod(staged.file, _new_mode(folder, name, executable))
        seen = time.time_ns()
        self._swap(folder, name, path, staged.name, expect)
        with suppress(FileNotFoundError):
            self._digests[path] = (_signature_at(folder, name), digest, seen)
        return Entry(FILE, digest, executable)

    def _temporary(self, prefix: str = places.TEMPORARY) -> str:
        self._count += 1
        return f"{prefix}{os.getpid()}-{time.time_ns():x}-{self._count}"

    @contextmanager
    def _parent(self, path: str) -> Iterator[Tuple[int, str]]:
        """Open the folder that holds `path`; yield its descriptor and the last name."""
        *folders, name = self.route(path)
        here = self.open_root(path)
        try:
            for folder in folders:
                below = places.open_folder(folder, here)
                os.close(here)
                here = below
            yield here, name
        finally:
            os.close(here)

    @contextmanager
    def _folder(self, path: str) -> Iterator[int]:
        if not self.route(path):
            folder = self.open_root(path)
        else:
            with self._parent(path) as (above, name):
                folder = places.open_folder(name, above)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _opened(self, path: str) -> Iterator[Tuple[int, Signature]]:
        with self._parent(path) as (folder, name):
            file = places.open_file(name, folder)
        try:
            info = os.fstat(file)
            if not stat.S_ISREG(info.st_mode):
                raise Moved
            yield file, _signature(info)
        finally:
            os.close(file)

    def _scan_below(self, path: str, found: Snapshot) -> None:
        below = path + "/" if path else ""
        folders = []
        try:
            if path.count("/") > _MOST_DEPTH:
                raise OSError(errno.ENAMETOOLONG, "too many folders in one another")
            with self._folder(path) as folder, os.scandir(folder) as listed:
                for item in listed:
                    name, is_folder = item.name, item.is_dir(follow_symlinks=False)
                    if self._is_passed_over(name, below + name, is_folder):
                        continue
                    entry = self._looked(folder, name, below + name, found.unknown)
                    if entry is not None:
                        found.entries[below + name] = entry
                        if is_folder:
                            folders.append(below + name)
        except FileNotFoundError:
            return  # gone since it was seen
        except OSError as error:
            found.unknown[path] = reason(error)
            return
        for inner in folders:
            self._scan_below(inner, found)

    def _is_passed_over(self, name: str, path: str, is_folder: bool) -> bool:
        if places.FLEETING.fullmatch(name):
            if name.startswith(places.TEMPORARY):
                self._left_over.add(path)
            return True
        return self.ignores(path, is_folder)

    def _looked(
        self, folder: int, name: str, path: str, unknown: Dict[str, str]
    ) -> Optional[Entry]:
        try:
            return self._entry(folder, name, path, unknown)
        except FileNotFoundError:
            return None
        except OSError as error:
            unknown[path] = reason(error)
            return None

    def _entry(
        self, folder: int, name: str, path: str, unknown: Optional[Dict[str, str]] = None
    ) -> Optional[Entry]:
        try:
            info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if stat.S_ISDIR(info.st_mode):
            return Entry(FOLDER)
        if stat.S_ISLNK(info.st_mode):
            target = os.readlink(name, dir_fd=folder)
            return Entry(LINK, target) if places.leads_inside(path, target) else Entry(OTHER)
        if not stat.S_ISREG(info.st_mode):
            return Entry(OTHER)
        digest = self._digest(folder, name, path, _signature(info), unknown)
        return None if digest is None else Entry(FILE, digest, _runs(info.st_mode))

    def _digest(
        self,
        folder: int,
        name: str,
        path: str,
        signature: Signature,
        unknown: Optional[Dict[str, str]],
    ) -> Optional[str]:
        """Return a file's digest; None where it goes to `unknown` instead."""
        cached = self._digests.get(path)
        if cached is not None and cached[0] == signature and _is_old(signature, cached[2]):
            return cached[1]
        if signature[0] > LARGE_BYTES and unknown is not None:
            unknown[path] = PENDING
            return None
        seen = time.time_ns()
        digest = _made_digest(folder, name)
        if _signature_at(folder, name) != signature:
            if unknown is None:
                raise Moved
            unknown[path] = PENDING
            return None
        self._digests[path] = (signature, digest, seen)
        return digest

    def _swap(
        self, folder: int, name: str, path: str, temporary: str, expect: Optional[Entry]
    ) -> None:
        """Put `temporary` at `name` if that is as expected, to the last moment."""
        now = self._entry(folder, name, path)
        if now != expect or (now is not None and now.kind in (FOLDER, OTHER)):
            raise Moved(now)
        if now is None:
            try:
                places.rename_new(folder, temporary, folder, name)
            except FileExistsError:
                raise Moved from None
            return
        aside = self._temporary(places.ASIDE)
        try:
            before, ours = _signature_at(folder, name), _signature_at(folder, temporary)
            os.rename(temporary, aside, src_dir_fd=folder, dst_dir_fd=folder)
            if not places.exchange(folder, aside, name):
                os.rename(aside, temporary, src_dir_fd=folder, dst_dir_fd=folder)
                self._replace(folder, name, temporary, before, now)
                return
        except FileNotFoundError:
            places.unlink(folder, aside)
            raise Moved from None
        try:
            self._dispose_expected(folder, aside, before, now)
        except (OSError, Moved):
            _exchange_back(folder, aside, name, ours)
            raise

    def _dispose_expected(self, folder: int, aside: str, before: Signature, old: Entry) -> None:
        if not _is_same(folder, aside, before, old):
            raise Moved
        self.dispose(folder, aside, old)

    def _replace(
        self, folder: int, name: str, temporary: str, before: Signature, old: Entry
    ) -> None:
        """Where two names cannot change places, the old content gets a second name first."""
        aside = self._temporary(places.ASIDE)
        os.link(name, aside, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        if not _is_same(folder, aside, before, old) or not _is_same(folder, name, before, old):
            places.unlink(folder, aside)
            raise Moved
        os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            self._dispose_expected(folder, aside, before, old)
        except (OSError, Moved):
            places.put_back(folder, aside, name)
            raise


class _Root:
    """An open folder; as long as it is open, no other one is taken for it."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._info = os.fstat(self.descriptor)

    def is_at(self, path: str) -> bool:
        return os.path.samestat(self._info, os.stat(path))

    def __del__(self) -> None:
        with suppress(AttributeError, OSError):
            os.close(self.descriptor)


class Staged:
    """A file that grows beside the place that it will have."""

    def __init__(self, folder: int, name: str) -> None:
        self._folder = folder
        self.name = name
        self.digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.file = os.open(name, flags, 0o600, dir_fd=folder)
        except OSError:
            os.close(folder)
            raise

    def add(self, content: bytes) -> None:
        """Append."""
        left = memoryview(content)
        while left:
            left = left[os.write(self.file, left) :]
        self.digest.update(content)

    def close(self) -> None:
        """Let go; what was not committed is removed."""
        os.close(self.file)
        places.unlink(self._folder, self.name)
        os.close(self._folder)


def reason(error: OSError) -> str:
    """Why the system refused."""
    return error.strerror or str(error)


def _signature(info: os.stat_result) -> Signature:
    return (info.st_size, info.st_mtime_ns, info.st_ino, info.st_mode, info.st_ctime_ns)


def _signature_at(folder: int, name: str) -> Signature:
    return _signature(os.stat(name, dir_fd=folder, follow_symlinks=False))


def _is_old(signature: Signature, seen_ns: int) -> bool:
    return max(signature[1], signature[4]) < seen_ns - _RACY_NS


def _is_same(folder: int, name: str, before: Signature, expect: Entry) -> bool:
    """Whether what was moved to `name` is what it was; a rename changes the last time by itself."""
    after = _signature_at(folder, name)
    if after[:4] != before[:4]:
        return False
    if expect.kind != FILE or after[0] > SLICE_BYTES or _is_old(after, time.time_ns()):
        return True
    return _made_digest(folder, name) == expect.digest


def _exchange_back(folder: int, aside: str, name: str, ours: Signature) -> None:
    """Undo an exchange; what somebody wrote to `name` meanwhile stays, too."""
    try:
        places.exchange(folder, aside, name)
    except FileNotFoundError:  # the name was removed
        places.put_back(folder, aside, name)
        return
    if _signature_at(folder, aside)[:4] == ours[:4]:
        places.unlink(folder, aside)
    else:
        places.put_back(folder, aside, name)


def _made_digest(folder: int, name: str) -> str:
    file = places.open_file(name, folder)
    try:
        content = hashlib.sha256()
        for block in _blocks(file, os.fstat(file).st_size):
            content.update(block)
        return content.hexdigest()
    finally:
        os.close(file)


def _blocks(file: int, size: int) -> Iterator[bytes]:
    """Read to the end, or a bit past `size`: a file that grows would have none."""
    left = size + 1
    while left > 0:
        block = os.read(file, min(left, SLICE_BYTES))
        if not block:
            return
        left -= len(block)
        yield block


def _runs(mode: int) -> bool:
    return bool(mode & 0o100)


def _with_run_bit(mode: int, executable: bool) -> int:
    # Who may read may run.
    return mode | ((mode & 0o444) >> 2) if executable else mode & ~0o111


def _new_mode(folder: int, name: str, executable: bool) -> int:
    """The mode of a new file: as the one that it replaces, but for the run bit."""
    mode = 0o644
    try:
        info = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode):
            mode = info.st_mode & 0o777
    except FileNotFoundError:
        pass
    return _with_run_bit(mode, executable)
