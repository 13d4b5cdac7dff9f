"""The real VS Code workbench, served to a browser by code-server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, urlencode

import psutil

from tests.e2e.owned import ended, killed
from tests.running import free_port, until

EXTENSION = Path(__file__).with_name("extension")
SETTINGS = {
    "security.workspace.trust.enabled": False,
    "workbench.startupEditor": "none",
    "workbench.enableExperiments": False,
    "files.autoSave": "off",  # a workbench in a browser saves by itself
    "git.enabled": False,
    "extensions.ignoreRecommendations": True,
    "debug.internalConsoleOptions": "neverOpen",
    "debug.toolBarLocation": "floating",
    "debug.showInStatusBar": "always",  # tells when F5 does something
    "editor.minimap.enabled": False,
    "editor.autoIndent": "none",  # what is typed is what is in the file
    "editor.quickSuggestions": {"other": "off", "comments": "off", "strings": "off"},
    "telemetry.telemetryLevel": "off",
    # What only costs time here.
    "workbench.reduceMotion": "on",
    "editor.cursorBlinking": "solid",
    "editor.occurrencesHighlight": "off",
    "npm.autoDetect": "off",
    "typescript.tsc.autoDetect": "off",
}
FLAGS = [
    "--auth", "none", "--disable-telemetry", "--disable-update-check",
    "--disable-workspace-trust", "--disable-getting-started-override",
]  # fmt: skip


class CodeServer:
    """Where it listens."""

    def __init__(self, port: int, pid: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"
        self._pid = pid

    def url(self, folder: Path) -> str:
        """The address of a window on a folder."""
        return f"{self.origin}/?{urlencode({'folder': str(folder)}, quote_via=quote)}"

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.origin}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.URLError:
            return False

    def end_tasks(self, folder: Path) -> None:
        """End, by id, what a window's task still runs in a folder."""
        for process in psutil.Process(self._pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if process.cwd() == str(folder):
                    killed(process, after_s=30)


@contextmanager
def serving(installed: Path, folder: Path, *, trace_port: int) -> Iterator[CodeServer]:
    """Run it with our extension; `folder` takes its data."""
    port = free_port()
    user, extensions = folder / "user", folder / "extensions"
    (user / "User").mkdir(parents=True)
    (user / "User" / "settings.json").write_text(json.dumps(SETTINGS))
    shutil.copytree(EXTENSION, extensions / "devkit.debugpy-stand-in-0.0.1")
    entry = installed / "node_modules/code-server/out/node/entry.js"
    assert entry.exists(), f"{entry} is missing: scripts/editor installs it"
    places = ["--user-data-dir", str(user), "--extensions-dir", str(extensions)]
    with (folder / "code-server.log").open("wb") as log:
        process = subprocess.Popen(
            ["node", str(entry), *FLAGS, *places, "--bind-addr", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            env=_environment(folder, trace_port),
            start_new_session=True,
        )
    with ended(process):
        server = CodeServer(port, process.pid)
        until(lambda: process.poll() is not None or server.answers(), timeout_s=60)
        assert process.poll() is None, (folder / "code-server.log").read_text()
        yield server


def _environment(folder: Path, trace_port: int) -> dict[str, str]:
    """As of a terminal in which devkit's virtual environment is active."""
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "EXTENSIONS_GALLERY": "{}",  # no look-ups on the network
        "DEVKIT_TEST_TRACE": str(trace_port),
    }
