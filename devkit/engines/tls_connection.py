"""An exec's connection to an engine over TLS, for two threads, and ended one way at a time.

Python's own `SSLSocket` cannot do either: reading in one thread while another writes is not safe,
and `unwrap()` loses what the other side still says.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from docker import APIClient

_BLOCK = 1 << 16


class TlsConnection:
    """TLS over a socket, en- and decrypted in memory; only the socket is waited for."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, hostname: str) -> None:
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        self._state, self._sending = threading.Lock(), threading.Lock()
        self._decrypted = bytearray()
        self._ended = False
        self._shake_hands()

    @classmethod
    def to(cls, client: APIClient) -> TlsConnection:
        """Connect to where a client's address is, with its certificates.

        Raises:
            OSError: nobody answers, or one of the two sides does not trust the other.
        """
        address = urlsplit(client.base_url)
        host = address.hostname or "localhost"
        sock = socket.create_connection((host, address.port or 2376), timeout=client.timeout)
        try:
            connection = cls(sock, _context(client), host)
        except BaseException:
            sock.close()
            raise
        sock.settimeout(None)
        return connection

    def recv(self, size: int) -> bytes:
        """Return what came, at most `size` bytes; b"" at the end."""
        while not self._decrypted and not self._ended:
            self._take(self._socket.recv(_BLOCK))
        data = bytes(self._decrypted[:size])
        del self._decrypted[: len(data)]
        return data

    def sendall(self, data: bytes) -> None:
        """Send all of `data`."""
        with self._sending:
            for start in range(0, len(data), _BLOCK):
                with self._state:
                    self._tls.write(data[start : start + _BLOCK])
                self._flush()

    def end_sending(self) -> None:
        """Say that nothing more comes from here; the other side may go on."""
        with self._sending:
            # It looks for the other side's word too, which is not here yet.
            with self._state, suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush()

    def holds_data(self) -> bool:
        """Say whether `recv` has something although the socket has not."""
        return bool(self._decrypted) or self._ended

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Let go of it, also under a reader that waits."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self._socket.recv(_BLOCK)
                if not data:
                    raise ConnectionResetError("The engine ended the TLS handshake.") from None
                self._incoming.write(data)
            else:
                self._flush()
                return

    def _take(self, data: bytes) -> None:
        with self._state:
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()
            try:
                # All that is there: `unwrap` would lose what is decrypted and not yet read.
                while part := self._tls.read(_BLOCK):
                    self._decrypted += part
                self._ended = True
            except ssl.SSLWantReadError:
                pass
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                self._ended = True

    def _flush(self) -> None:
        with self._state:
            data = self._outgoing.read()
        self._socket.sendall(data)


def _context(client: APIClient) -> ssl.SSLContext:
    """Return what docker's TLS settings mean, as `requests` reads them from the client."""
    verify = client.verify
    if isinstance(verify, str):
        folder = Path(verify).is_dir()
        context = ssl.create_default_context(
            cafile=None if folder else verify, capath=verify if folder else None
        )
    else:
        context = ssl.create_default_context()
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if client.cert is not None:
        pair = (client.cert, None) if isinstance(client.cert, str) else client.cert
        context.load_cert_chain(*pair)
    return context
