"""Step 5, sync: which paths of the workspace are none of its business: never walked, never deleted.

From the weakest to the strongest: git's own rules (.git/info/exclude, .gitignore in each folder),
what the image leaves out, .devkitignore in each folder and `sync.ignore`, in which "!path" brings
something back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pathspec import GitIgnoreSpec

_NAMES = (".gitignore", ".devkitignore")


class Ignore:
    """The rules as the files say them now; `refresh` after one of them changed."""

    def __init__(
        self,
        source: Path,
        *,
        extra: Iterable[str] = (),
        left_out: Callable[[], Callable[[str], bool]] = lambda: lambda _: False,
        never: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Read the rules.

        Args:
            source: the folder that paths are counted from.
            extra: patterns, as a line of .gitignore has them.
            left_out: reads what the image leaves out (.dockerignore).
            never: what no rule brings back (keys and passwords); a folder has "/" at its end.
        """
        self._source = source
        self._extra = GitIgnoreSpec.from_lines(extra)
        self._read_left_out = left_out
        self._never = never
        self.refresh()

    def refresh(self) -> None:
        """Forget what the files said."""
        self._specs: dict[tuple[str, str], GitIgnoreSpec | None] = {}
        self._folders: dict[str, bool] = {}
        self._rules: dict[str, list[_Rule]] = {}
        self._left_out = self._read_left_out()
        self._above = _above(self._source)

    @staticmethod
    def is_rules(path: str) -> bool:
        """Whether the file at `path` holds rules."""
        return path.rpartition("/")[2] in (*_NAMES, ".dockerignore")

    def ignores(self, path: str, *, is_folder: bool) -> bool:
        """Whether a path below the source folder is ignored, by itself or with one it is in."""
        parent = path.rpartition("/")[0]
        if parent and self._ignores_folder(parent):
            return True
        return self._ignores_folder(path) if is_folder else self._matches(path, path)

    def _ignores_folder(self, path: str) -> bool:
        known = self._folders.get(path)
        if known is None:
            parent = path.rpartition("/")[0]
            known = bool(parent) and self._ignores_folder(parent)
            known = self._folders[path] = known or self._matches(path, f"{path}/")
        return known

    def _matches(self, path: str, marked: str) -> bool:
        """Ask all rules about a path, `marked` with "/" for a folder; the last that says so."""
        if self._never(marked):
            return True
        folder = f"{path.rpartition('/')[0]}/".removeprefix("/")
        rules = self._rules.get(folder)
        if rules is None:
            rules = self._rules[folder] = list(self._of(folder))
        for rule in rules:
            answer = rule(path, marked)
            if answer is not None:
                return answer
        return False

    def _of(self, folder: str) -> Iterator[_Rule]:
        """What counts for the names in a folder ("" or "NAME/"), the strongest first."""
        if self._extra.patterns:
            yield _by(self._extra, "")
        yield from self._in_folders(".devkitignore", folder)
        yield lambda path, _: self._left_out(path) or None
        yield from self._in_folders(".gitignore", folder)
        for above, spec in reversed(self._above):
            yield _by(spec, "", above)

    def _in_folders(self, name: str, folder: str) -> Iterator[_Rule]:
        """The files of a name, from the path's own folder up to the source folder."""
        while True:
            spec = self._spec(folder, name)
            if spec is not None:
                yield _by(spec, folder)
            if not folder:
                return
            folder = f"{folder[:-1].rpartition('/')[0]}/".removeprefix("/")

    def _spec(self, folder: str, name: str) -> GitIgnoreSpec | None:
        key = (folder, name)
        if key not in self._specs:
            self._specs[key] = _read(self._source / folder / name)
        return self._specs[key]


_Rule = Callable[[str, str], bool | None]


def _by(spec: GitIgnoreSpec, folder: str, above: str = "") -> _Rule:
    """What a file of rules in a folder says; `above` leads from it to the source folder."""
    return lambda _, marked: spec.check_file(above + marked.removeprefix(folder)).include


def _above(source: Path) -> list[tuple[str, GitIgnoreSpec]]:
    """Git's rules from above the source folder, each with the path that leads from it there."""
    folders = [source, *source.parents]
    top = next((folder for folder in folders if (folder / ".git").exists()), None)
    if top is None:
        return []
    prefix = "".join(f"{part}/" for part in source.relative_to(top).parts)
    found = [(prefix, _read(top / ".git" / "info" / "exclude"))]
    for folder in reversed([f for f in source.parents if f.is_relative_to(top)]):
        below = "".join(f"{part}/" for part in source.relative_to(folder).parts)
        found.append((below, _read(folder / ".gitignore")))
    return [(below, spec) for below, spec in found if spec is not None]


def _read(path: Path) -> GitIgnoreSpec | None:
    try:
        if path.is_symlink():
            return None  # as git does
        lines = path.read_text("utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    return GitIgnoreSpec.from_lines(lines)
