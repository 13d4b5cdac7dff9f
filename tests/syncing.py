"""A service that is kept in step with its workspace on the real engine, and edits on both sides."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from devkit import contract
from devkit.engine import Engine
from devkit.engines import connect
from devkit.errors import EngineError, SyncHalted
from devkit.sync import control
from devkit.sync.agent.places import FLEETING
from devkit.sync.journal import Journal, Record

DEVKIT = Path(sys.executable).parent / "devkit"
TIMEOUT_S = 240
SCORE = "import helper\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return helper.WORD\n"
HELPER = 'WORD = "one"\n'
Tree = dict[str, tuple[str, str, bool]]

# Prints what stands below the folder where it runs; the same on both sides.
LIST = """
import hashlib, json, os, stat
found = {}
for here, folders, files in os.walk("."):
    for name in folders + files:
        path = os.path.join(here, name)
        info = os.lstat(path)
        runs = bool(info.st_mode & 0o100)
        if stat.S_ISREG(info.st_mode):
            content = open(path, "rb").read() if os.access(path, os.R_OK) else b"?"
            entry = "file", hashlib.sha256(content).hexdigest(), runs
        elif stat.S_ISLNK(info.st_mode):
            entry = "link", os.readlink(path), False
        else:
            entry = "folder" if stat.S_ISDIR(info.st_mode) else "other", "", False
        found[path[2:]] = entry
print(json.dumps(found))
"""

# Saves in the folder where it runs as an editor does: JSON lines of path and text.
SAVER = """
import json, os, sys
for line in sys.stdin:
    path, text = json.loads(line)
    with open(".new", "w") as file:
        file.write(text)
    os.replace(".new", path)
"""


class Synced:
    """A workspace, its service, and the sync between them."""

    def __init__(self, engine: Engine, folder: Path, base: str) -> None:
        self.engine = engine
        self.folder = folder
        self.name = folder.name
        self.root = str(contract.APP_ROOT / self.name)
        self.tag = f"devkit-test-{self.name}:1"
        self.options = ["--base", base, "--tag", self.tag, "--port", "auto", "--debug-port", "auto"]
        self.container = ""

    # Commands.

    def devkit(self, *words: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [DEVKIT, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            timeout=TIMEOUT_S,
            check=False,
        )
        print(done.stderr[-3000:])  # noqa: T201  pytest shows it when the test fails
        return done

    def json(self, *words: str) -> dict[str, Any]:
        done = self.devkit(*words, "--json")
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    def debug(self, *words: str) -> dict[str, Any]:
        made = self.json("debug", "--detach", *self.options, *words)
        assert made["ok"], made
        found = self.engine.container(made["container"])
        assert found is not None
        self.container = found.id
        return made

    # The sync; `devkit sync` asks the same.

    def sync(self) -> control.Running:
        found = control.Running.find(self.folder, self.name)
        assert found is not None, self.sync_log()
        return found

    def sync_log(self) -> str:
        return control.log_path(self.folder, self.name).read_text()

    def ask(self, what: str) -> dict[str, Any]:
        with self.sync() as sync:
            return sync.ask(what, timeout_s=120)

    def flush(self) -> dict[str, Any]:
        return self.ask("flush")

    def halted(self) -> str:
        """Why the sync halts now."""
        with pytest.raises(SyncHalted):
            self.flush()
        status = self.ask("status")
        assert status["state"] == "halted", status
        return str(status["reason"])

    def records(self) -> list[Record]:
        """What was changed so far, the oldest first."""
        with Journal(self.folder) as journal:
            return journal.records(service=self.name)[::-1]

    @contextmanager
    def changed(self) -> Iterator[list[tuple[str, str]]]:
        """Yield a list that afterwards says what the sync changed meanwhile: side and path."""
        self.flush()
        before = len(self.records())
        found: list[tuple[str, str]] = []
        yield found
        self.flush()
        new = self.records()[before:]
        found += [(record.side, record.path.partition("/")[2]) for record in new]

    def in_step(self) -> Tree:
        """Wait until both sides agree; they have to have the same, and to be quiet."""
        changes = self.flush()["changes"]
        here, there = self.here(), self.there()
        assert here == there
        assert self.flush()["changes"] == changes
        return here

    @contextmanager
    def news(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Yield what happens from now on, as `devkit sync --json` prints it."""
        with self.sync() as sync:
            yield sync.follow()

    # Both sides.

    def here(self) -> Tree:
        listed = [sys.executable, "-I", "-c", LIST]
        done = subprocess.run(listed, cwd=self.folder, capture_output=True, check=True)
        return _ours(done.stdout)

    def there(self) -> Tree:
        return _ours(self.inside(f"python3 -I -c {shlex.quote(LIST)}"))

    def names(self) -> set[str]:
        """All names in the workspace's folder."""
        return {item.name for item in self.folder.iterdir()}

    def write(self, path: str, text: str | bytes) -> None:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())

    def inside(self, line: str, *, user: str | None = None) -> bytes:
        """Run a line in the container's shell, in the source folder, and return what it said."""
        said, code, errors = self.tried(line, user=user)
        assert code == 0, errors
        return said

    def tried(self, line: str, *, user: str | None = None) -> tuple[bytes, int, str]:
        command = ["sh", "-c", f"cd {shlex.quote(self.root)} && {line}"]
        stream = self.engine.exec(self.container, command, user=user)
        try:
            said = b"".join(iter(stream.read, b""))
            return said, stream.wait(), stream.stderr().decode()
        finally:
            stream.close()

    @contextmanager
    def saver(self) -> Iterator[Callable[[str, str], None]]:
        """Yield what saves a file in the container, without waiting for it."""
        command = ["sh", "-c", f'cd {shlex.quote(self.root)} && exec python3 -u -c "$0"', SAVER]
        with contextlib.closing(self.engine.exec(self.container, command)) as stream:
            yield lambda path, text: stream.write(json.dumps([path, text]).encode() + b"\n")

    def as_root(self, line: str) -> bytes:
        """Run a line as a root that may do all in the container, unlike root by `exec`."""
        pid = ["docker", "inspect", "--format", "{{.State.Pid}}", self.container]
        found = subprocess.run(pid, check=True, capture_output=True, encoding="utf-8")
        entered = ["nsenter", "--target", found.stdout.strip(), "--mount", "--pid", "sh", "-c"]
        line = f"cd {shlex.quote(self.root)} && {line}"
        return subprocess.run([*entered, line], check=True, capture_output=True).stdout

    @contextmanager
    def unheard(self) -> Iterator[None]:
        """Let both sides be changed before either hears of the other."""
        self.ask("pause")
        yield
        self.ask("resume")

    def python(self, text: str, *, user: str | None = None) -> bytes:
        """Run Python in the container."""
        return self.inside(f"python3 -I -c {shlex.quote(text)}", user=user)

    def read_inside(self, path: str) -> str:
        return self.inside(f"cat {shlex.quote(path)}").decode()

    def generation(self) -> int:
        """How often the service was loaded; the newest code is ready then."""
        return int(self.json("status")["runtime"]["generation"])

    def cleared(self) -> None:
        """Make both sides what they were in the beginning."""
        self._settled()
        for item in self.folder.iterdir():
            if item.name in ("score.py", "helper.py", ".devkit", ".vscode", "devkit.yaml"):
                continue
            shutil.rmtree(item) if item.is_dir() and not item.is_symlink() else item.unlink()
        self.write("score.py", SCORE)
        self.write("helper.py", HELPER)
        self._settled()
        assert set(self.in_step()) == {"score.py", "helper.py"}
        self.ask("reset")
        self.flush()

    def _settled(self) -> None:
        """Bring both in step, and say yes to what it halts for."""
        try:
            self.flush()
        except SyncHalted:
            self.ask("resume")
            self.flush()


def _ours(listed: bytes) -> Tree:
    """What is synced of a listing; nothing of devkit's own may be left."""
    tree: Tree = {path: tuple(entry) for path, entry in json.loads(listed).items()}
    assert not [path for path in tree if "devkit-tmp" in path or "devkit-recovered" in path]
    own = re.compile(r"(\.vscode|devkit\.yaml)(/.*)?", re.DOTALL)
    return {
        path: entry
        for path, entry in tree.items()
        if not own.fullmatch(path) and not any(FLEETING.fullmatch(n) for n in path.split("/"))
    }


@contextmanager
def synced(
    label: str,
    base: str,
    *words: str,
    files: Mapping[str, str] | None = None,
    place: Callable[[Path], Path] = lambda folder: folder,
) -> Iterator[Synced]:
    """Start a service that is kept in step; all of it is gone afterwards.

    Its workspace is not in /tmp: vim saves in another way there (backupskip).
    """
    engine = connect()
    top = Path(tempfile.mkdtemp(prefix="devkit-sync-", dir="/var/tmp"))
    folder = place(top) / f"sync-{label}-{os.getpid()}"
    folder.mkdir()
    for name, text in {"score.py": SCORE, "helper.py": HELPER, **(files or {})}.items():
        (folder / name).write_text(text)
    service = Synced(engine, folder, base)
    try:
        service.debug(*words)
        yield service
    finally:
        service.devkit("sync", "stop")
        service.devkit("delete", "--yes")
        with contextlib.suppress(EngineError):
            subprocess.run(["docker", "rmi", service.tag], capture_output=True, check=False)
        shutil.rmtree(top, ignore_errors=True)
        engine.close()
