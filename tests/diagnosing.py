"""Services made of a few files, for the unit tests of diagnose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from devkit.config import load
from devkit.diagnose.case import Case
from devkit.diagnose.finding import Finding

SCORE = "def init():\n    pass\n\n\ndef run(data):\n    return [1]\n"
APP = "/var/azureml-app/svc"

Files = Mapping[str, str | bytes]


def made(tmp_path: Path, files: Files | None = None, **known: Any) -> Case:
    """Write a service and return its case; no engine is asked unless `connect` gives one."""
    root = tmp_path.resolve() / "svc"
    for name, content in {"score.py": SCORE, **(files or {})}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return Case(load(root, environ={}), **{"asks_index": False, **known})


def places(found: Iterable[Finding]) -> list[tuple[str, str | None, int | None]]:
    """Return what a test compares: id, file and line of each finding."""
    return [(finding.id, finding.file, finding.line) for finding in found]


def only(found: Iterable[Finding]) -> Finding:
    """Return the one finding that there is."""
    (finding,) = found
    assert finding.title
    assert finding.cause
    assert finding.remedy
    return finding
