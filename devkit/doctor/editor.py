"""Doctor: an editor that can debug Python, and files of it that devkit can write to."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from devkit import attach
from devkit.diagnose.finding import Finding
from devkit.doctor.check import Machine, Seen
from devkit.errors import LaunchFileBroken

EDITORS = ("code", "code-insiders", "codium", "code-server")
_DEBUGGER = "ms-python.debugpy"
# It declares that Python files may have breakpoints; the debugger's own extension does not.
_BREAKPOINTS = "ms-python.python"
_ASK_S = 6.0


@dataclass(frozen=True)
class _Editor:
    """`extensions` is None where it did not tell, and then `words` are its last ones."""

    name: str
    version: str
    extensions: frozenset[str] | None
    words: str = ""


def can_debug(_machine: Machine) -> Seen:
    """An editor on the PATH, and Microsoft's extensions for Python in it."""
    names = [name for name in EDITORS if shutil.which(name)]
    if not names:
        return Seen(f"none of {', '.join(EDITORS)} is on the PATH", (_no_editor(),))
    with ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(_asked, names))
    text = ", ".join(f"{editor.name} {editor.version}" for editor in found)
    silent = [editor for editor in found if editor.extensions is None]
    if len(silent) == len(found):
        return Seen(f"{text}; its extensions are unknown", (_silent(silent[0]),))
    # One editor that can is enough.
    known = max(found, key=lambda editor: len(_wanted_in(editor)))
    missing = tuple(it for it in _missing(known) if it)
    return Seen(text if missing else f"{text}, with {_DEBUGGER}", missing)


def files_parse(machine: Machine) -> Seen:
    """launch.json and tasks.json, and how the editor's task finds this devkit."""
    try:
        attach.check_files(machine.root)
    except LaunchFileBroken as error:
        finding = Finding(
            "launch-file-broken",
            "error",
            error.message,
            "devkit leaves a file alone that it cannot read, so `devkit debug` would stop there.",
            error.hint or "Mend it, or move it away.",
        )
        return Seen("cannot be read", (finding,))
    has = (machine.root / ".vscode").is_dir()
    return Seen("launch.json and tasks.json can be read" if has else "none here yet")


def _asked(name: str) -> _Editor:
    version, _ = _said(name, "--version")
    said, words = _said(name, "--list-extensions")
    extensions = None if said is None else frozenset(said.lower().split())
    return _Editor(name, (version or "?").partition("\n")[0].split(" ")[0], extensions, words)


def _said(name: str, *options: str) -> tuple[str | None, str]:
    """Return what it says; None, and its last words, where it fails or takes too long."""
    path = shutil.which(name) or name
    # Inside VS Code's own terminal the command would talk to the window.
    env = {key: value for key, value in os.environ.items() if not key.startswith("ELECTRON_RUN")}
    try:
        done = subprocess.run(
            [path, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_ASK_S / 2,
            check=False,
            env=env,
        )
    except subprocess.TimeoutExpired:
        return None, f"it gave no answer within {_ASK_S / 2:.0f} s"
    except OSError as error:
        return None, error.strerror or str(error)
    last = (done.stderr.strip() or done.stdout.strip()).rpartition("\n")[2]
    return (done.stdout.strip(), "") if done.returncode == 0 else (None, last)


def _wanted_in(editor: _Editor) -> frozenset[str]:
    return (editor.extensions or frozenset()) & {_DEBUGGER, _BREAKPOINTS}


def _missing(editor: _Editor) -> tuple[Finding | None, Finding | None]:
    has = editor.extensions or frozenset()
    debugger = Finding(
        "debugger-extension-missing",
        "error",
        f"{editor.name} has no {_DEBUGGER} (Python Debugger).",
        'F5 needs it: without it the type "debugpy" of launch.json is not known.',
        f"Type: {editor.name} --install-extension {_DEBUGGER}",
    )
    breakpoints = Finding(
        "python-extension-missing",
        "warning",
        f"{editor.name} has no {_BREAKPOINTS} (Python).",
        "F9 sets no breakpoint in a Python file unless an extension says that it may have some.",
        f"Type: {editor.name} --install-extension {_BREAKPOINTS}   or set "
        '"debug.allowBreakpointsEverywhere": true in the editor\'s settings.',
    )
    return (
        None if _DEBUGGER in has else debugger,
        None if _BREAKPOINTS in has else breakpoints,
    )


def _no_editor() -> Finding:
    return Finding(
        "editor-missing",
        "warning",
        "No VS Code is on the PATH.",
        "devkit does not need it there, but whether it can debug Python could not be looked at.",
        "Install VS Code; on macOS, \"Shell Command: Install 'code' command in PATH\" in its "
        "command palette.",
    )


def _silent(editor: _Editor) -> Finding:
    return Finding(
        "editor-silent",
        "warning",
        f"{editor.name} does not tell its extensions.",
        f"Whether {_DEBUGGER} is installed is not known: {editor.words}",
        f"`{editor.name} --list-extensions` should show {_DEBUGGER}.",
    )
