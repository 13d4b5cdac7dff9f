"""Step 5, sync: a container in which no agent can run, as it is stopped or has no Python.

What it has is read from the engine's archive, and what it gets goes there: one way, when asked for.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO

from devkit.engine import Engine
from devkit.errors import EngineError
from devkit.sync.agent.places import is_fleeting, leads_inside, parts
from devkit.sync.agent.side import FILE, FOLDER, LINK, OTHER, Entry, Moved, Side
from devkit.sync.reconcile import Change
from devkit.tar_stream import tar_of

_BLOCK = 1 << 20
Failed = Callable[[Change, str], None]
"""Takes a change that could not be carried out, and why."""


class Offline:
    """The files below a folder of a container, by archives."""

    def __init__(self, engine: Engine, container: str, root: PurePosixPath, owner: int) -> None:
        self._engine = engine
        self._container = container
        self._root = root
        self._owner = owner

    def scan(self) -> dict[str, Entry]:
        """Look at everything."""
        return {path: _entry(path, member, content) for path, member, content in self._members()}

    def pull(self, changes: Iterable[Change], local: Side, failed: Failed) -> list[Change]:
        """Bring files into the workspace; return what was carried out."""
        changes = list(changes)
        done = list[Change]()
        wanted = dict[str, Change]()
        for change in changes:
            if change.new is not None and change.new.kind == FILE:
                wanted[change.path] = change
            else:
                _carry_out(done, change, failed, partial(_changed, local))
        for path, _, content in self._members() if wanted else ():
            if path in wanted and content is not None:
                _carry_out(done, wanted.pop(path), failed, partial(_written, local, content))
        for change in wanted.values():
            failed(change, "it has changed meanwhile")
        return done

    def push(self, changes: Iterable[Change], local: Side, failed: Failed) -> list[Change]:
        """Put files into the container; what has to go there stays, and is told."""
        done = list[Change]()
        with TemporaryFile() as file:
            with tarfile.open(fileobj=file, mode="w") as tar:
                for change in changes:
                    if change.new is None:
                        failed(change, "nothing can be deleted in it now")
                    else:
                        _carry_out(done, change, failed, lambda c: self._packed(tar, c, local))
            file.seek(0)
            if done:
                self._engine.archive_in(self._container, self._root, file)
        return done

    def _members(self) -> Iterator[tuple[str, tarfile.TarInfo, IO[bytes] | None]]:
        """Yield what stands below the root; an archive names hard links only once with content."""
        try:
            with tar_of(self._engine.archive_out(self._container, self._root)) as tar:
                for member in tar:
                    path = str(PurePosixPath(member.name).relative_to(self._root.name))
                    if path != "." and not is_fleeting(path):
                        parts(path)
                        yield path, member, tar.extractfile(member) if member.isreg() else None
        except (tarfile.TarError, ValueError) as error:
            raise EngineError(f"The engine's archive cannot be read: {error}.") from error

    def _packed(self, tar: tarfile.TarFile, change: Change, local: Side) -> None:
        assert change.new is not None
        info = tarfile.TarInfo(change.path)
        info.uid = info.gid = self._owner
        info.mode = 0o755 if change.new.executable or change.new.kind == FOLDER else 0o644
        if change.new.kind == FILE:
            content, now = local.read(change.path)
            if now.digest != change.new.digest:
                raise Moved
            info.size = len(content)
            info.mtime = int(Path(local.root).stat().st_mtime)
            tar.addfile(info, BytesIO(content))
            return
        info.type = tarfile.DIRTYPE if change.new.kind == FOLDER else tarfile.SYMTYPE
        info.linkname = change.new.digest
        tar.addfile(info)


def _entry(path: str, member: tarfile.TarInfo, content: IO[bytes] | None) -> Entry:
    if member.isdir():
        return Entry(FOLDER)
    if member.issym() and leads_inside(path, member.linkname):
        return Entry(LINK, member.linkname)
    if content is None:
        return Entry(OTHER)
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
    return Entry(FILE, digest.hexdigest(), bool(member.mode & 0o100))


def _carry_out(
    done: list[Change], change: Change, failed: Failed, act: Callable[[Change], None]
) -> None:
    try:
        act(change)
    except (OSError, Moved) as error:
        failed(change, str(error))
    else:
        done.append(change)


def _changed(local: Side, change: Change) -> None:
    if change.new is None:
        assert change.old is not None
        local.delete(change.path, change.old)
    elif change.new.kind == FOLDER:
        local.make_folder(change.path)
    else:
        local.link(change.path, change.new.digest, change.old)


def _written(local: Side, content: IO[bytes], change: Change) -> None:
    assert change.new is not None
    staged = local.stage(change.path)
    try:
        while block := content.read(_BLOCK):
            staged.add(block)
        if staged.digest.hexdigest() != change.new.digest:
            raise Moved
        local.commit(staged, change.path, change.old, change.new.executable)
    finally:
        staged.close()
