"""A proxy and a package index for tests, which remember what was asked of them.

The proxy is on the standard library: what proxy.py would bring beside its hundred settings is a
plugin of this length, which has to collect the requests.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import socket
import threading
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit

USER = "someone"
PROXY_PASSWORD = f"proxy-{uuid.uuid4().hex}"
INDEX_PASSWORD = f"index-{uuid.uuid4().hex}"
# What stands in the one package, of a name that no cache can have.
MARK = uuid.uuid4().hex
PACKAGE = f"devkit_proof_{MARK[:8]}"


@dataclass(frozen=True)
class Asked:
    """A request: who asked, for what, and whether with the right password."""

    client: str
    method: str
    target: str
    allowed: bool


class Server(ThreadingHTTPServer):
    """Remembers what it was asked."""

    daemon_threads = True

    def __init__(self, host: str, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__((host, 0), handler)
        self.asked: list[Asked] = []
        self.address = f"{host}:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def allows(self, header: str, password: str) -> bool:
        """Remember the request; say whether it brings that password."""
        token = base64.b64encode(f"{USER}:{password}".encode()).decode()
        allowed = self.headers.get(header) == f"Basic {token}"
        asked = Asked(self.client_address[0], self.command, self.path, allowed)
        cast("Server", self.server).asked.append(asked)
        return allowed

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class ProxyHandler(Handler):
    """Forwards plain requests and tunnels, for who knows the password."""

    def do_GET(self) -> None:
        if not self._is_allowed():
            return
        parts = urlsplit(self.path)
        headers = {n: v for n, v in self.headers.items() if not n.lower().startswith("proxy-")}
        with closing(http.client.HTTPConnection(parts.netloc)) as there:
            there.request(
                self.command, parts._replace(scheme="", netloc="").geturl(), None, headers
            )
            got = there.getresponse()
            body = got.read()
        kept = {n: v for n, v in got.getheaders() if n.lower() in ("content-type", "last-modified")}
        self.answer(got.status, body, **kept)

    do_HEAD = do_GET  # noqa: N815  the base's name

    def do_CONNECT(self) -> None:
        if not self._is_allowed():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copied, args=(there, self.connection), daemon=True)
            back.start()
            _copied(self.connection, there)
            back.join()
        self.close_connection = True

    def _is_allowed(self) -> bool:
        allowed = self.allows("Proxy-Authorization", PROXY_PASSWORD)
        if not allowed:
            self.answer(407, Proxy_Authenticate='Basic realm="proxy"')
        return allowed


def _copied(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class IndexHandler(Handler):
    """One package: /open/simple is for everybody, /closed/simple for who knows the password."""

    def do_GET(self) -> None:
        allowed = self.allows("Authorization", INDEX_PASSWORD)
        name = f"{PACKAGE}-1.0-py3-none-any.whl"
        if self.path.startswith("/closed/") and not allowed:
            self.answer(401, WWW_Authenticate='Basic realm="index"')
        elif self.path.endswith(f"/simple/{PACKAGE.replace('_', '-')}/"):
            digest = hashlib.sha256(_wheel()).hexdigest()
            page = f'<a href="../../{name}#sha256={digest}">{name}</a>'
            self.answer(200, page.encode(), Content_Type="text/html")
        elif self.path.endswith(name):
            self.answer(200, _wheel(), Content_Type="application/octet-stream")
        else:
            self.answer(404)

    do_HEAD = do_GET  # noqa: N815  the base's name


def _wheel() -> bytes:
    info = f"{PACKAGE}-1.0.dist-info"
    files = {
        f"{PACKAGE}.py": f"MARK = {MARK!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{n},,\n" for n in (*files, f"{info}/RECORD"))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            # With a fixed time, so that each answer has the same digest.
            archive.writestr(zipfile.ZipInfo(name), text)
    return buffer.getvalue()


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
