"""What one does without devkit: Microsoft's server, run under debugpy where one debugs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.place import SCORE
from bench.requests import until_answered
from devkit import contract
from devkit.debug import dap
from devkit.engine import Engine, PortBinding, RunSpec, Tag
from tests.running import LOCAL, free_port, until

# The server binds every address; here only this machine may reach it.
_LOOPBACK = """\
from azureml_inference_server_http import amlserver
amlserver.DEFAULT_HOST = "127.0.0.1"
amlserver.run()
"""


@dataclass
class Plain:
    """A server that was started by hand; `source` is where the debugger sees score.py."""

    score_port: int
    debug_port: int
    source: str
    sessions: list[dap.Session] = field(default_factory=list)

    def attach(self, breakpoints: Mapping[str, list[int]] | None = None) -> dap.Session:
        """Attach as an editor does."""
        wanted = {
            f"{LOCAL}/{name}": [dap.Breakpoint(line) for line in lines]
            for name, lines in (breakpoints or {}).items()
        }
        configuration = {
            "name": "by hand",
            "type": "debugpy",
            "request": "attach",
            "justMyCode": True,
            "subProcess": True,
            "pathMappings": [{"localRoot": LOCAL, "remoteRoot": self.source}],
        }
        session = dap.Session.attach(
            "127.0.0.1", self.debug_port, configuration, breakpoints=wanted, timeout_s=30
        )
        self.sessions.append(session)
        # The server scores in a forked process, which waits for the editor.
        session.wait_for("process", where=lambda event: event.session is not session)
        return session

    def detach(self) -> None:
        """End what `attach` began."""
        for session in self.sessions:
            session.disconnect()
        self.sessions.clear()


class OnHost:
    """Microsoft's server as a process of this machine, to be killed and started again."""

    def __init__(self, folder: Path, *, debug: bool) -> None:
        self.script = folder / "score.py"
        self.script.write_text(SCORE)
        (folder / "serve.py").write_text(_LOOPBACK)
        self._debug = debug
        self._process: subprocess.Popen[bytes] | None = None
        self.plain = Plain(free_port(), free_port(), os.path.realpath(folder))

    def start(self) -> None:
        """Start it; it does not answer yet."""
        plain, folder = self.plain, self.script.parent
        # debugpy's adapter outlives its server for a while, and keeps its address.
        plain.debug_port = free_port()
        debugpy = ["-m", "debugpy", "--listen", f"127.0.0.1:{plain.debug_port}"]
        server = ["serve.py", "--entry_script", "score.py", "--port", str(plain.score_port)]
        self._process = subprocess.Popen(
            [sys.executable, *(debugpy if self._debug else []), *server],
            cwd=folder,
            env={**os.environ, "AZUREML_MODEL_DIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it at once."""
        self.plain.detach()
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, start it, attach again, and wait for the first answer."""
        self.kill()
        self.start()
        if self._debug:
            until(self._is_attached)
        until_answered(self.plain.score_port)

    def _is_attached(self) -> bool:
        try:
            self.plain.attach()
        except Exception:  # noqa: BLE001 - not listening yet
            return False
        return True


@contextmanager
def on_host(folder: Path, *, debug: bool = False) -> Iterator[Plain]:
    """Microsoft's server on this machine, answering."""
    server = OnHost(folder, debug=debug)
    server.start()
    try:
        until_answered(server.plain.score_port)
        yield server.plain
    finally:
        server.kill()


@contextmanager
def in_container(engine: Engine, tag: Tag, name: str, *, debug: bool = False) -> Iterator[Plain]:
    """The same server in a container of the service's image."""
    image = engine.image(str(tag))
    assert image is not None
    script = contract.APP_ROOT / image.env["AZUREML_ENTRY_SCRIPT"]
    debugpy = ("-m", "debugpy", "--listen", f"0.0.0.0:{contract.DEBUG_PORT}")
    server = ("-m", "azureml_inference_server_http.amlserver", "--entry_script", str(script))
    port = ("--port", str(contract.SCORE_PORT))
    spec = RunSpec(
        image=tag,
        name=name,
        labels={},
        env={},
        ports=(PortBinding(contract.SCORE_PORT, 0), PortBinding(contract.DEBUG_PORT, 0)),
        command=("python", *(debugpy if debug else ()), *server, *port),
    )
    try:
        ports = engine.run(spec).ports
        plain = Plain(
            ports[contract.SCORE_PORT][1], ports[contract.DEBUG_PORT][1], str(script.parent)
        )
        until_answered(plain.score_port)
        yield plain
        plain.detach()
    finally:
        engine.remove(name)
