"""Which files of the service a load depends on: imported modules, and files opened on the way."""

from __future__ import annotations

import builtins
import io
import os
import sys
from typing import Any, List, Sequence, Set, Tuple

from .failure import is_below


class Opened:
    """Records the files below `roots` that are opened for reading, from `start` to `stop`.

    `open` is replaced for that time rather than watched by an audit hook: a hook stays for ever, is
    called for every event of the process, and does not exist before Python 3.8.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self.paths: Set[str] = set()
        self._original: Any = builtins.open
        self._ours: Any = None

    def start(self) -> None:
        """Begin to record."""
        original, note = self._original, self._note

        def open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            result = original(file, mode, *args, **kwargs)
            if isinstance(mode, str) and not set(mode) & set("wax+"):
                note(file)
            return result

        self._ours = builtins.open = io.open = open

    def stop(self) -> None:
        """Put `open` back."""
        if builtins.open is self._ours:  # else the user's own code has replaced it meanwhile
            builtins.open = io.open = self._original

    def _note(self, file: Any) -> None:
        try:
            path = os.path.realpath(os.fsdecode(file))
        except (TypeError, ValueError):  # an integer descriptor
            return
        if is_below(path, self._roots):
            self.paths.add(path)


class Imported:
    """The modules imported since it was made: the service's own, and those of others.

    What the zygote had imported before the fork is left out: it is never the service's own, and
    looking at some thousand paths takes longer than the rest of a reload.
    """

    def __init__(self, roots: Sequence[str]) -> None:
        self._roots = roots
        self._before = set(sys.modules)

    def _new(self) -> List[Tuple[str, Any]]:
        return [item for item in list(sys.modules.items()) if item[0] not in self._before]

    def own_files(self) -> Set[str]:
        """The source files below the roots."""
        paths = set()
        for _, module in self._new():
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and is_below(path, self._roots):
                paths.add(os.path.realpath(path))
        return paths

    def third_party(self) -> List[str]:
        """The others, in the order of their import: the zygote can have them ready."""
        names = []
        for name, module in self._new():
            spec = getattr(module, "__spec__", None)
            origin = getattr(spec, "origin", None)
            if spec is None or spec.name != name or not origin or name == "__main__":
                continue
            if not (os.path.isabs(origin) and is_below(origin, self._roots)):
                names.append(name)
        return names
