"""Step 7, diagnose: a path as a container or a cloud's log names it becomes a workspace file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from devkit.config import Workspace
from devkit.contract import APP_ROOT
from devkit.engine import Placement

_LONGEST = 4096
# A log may name a path of a thousand folders in each of its lines.
_MOST_TAILS = 32
_MOST_KNOWN = 10_000
# Never the user's, though a workspace may have files with the same tail.
_NOT_OURS = ("site-packages", "dist-packages", "devkit_runtime", "azureml-server")


class Places:
    """Where the files of a workspace stand in its container, as far as that is known."""

    def __init__(self, workspace: Workspace, mappings: Sequence[Placement] = ()) -> None:
        self._root = workspace.root
        self._source = workspace.source
        self._entry = workspace.source / workspace.config.entry_script
        self._mappings = sorted(mappings, key=lambda m: -len(m.remote.parts))
        self._known = dict[str, Path | None]()

    def local(self, path: str) -> Path | None:
        """Return the file of the workspace that `path` is, by a mapping, else by its tail.

        The path comes from outside: what it leads to lies in the workspace, or is None.
        """
        if path not in self._known and len(self._known) < _MOST_KNOWN:
            self._known[path] = self._found(path)
        return self._known.get(path)

    def _found(self, path: str) -> Path | None:
        if not path or len(path) > _LONGEST or "\0" in path or path.startswith("<"):
            return None
        pure = PurePosixPath(path)
        if any(part in _NOT_OURS for part in pure.parts) or pure.parts[:3] == ("/", "usr", "lib"):
            return None
        return next(filter(self._is_ours, self._candidates(pure)), None)

    def shown(self, path: Path) -> str:
        """Return a path as findings name it: relative to the workspace where it can be."""
        inside = path.is_relative_to(self._root)
        return path.relative_to(self._root).as_posix() if inside else str(path)

    def _candidates(self, path: PurePosixPath) -> list[Path]:
        found = [Path(path)] if path.is_absolute() else []
        found += [
            mapping.local / path.relative_to(mapping.remote)
            for mapping in self._mappings
            if path.is_relative_to(mapping.remote)
        ]
        parts = path.parts[1:] if path.is_absolute() else path.parts
        for start in range(max(len(parts) - _MOST_TAILS, 0), len(parts)):
            tail = Path(*parts[start:])
            found += [self._root / tail, self._source / tail]
        if path == APP_ROOT / "main.py":
            # The local web service of the SDK copies the entry script there.
            found.append(self._entry)
        return found

    def _is_ours(self, path: Path) -> bool:
        try:
            if not path.is_file():
                return False
            real = path.resolve()
            return any(real.is_relative_to(folder) for folder in (self._root, self._source))
        except (OSError, ValueError):
            return False
