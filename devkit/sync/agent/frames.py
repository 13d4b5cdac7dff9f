"""Step 5, sync: the frames between host and agent.

A frame is a length (4 bytes, big endian), that many bytes of JSON, and, where the JSON has "size",
that many bytes of content. Part of the agent: standard library only, Python 3.7 and up.
"""

from __future__ import annotations

import json
import struct
from typing import Any, Dict, Iterator, Optional, Tuple

VERSION = 1
MAX_CONTENT = 4 * 1024 * 1024
_MAX_HEADER = 16 * 1024 * 1024
_LENGTH = struct.Struct(">I")


def frame(message: Dict[str, Any], content: bytes = b"") -> bytes:
    """Make a frame."""
    if content:
        message = dict(message, size=len(content))
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    return _LENGTH.pack(len(body)) + body + content


class Frames:
    """Takes bytes as they come and gives whole frames. ValueError for what is none."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._message: Optional[Dict[str, Any]] = None

    def add(self, data: bytes) -> Iterator[Tuple[Dict[str, Any], bytes]]:
        """Yield (message, content) for each frame that is complete now."""
        self._data += data
        while self._message is not None or self._take_message():
            assert self._message is not None
            size = self._message.get("size", 0)
            if len(self._data) < size:
                return
            content = self._take(size)
            message, self._message = self._message, None
            yield message, content

    def _take_message(self) -> bool:
        if len(self._data) < _LENGTH.size:
            return False
        (length,) = _LENGTH.unpack(self._data[: _LENGTH.size])
        if length > _MAX_HEADER:
            raise ValueError(f"a frame's header has {length} bytes")
        if len(self._data) < _LENGTH.size + length:
            return False
        self._take(_LENGTH.size)
        self._message = _message(self._take(length))
        return True

    def _take(self, size: int) -> bytes:
        taken = bytes(self._data[:size])
        del self._data[:size]
        return taken


def _message(body: bytes) -> Dict[str, Any]:
    try:
        message = json.loads(body.decode("ascii"))
    except RecursionError:
        raise ValueError("a frame is nested too deeply") from None
    size = message.get("size", 0) if isinstance(message, dict) else None
    # True is a number to Python.
    if type(size) is not int or not 0 <= size <= MAX_CONTENT:
        raise ValueError("not a frame of this protocol")
    return dict(message)
