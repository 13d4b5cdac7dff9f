"""Step 5, sync: the workspace as a side. Paths are the container's; here they may stand elsewhere.

What is replaced or deleted goes to the journal's trash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import EIO, EPERM
from functools import lru_cache
from pathlib import Path

from devkit.sync.agent import places
from devkit.sync.agent.side import FILE, FOLDER, Entry, Side, Snapshot
from devkit.sync.ignore import Ignore
from devkit.sync.journal import Journal

_MOST_FOLDERS = 100_000


class Workspace(Side):
    """The source folder, and the models, which stand at other paths in the container.

    `under` is the source folder's path in the container, below the sync's root; "" is the root.
    """

    def __init__(
        self,
        source: Path,
        *,
        root: Path,
        under: str = "",
        placed: Mapping[str, Path],
        ignore: Ignore,
        journal: Journal,
    ) -> None:
        """Make the side.

        Args:
            source: the source folder.
            root: what stands outside is read only, as a model that several projects share.
            under: its path in the container.
            placed: what stands elsewhere (models), by its path in the container.
            ignore: what of the source folder is left alone.
            journal: takes what is replaced.
        """
        super().__init__(str(source))
        self.under = under
        self._source = Path(self.root)
        self._placed = {path: local.resolve() for path, local in placed.items()}
        whole = root.resolve()
        self._outside = {p for p, at in self._placed.items() if not at.is_relative_to(whole)}
        inside = [p for p in self._placed.values() if p.is_relative_to(self._source)]
        self._elsewhere = {p.relative_to(self._source).as_posix() for p in inside}
        tops = [*self._placed, under] if under else list(self._placed)
        # Folders that are there because something stands below them.
        self._above = {"/".join(t.split("/")[:i]) for t in tops for i in range(1, t.count("/") + 1)}
        own = {f"{under}/{path}" if under else path for path in self._elsewhere}
        self._special = {*tops, *self._above, *own}
        # Asked for each name in a folder.
        self._is_usual = lru_cache(_MOST_FOLDERS)(self._usual)
        self._ignore = ignore
        self._journal = journal

    def take(self, path: str, record: bytes, like: Entry | None) -> None:
        """Take over a digest that was made before, as `records` gave it; see `Digests.take`."""
        self._digests.take(path, record, like)

    def records(self, entries: Mapping[str, Entry]) -> dict[str, bytes]:
        """Return what is known of those entries, to be taken over the next time."""
        return self._digests.records(entries)

    def ignores(self, path: str, is_folder: bool) -> bool:
        """Whether `path` is none of ours; a model does not stand in the source folder, too."""
        folder, _, name = path.rpartition("/")
        if path in self._special or not self._is_usual(folder):
            return self._ignores_anywhere(path, is_folder)
        inner = path[len(self.under) + 1 :] if self.under else path
        return places.is_fleeting_name(name) or self._ignore.ignores(inner, is_folder=is_folder)

    def _usual(self, folder: str) -> bool:
        """Whether rules alone decide about the names in a folder."""
        inner = self._inner(folder)
        if inner is None or self._placement(folder) is not None or places.is_fleeting(inner):
            return False
        return not any(inner == top or inner.startswith(f"{top}/") for top in self._elsewhere)

    def _ignores_anywhere(self, path: str, is_folder: bool) -> bool:
        if self._placement(path) is not None or path in self._above:
            return places.is_fleeting(path)
        inner = self._inner(path)
        if inner is None:
            return True
        at = inner
        while at:
            if at in self._elsewhere:
                return True
            at = at.rpartition("/")[0]
        if not inner:
            return False
        return places.is_fleeting(inner) or self._ignore.ignores(inner, is_folder=is_folder)

    def paths(self, local: Path) -> list[str]:
        """What a local path is in the container; none where it is nothing there."""
        found = [
            path if local == place else f"{path}/{local.relative_to(place).as_posix()}"
            for path, place in self._placed.items()
            if local.is_relative_to(place)
        ]
        if not local.is_relative_to(self._source) or (local == self._source and not self.under):
            return found
        inner = local.relative_to(self._source).as_posix()
        return [*found, inner if not self.under else f"{self.under}/{inner}".removesuffix("/.")]

    def shown(self, path: str) -> str:
        """A path as its user knows it: from the source folder, or from the root of the disk."""
        placement = self._placement(path)
        if placement is None:
            return self._inner(path) or path
        local = Path(f"{self._placed[placement]}{path[len(placement) :]}")
        inside = local.is_relative_to(self._source)
        return str(local.relative_to(self._source) if inside else local)

    def folds_case(self) -> bool:
        """Whether the file system takes "A" and "a" for one name."""
        probe = self._source / f"{places.TEMPORARY}case-{os.getpid()}"
        try:
            probe.touch()
        except OSError:
            return False  # nothing is written there anyway
        try:
            return probe.with_name(probe.name.upper()).exists()
        finally:
            probe.unlink(missing_ok=True)

    def watched_folders(self) -> list[Path]:
        """The folders in which something may change."""
        outside = {
            place if place.is_dir() else place.parent
            for place in self._placed.values()
            if not place.is_relative_to(self._source)
        }
        return [self._source, *sorted(outside)]

    def scan(self, path: str = "") -> Snapshot:
        """Look at all below `path`, wherever it stands here."""
        if path in self._above and self._placement(path) is None:
            return Snapshot({path: Entry(FOLDER)}, {})  # nothing of it stands here itself
        found = super().scan(path or self.under)
        if path:
            return found
        if self.under:
            self._add_above(self.under, found)
        for top in self._placed:
            placed = super().scan(top)
            if placed.entries:
                self._add_above(top, found)
            found.entries.update(placed.entries)
            found.unknown.update(placed.unknown)
        return found

    def look(self, path: str, unknown: dict[str, str] | None = None) -> Entry | None:
        """What stands at `path`; a folder that only leads to others is there."""
        if path == self.under and path:
            os.close(self.open_root(path))
            return Entry(FOLDER)
        if path in self._above and self._placement(path) is None:
            return Entry(FOLDER)
        return super().look(path, unknown)

    def refuse(self, path: str) -> None:
        """Raise PermissionError for what stands outside the workspace."""
        if self._placement(path) in self._outside:
            raise PermissionError(EPERM, "it stands outside the workspace and is only read")

    def link(self, path: str, target: str, expect: Entry | None) -> Entry:
        """Put a link in place of `expect`; not one that leads out of the source folder here."""
        inner = self._inner(path)
        if inner is not None and not places.leads_inside(inner, target):
            raise PermissionError(EPERM, "the link leads out of the folder", path)
        return super().link(path, target, expect)

    def make_folder(self, path: str) -> Entry:
        """Make a folder; those that only lead to others need none here."""
        if path == self.under or path in self._above:
            return Entry(FOLDER)
        return super().make_folder(path)

    def delete(self, path: str, expect: Entry) -> None:
        """Remove what is as expected, into the trash."""
        if path == self.under:
            raise PermissionError(EPERM, "it is the source folder itself")
        if path not in self._above:
            super().delete(path, expect)

    def dispose(self, folder: int, name: str, old: Entry) -> None:
        """Keep an old content in the trash."""
        if old.kind == FILE:
            self._journal.contents.take(folder, name, old.digest)
        else:
            super().dispose(folder, name, old)

    def recover(self, folder: int, name: str) -> None:
        """Keep in the trash what was put aside by one that was killed."""
        entry = self._entry(folder, name, name)
        if entry is not None and entry.kind == FILE:
            self._journal.contents.take(folder, name, entry.digest)

    def open_root(self, path: str) -> int:
        """Open the source folder, or the one that holds a model."""
        placement = self._placement(path)
        if placement is None:
            return super().open_root(path)
        folder = self._placed[placement].parent
        try:
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            # A drive that is not there now: the model in the container stays.
            raise OSError(EIO, f"the folder {folder} is gone") from error

    def route(self, path: str) -> list[str]:
        """The names that lead from `open_root(path)` to the path."""
        names = super().route(path)
        placement = self._placement(path)
        if placement is not None:
            return [self._placed[placement].name, *names[placement.count("/") + 1 :]]
        inner = self._inner(path)
        if inner is None:
            # As when a model that the container has is not configured any more: left alone.
            raise OSError(EIO, f"{path} stands nowhere in the workspace")
        return super().route(inner)

    def _inner(self, path: str) -> str | None:
        """Return where a path stands in the source folder; None for nowhere."""
        if not self.under:
            return path
        if path == self.under:
            return ""
        return path.removeprefix(f"{self.under}/") if path.startswith(f"{self.under}/") else None

    def _placement(self, path: str) -> str | None:
        """Return which of the placed holds `path`."""
        for top in self._placed:
            if path == top or path.startswith(f"{top}/"):
                return top
        return None

    def _add_above(self, top: str, found: Snapshot) -> None:
        names = top.split("/")
        found.entries.update(("/".join(names[:i]), Entry(FOLDER)) for i in range(1, len(names)))
