"""Step 7, diagnose: why breakpoints are not hit: launch.json, its mappings, files that differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from devkit import reuse
from devkit.contract import APP_ROOT
from devkit.diagnose.case import Case
from devkit.diagnose.finding import Finding
from devkit.launch import jsonc

_FILE = PurePosixPath(".vscode/launch.json")
_LARGEST_BYTES = 1 << 20


def mapped(case: Case) -> Iterator[Finding]:
    """Each attach entry maps the source directory to where it stands in the container."""
    source = case.workspace.source
    expected = APP_ROOT / source.name
    text, entries = _entries(case)
    for number, entry in entries:
        for at, pair in enumerate(_pairs(entry)):
            local = _local(case, str(pair.get("localRoot", "")))
            remote = str(pair.get("remoteRoot", "")).rstrip("/")
            if local != source or PurePosixPath(remote or "/") == expected:
                continue
            if _has_other_true(entry, case, expected):
                continue
            steps = ("configurations", number, "pathMappings", at, "remoteRoot")
            yield _wrong(case, remote, expected, _line(text, steps))


def published(case: Case) -> Iterator[Finding]:
    """The port that launch.json attaches to is the one that the container has published."""
    running = case.running
    if running is None or not running.container.is_running or running.root != case.workspace.root:
        return
    text, entries = _entries(case)
    for number, entry in entries:
        connect = entry.get("connect")
        port = connect.get("port") if isinstance(connect, dict) else entry.get("port")
        if not isinstance(port, int) or (running.debug and running.debug.port == port):
            continue
        key = ("connect", "port") if isinstance(connect, dict) else ("port",)
        line = _line(text, ("configurations", number, *key))
        there = (
            f"its debugger listens on {running.debug.port}"
            if running.debug
            else "it was started without a debugger (--no-debug)"
        )
        yield Finding(
            "debugger-not-published", "error",
            f"Nothing of this service listens on port {port}, to which launch.json attaches.",
            f"The container {running.container.name} runs, and {there}; the attach is refused.",
            "`devkit debug` starts it with a debugger and writes launch.json to match.",
            file=str(_FILE), line=line,
        )  # fmt: skip


def in_step(case: Case) -> Iterator[Finding]:
    """The container has the files that the editor shows: else breakpoints bind to other lines."""
    running = case.running
    if running is None or not running.container.is_running or running.root != case.workspace.root:
        return
    files = {
        APP_ROOT / case.workspace.source.name / _inside(script.path, case): script.path
        for script in case.scripts
        if script.path.is_relative_to(case.workspace.source)
    }
    for path in reuse.differing(running, files) or [] if files else []:
        yield Finding(
            "file-differs", "warning", f"{case.shown(path)} is not what the container runs.",
            "The file was edited since it went there, or in the container; breakpoints and "
            "tracebacks mean other lines than the editor shows.",
            "`devkit sync --once` brings both in step; `devkit debug` keeps them so.",
            file=case.shown(path), line=None,
        )  # fmt: skip


def _inside(path: Path, case: Case) -> PurePosixPath:
    return PurePosixPath(path.relative_to(case.workspace.source).as_posix())


def _wrong(case: Case, remote: str, expected: PurePosixPath, line: int | None) -> Finding:
    return Finding(
        "mapping-wrong", "error", f"launch.json maps the sources to {remote or 'nothing'}.",
        f"In the container the folder {case.workspace.source.name} stands at {expected}; with "
        "another remoteRoot the debugger finds no file, and breakpoints stay grey.",
        f'Write "remoteRoot": "{expected}"; or `devkit launch --write` adds an entry that fits.',
        file=str(_FILE), line=line,
    )  # fmt: skip


def _entries(case: Case) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
    """Return launch.json, and its entries that attach a Python debugger, by their numbers."""
    path = case.workspace.root / _FILE
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST_BYTES:
            return "", []
        text = path.read_text("utf-8")
        content = jsonc.data(text)
    except (OSError, ValueError):
        return "", []
    listed = content.get("configurations") if isinstance(content, dict) else None
    return text, [
        (number, entry)
        for number, entry in enumerate(listed if isinstance(listed, list) else [])
        if isinstance(entry, dict)
        and entry.get("request") == "attach"
        and entry.get("type") in ("python", "debugpy")
        and not any(key in entry for key in ("processId", "listen"))
    ]


def _pairs(entry: dict[str, Any]) -> list[dict[str, Any]]:
    pairs = entry.get("pathMappings")
    return [p for p in pairs if isinstance(p, dict)] if isinstance(pairs, list) else []


def _has_other_true(entry: dict[str, Any], case: Case, expected: PurePosixPath) -> bool:
    """Whether another pair maps the source directory as it should be."""
    return any(
        _local(case, str(p.get("localRoot", ""))) == case.workspace.source
        and PurePosixPath(str(p.get("remoteRoot", "/"))) == expected
        for p in _pairs(entry)
    )


def _local(case: Case, text: str) -> Path | None:
    root = str(case.workspace.root)
    for name in ("${workspaceFolder}", "${workspaceRoot}"):
        text = text.replace(name, root)
    return Path(text).resolve() if text and "${" not in text and "\0" not in text else None


def _line(text: str, steps: jsonc.Steps) -> int | None:
    try:
        return jsonc.place(text, steps)[0]
    except (ValueError, KeyError, IndexError):
        return None
