"""A request's body, read whole: a worker is not held while a slow client sends."""

from __future__ import annotations

from email.message import Message
from io import BufferedIOBase
from typing import Iterator

# As nginx in Microsoft's images.
MAX_BODY = 100 * 1024 * 1024


class BadBody(Exception):
    """The request's body cannot be taken; carries the status code to say so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def read(headers: Message, stream: BufferedIOBase) -> bytes:
    """Read the body that `headers` announce.

    Raises:
        BadBody: it is too large, or its end is not clear or missing.
    """
    lengths = headers.get_all("Content-Length", [])
    coding = ",".join(headers.get_all("Transfer-Encoding", [])).strip().lower()
    # Two ways to say where the body ends let a proxy and us disagree (RFC 9112 6.3).
    if (coding and lengths) or coding not in ("", "chunked") or len(set(lengths)) > 1:
        raise BadBody(400, "It is not clear where the body ends.")
    if coding:
        return b"".join(_chunks(stream))
    text = (lengths or ["0"])[0].strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise BadBody(400, "Content-Length is not a number.")
    _check_size(int(text))
    body = stream.read(int(text))
    if len(body) < int(text):
        raise BadBody(400, "The body ended early.")
    return body


def _check_size(size: int) -> None:
    if size > MAX_BODY:
        raise BadBody(413, "The body is larger than {} bytes.".format(MAX_BODY))


def _chunks(stream: BufferedIOBase) -> Iterator[bytes]:
    total = 0
    while True:
        size_text = stream.readline(128).split(b";")[0].strip()
        if not size_text or size_text.strip(b"0123456789abcdefABCDEF"):
            raise BadBody(400, "The chunked body is malformed.")
        size = int(size_text, 16)
        total += size
        _check_size(total)
        if size == 0:
            while stream.readline(65537) not in (b"\r\n", b"\n", b""):
                pass
            return
        data = stream.read(size)
        if len(data) < size or stream.readline(3).strip():
            raise BadBody(400, "The chunked body is malformed.")
        yield data
