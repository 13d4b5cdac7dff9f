"""`devkit debug --json` as a child process, and the service that it describes, as users have it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from timeline import NotSeen, Step, Timeline

from devkit import service
from devkit.debug import proof
from devkit.debug.dap import Session
from devkit.engine import Placement
from devkit.errors import DevkitError
from devkit.launch import jsonc_tree

DEVKIT = Path(sys.executable).with_name("devkit")
TAG = "devkit-demo:1"
# From an edit to its effect; a tenth of a second is usual, a busy machine takes longer.
PATIENCE_S = 20


class Running:
    """The service, as the object that `devkit debug --json` printed describes it."""

    def __init__(self, workspace: Path, contract: dict[str, Any], where: list[str]) -> None:
        self.script = workspace / "score.py"
        self.contract = contract
        self._workspace = workspace
        self._where = where
        self._sample = (workspace / "sample.json").read_bytes()
        self._requests = ThreadPoolExecutor(thread_name_prefix="request")

    def ask(self) -> service.Answer:
        """Send the sample to /score."""
        return service.invoke(self.contract["score_uri"], self._sample, timeout_s=PATIENCE_S)

    def ask_meanwhile(self) -> Future[service.Answer]:
        """Send it from a thread, because the answer waits at a breakpoint."""
        return self._requests.submit(self.ask)

    def status(self) -> service.Status:
        """How the runtime says it is, paths in its words made local."""
        debug = self.contract["debug"]
        mappings = [
            Placement(Path(m["local"]), PurePosixPath(m["remote"]))
            for m in self.contract["mappings"]
        ]
        return service.status(debug["host"], debug["port"], mappings=mappings)

    def loaded(self, generation: int) -> None:
        """Wait until that generation of the code serves."""
        debug = self.contract["debug"]
        service.wait_ready(
            debug["host"],
            debug["port"],
            timeout_s=PATIENCE_S,
            alive=lambda: True,
            generation=generation,
        )

    def attached(self) -> Session:
        """A debug session, from the entry in launch.json that F5 takes."""
        launch = jsonc_tree.data(Path(self.contract["launch_json"]).read_text("utf-8"))
        entry = next(e for e in launch["configurations"] if e["type"] == "debugpy")
        debug = self.contract["debug"]
        entry = proof.filled(entry, self._workspace)
        # Under the name "devkit" it would be a check, for which no next worker is made ready.
        return Session.attach(debug["host"], debug["port"], entry, client="demo")

    def save(self, old: str, new: str) -> None:
        """Edit score.py as an editor does: read, change, write."""
        text = self.script.read_text("utf-8")
        if old not in text:
            raise NotSeen(f"{self.script.name} has no line {old!r} to edit")
        self.script.write_text(text.replace(old, new), "utf-8")

    def inside(self, *command: str) -> None:
        """Run a command on score.py in the container."""
        remote = PurePosixPath(self.contract["mappings"][0]["remote"]) / self.script.name
        self.devkit("exec", "--", *command, str(remote))

    def devkit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Type a command; NotSeen where it fails."""
        command = [str(DEVKIT), *self._where, *words]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            raise NotSeen(f"`devkit {words[0]}` failed: {done.stderr}")
        return done

    def line_of(self, code: str) -> int:
        """The number of the line that has this code."""
        lines = self.script.read_text("utf-8").splitlines()
        return next(number for number, line in enumerate(lines, 1) if code in line)

    def until(self, fits: Callable[[service.Answer], bool]) -> tuple[service.Answer, float]:
        """Ask until an answer fits; with the milliseconds that took."""
        started = time.perf_counter()
        answer = self.ask()
        while not fits(answer):
            if time.perf_counter() - started > PATIENCE_S:
                raise NotSeen(f"the service still answers {answer.status}: {answer.text()[:200]}")
            answer = self.ask()
        return answer, (time.perf_counter() - started) * 1000


@contextmanager
def debugging(folder: Path, engine: str, image: str | None, show: Timeline) -> Iterator[Running]:
    """`devkit debug` in the foreground, where it follows the files; deleted afterwards."""
    where = ["--directory", str(folder), "--engine", engine, "--service", f"demo-{os.getpid()}"]
    build = ["--base", image, "--tag", TAG] if image else []
    ports = ["--port", "auto", "--debug-port", "auto"]
    command = [str(DEVKIT), "debug", *where, *build, *ports, "--json"]
    child = _started(command)
    try:
        with show.step("packaged, running, mappings proved") as step:
            contract = _contract(child, step)
        yield Running(folder, contract, where)
    except BaseException:
        _deleted(child, where)
        raise
    gone = _deleted(child, where)
    if gone.returncode != 0:
        raise NotSeen(f"`devkit delete` failed: {gone.stdout}")


def _started(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        # Ctrl-C reaches this script, which then ends the child in order.
        start_new_session=True,
    )


def _contract(child: subprocess.Popen[str], step: Step) -> dict[str, Any]:
    assert child.stdout
    assert child.stderr
    last: deque[str] = deque(maxlen=15)
    threading.Thread(target=_watch, args=(child.stderr, step, last), daemon=True).start()
    text = ""
    for line in child.stdout:
        text += line
        try:
            made: dict[str, Any] = json.loads(text)
        except json.JSONDecodeError:
            continue
        if not made["ok"]:
            raise DevkitError(made["error"]["message"], hint=made["error"]["hint"])
        step.saw(*_told(made))
        return made
    raise NotSeen("`devkit debug` ended without a result:\n" + "\n".join(last))


def _watch(stream: IO[str], step: Step, last: deque[str]) -> None:
    for line in stream:
        last.append(line.rstrip())
        step.progress(line.strip())


def _told(made: dict[str, Any]) -> Iterator[str]:
    took = {step: f"{seconds or 0:.1f} s" for step, seconds in made["timings"].items()}
    yield f"packaged  {made['image']} in {took['package_s']}"
    yield f"started   {made['container']} in {took['start_s']}, init() in {took['init_s']}"
    yield f"ready     at {made['score_uri']}, attach proved in {took['attach_s']}"
    for mapping in made["mappings"]:
        if not mapping["verified"]:
            raise NotSeen(f"no breakpoint takes hold in {mapping['local']}")
        yield f"proved    {mapping['local']}"
        yield f"       -> {mapping['remote']}"


def _deleted(child: subprocess.Popen[str], where: list[str]) -> subprocess.CompletedProcess[str]:
    """End following, then take away container, network and entries."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    delete = [str(DEVKIT), "delete", *where, "--yes", "--json"]
    return subprocess.run(delete, capture_output=True, encoding="utf-8", check=False)
