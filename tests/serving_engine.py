"""The engine in memory, with containers that answer on their ports as devkit's runtime does."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from devkit.contract import APP_ROOT, DEBUG_PORT, SCORE_PORT
from devkit.engine import Container, RunSpec
from tests.fake_engine import FakeEngine
from tests.peer import Connection, Message, peer


class ServingEngine(FakeEngine):
    """`status` is what the runtime says of itself; `asked` is what clients asked it."""

    def __init__(self) -> None:
        super().__init__()
        self.status: Message = {
            "state": "ready",
            "generation": 1,
            "pid": 7,
            "debug": True,
            "attached": None,
            "error": None,
            "python": "3.13.5",
            "init_ms": 12.0,
            "reload_ms": None,
            "watched": 1,
        }
        self.asked: list[str] = []
        self.unbound: set[str] = set()
        self._open = ExitStack()

    def run(self, spec: RunSpec) -> Container:
        container = super().run(spec)
        box = self.boxes[container.name]
        for file in self.built[-1].context:
            if file.path.parts[0] == "app":
                content = file.content
                content = content.read_bytes() if isinstance(content, Path) else content
                box.files[APP_ROOT / file.path.relative_to("app")] = content
        inside = {
            SCORE_PORT: self._open.enter_context(_Scoring()).port,
            DEBUG_PORT: self._open.enter_context(peer(lambda c: self._serve(container.name, c))),
        }
        ports = {port: ("127.0.0.1", inside[port]) for port in container.ports}
        box.container = dataclasses.replace(box.container, ports=ports)
        return box.container

    def close(self) -> None:
        """A session is over; the containers are not."""

    def shut_down(self) -> None:
        self._open.close()
        super().close()

    def fail(self, file: str, line: int, message: str) -> None:
        """Let init() have failed."""
        self.status["state"] = "failed"
        self.status["error"] = {
            "type": "ValueError",
            "message": message,
            "traceback": "",
            "file": file,
            "line": line,
            "function": "init",
        }

    def _serve(self, name: str, connection: Connection) -> None:
        while (request := connection.read()) is not None:
            command = request["command"]
            self.asked.append(command)
            connection.respond(request, self._answer(name, command, request.get("arguments", {})))
            if command == "attach":
                connection.event("initialized")
            if command == "disconnect":
                return

    def _answer(self, name: str, command: str, arguments: Message) -> Message:
        if command == "devkit/verify":
            return {"files": [self._verified(name, file) for file in arguments["files"]]}
        if command.startswith("devkit/"):
            return self.status
        if command == "setBreakpoints":
            path = arguments["source"]["path"]
            bound = Path(path).name not in self.unbound
            return {"breakpoints": [{"verified": bound} for _ in arguments["breakpoints"]]}
        return {}

    def _verified(self, name: str, file: Message) -> Message:
        files = {str(path): content for path, content in self.boxes[name].files.items()}
        content = files.get(file["path"])
        return {
            "path": file["path"],
            "exists": content is not None,
            "sha256": None if content is None else hashlib.sha256(content).hexdigest(),
            "breakpoints": [{"line": line, "verified": True} for line in file["lines"]],
        }


class _Scoring(ThreadingHTTPServer):
    """Answers a POST with its own body, anything else with "Healthy"; /fail is a 502."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._send(b"Healthy")

    def do_POST(self) -> None:
        self._send(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, format: str, *args: Any) -> None: ...

    def _send(self, body: bytes) -> None:
        self.send_response(502 if self.path == "/fail" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
