"""Step 5, sync: where `background` begins as a process of its own, and stays small.

Measured: paramiko, which the docker SDK imports for engines over ssh, takes 20 MB and 170 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader


class Later(MetaPathFinder):
    """Finds a module that is not run before something in it is used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(self, name: str, path: Sequence[str] | None, *_: object) -> ModuleSpec | None:
        """Find that one only."""
        found = PathFinder.find_spec(name, path) if name == self._name else None
        if found is not None and found.loader is not None:
            found.loader = LazyLoader(found.loader)
        return found


def main() -> None:
    """Keep a service in step."""
    sys.meta_path.insert(0, Later("paramiko"))
    from devkit import background

    background.main()


if __name__ == "__main__":
    main()
