"""The connection that an engine turns into an exec's two-way byte stream, whatever carries it."""

from __future__ import annotations

import http.client
import io
import json
import socket
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from docker import APIClient

from devkit.engines.tls_connection import TlsConnection

_HEADERS = {"Connection": "Upgrade", "Upgrade": "tcp"}


class Connection(Protocol):
    """What an exec is read from and written to, by a thread each."""

    def recv(self, size: int) -> bytes:
        """Return what came, at most `size` bytes; b"" at the end."""

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""

    def end_sending(self) -> None:
        """Say that nothing more comes from here; the other side may go on."""

    def holds_data(self) -> bool:
        """Say whether `recv` has something although the descriptor does not tell."""

    def fileno(self) -> int:
        """Return a descriptor that becomes readable."""

    def close(self) -> None:
        """Let go of it, also under a reader that waits."""


def start(client: APIClient, exec_id: str, *, tty: bool) -> tuple[Connection, bytes]:
    """Start an exec; return its connection, and the bytes that were read with the header.

    `APIClient.exec_start(socket=True)` drops these bytes.
    """
    api: Any = client
    url = api._url("/exec/{0}/start", exec_id)
    asked = {"Tty": tty, "Detach": False}
    if url.startswith("https:"):
        return _over_tls(client, url, asked)
    response = api._post_json(url, headers=dict(_HEADERS), data=asked, stream=True)
    api._raise_for_status(response)
    reader: Any = response.raw._fp.fp
    if hasattr(reader, "channel"):
        return _Channel(reader.channel, response), bytes(reader._rbuffer)
    sock = reader.raw._sock
    sock.settimeout(0)
    early = reader.peek()
    sock.settimeout(None)
    return _Socket(sock, response), early


class _Socket:
    """A Unix or a plain TCP socket."""

    def __init__(self, sock: socket.socket, response: requests.Response) -> None:
        self._socket = sock
        self._response = response  # it closes the socket when nobody has it any more
        self.recv, self.sendall, self.fileno = sock.recv, sock.sendall, sock.fileno

    def end_sending(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def holds_data(self) -> bool:
        return False

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._response.close()


class _Channel:
    """A session of an ssh connection, by paramiko."""

    def __init__(self, channel: Any, response: requests.Response) -> None:
        channel.settimeout(None)
        self._channel = channel
        self._response = response  # as above
        self.recv, self.sendall, self.fileno = channel.recv, channel.sendall, channel.fileno

    def end_sending(self) -> None:
        with suppress(OSError):
            self._channel.shutdown_write()

    def holds_data(self) -> bool:
        return bool(self._channel.recv_ready())

    def close(self) -> None:
        self._channel.close()
        self._response.close()


def _over_tls(client: APIClient, url: str, asked: object) -> tuple[Connection, bytes]:
    connection = TlsConnection.to(client)
    try:
        address, body = urlsplit(url), json.dumps(asked).encode()
        headers = {
            "Host": address.netloc,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **_HEADERS,
        }
        lines = [f"POST {address.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        # Nothing is read ahead, so that what follows the header stays in the connection.
        reader = io.BufferedReader(_Raw(connection), buffer_size=1)
        answer = http.client.HTTPResponse(
            SimpleNamespace(makefile=lambda _mode: reader)  # type: ignore[arg-type]
        )
        answer.begin()
        if answer.status != http.HTTPStatus.SWITCHING_PROTOCOLS:
            _refuse(client, url, answer)
        return connection, b""
    except BaseException:
        connection.close()
        raise


class _Raw(io.RawIOBase):
    """A connection as http.client reads one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._connection.recv(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _refuse(client: Any, url: str, answer: http.client.HTTPResponse) -> None:
    refusal = requests.Response()
    refusal.status_code, refusal.reason, refusal.url = answer.status, answer.reason, url
    refusal.headers.update(answer.getheaders())
    refusal._content = answer.read()
    client._raise_for_status(refusal)
    raise http.client.HTTPException(f"status {answer.status} instead of an upgrade")
