"""A workspace as users have it, and its service, through the `devkit` command and the network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from devkit import service
from tests.e2e.owned import ended
from tests.running import free_port

ROOT = Path(__file__).parents[2]
DEVKIT = Path(sys.executable).with_name("devkit")
TAG = "devkit-test-editor:1"
TIMEOUT_S = 600  # the first build of an image, on a busy machine


class Workspace:
    """A copy of examples/iris with a devkit.yaml; nothing runs yet."""

    def __init__(self, folder: Path, *, name: str, base: str) -> None:
        shutil.copytree(ROOT / "examples" / "iris", folder)
        self.folder = folder
        self._requests = ThreadPoolExecutor(thread_name_prefix="request")
        self.score_port, self.debug_port = free_port(), free_port()
        (folder / "devkit.yaml").write_text(
            f"service: {name}\n"
            f'image: {{base: "{base}", tag: "{TAG}"}}\n'
            f"ports: {{score: {self.score_port}, debug: {self.debug_port}}}\n"
        )

    def devkit(self, *words: str) -> dict[str, Any]:
        """Run a command to its end; return what it printed."""
        done = subprocess.run(
            [DEVKIT, *words, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            cwd=self.folder,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"devkit {' '.join(words)}: {done.stdout}{done.stderr}"
        made: dict[str, Any] = json.loads(done.stdout)
        return made

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Run `devkit debug` in the foreground, so that saved files reach the container."""
        process = subprocess.Popen(
            [DEVKIT, "debug", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            cwd=self.folder,
            start_new_session=True,
        )
        with ended(process):
            _read_object(process)
            yield

    def ask(self, body: bytes | None = None) -> service.Answer:
        """Send a request to /score: the sample, or `body`."""
        data = body or (self.folder / "sample.json").read_bytes()
        return service.invoke(f"http://127.0.0.1:{self.score_port}/score", data, timeout_s=60)

    def later(self, body: bytes | None = None) -> Future[service.Answer]:
        """Send it in the background: it waits at a breakpoint."""
        return self._requests.submit(self.ask, body)

    def generation(self) -> int:
        """Which generation of the code serves."""
        return service.status("127.0.0.1", self.debug_port).generation

    def loaded(self, generation: int) -> None:
        """Wait until that generation serves."""
        service.wait_ready(
            "127.0.0.1",
            self.debug_port,
            timeout_s=30,
            alive=lambda: True,
            generation=generation,
        )

    def is_attached(self) -> bool:
        return bool(service.status("127.0.0.1", self.debug_port).attached)

    def line(self, code: str, name: str = "score.py") -> int:
        """The number of the line in which `code` first stands."""
        lines = (self.folder / name).read_text("utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if code in line)


def _read_object(process: subprocess.Popen[str]) -> None:
    """Wait for the object that says the service is ready."""
    assert process.stdout
    text = ""
    for line in process.stdout:
        text += line
        with suppress(json.JSONDecodeError):
            assert json.loads(text)["ok"], text
            return
    raise AssertionError(f"`devkit debug` ended without a result: {text}")
