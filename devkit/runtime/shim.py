"""Stand-ins for ptvsd and azureml.core.model in entry scripts; an installed one always wins."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any, Optional, Sequence

from .debugger import Debugger

_SHIMS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "shims")

FILES = {
    "ptvsd": "ptvsd.py",
    "azureml": "azureml.py",
    "azureml.core": "azureml_core.py",
    "azureml.core.model": "azureml_core_model.py",
    "azureml.exceptions": "azureml_exceptions.py",
}


class _Finder(importlib.abc.MetaPathFinder):
    """Last on sys.meta_path: asked only for what nothing else provides."""

    def find_spec(
        self, name: str, _path: Optional[Sequence[str]] = None, _target: Any = None
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name not in FILES:
            return None
        is_package = name in ("azureml", "azureml.core")
        path = os.path.join(_SHIMS, FILES[name])
        return importlib.util.spec_from_file_location(
            name, path, submodule_search_locations=[] if is_package else None
        )


def install(debugger: Debugger) -> None:
    """Let imports find the stand-ins, and hand `debugger` to the one for ptvsd."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
    _Finder.debugger = debugger  # type: ignore[attr-defined]
