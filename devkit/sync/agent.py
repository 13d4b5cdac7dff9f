"""Step 5, sync: a side. Reads and writes files below one folder, told so over stdin.

The host sends this file's text over `exec` (`python -I -c TEXT ROOT`), so nothing of it is on the
container's disk. It ends when its input does. Standard library only, Python 3.7 and up.

A frame is a length (4 bytes, big endian), that many bytes of JSON, and, where the JSON has "size",
that many bytes of content. Each request gets one answer, in order:

    {"op": "digest", "paths"}                          -> {"digests": [sha256 or null, ...]}
    {"op": "write", "path", "expect", "mode", "size"}  -> {"digest"}, {"moved"} or {"error"}

A write happens only while the file still has the content `expect` (null: is absent); it is complete
at once, by rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
from typing import Any, BinaryIO, Dict, Optional

LENGTH = struct.Struct(">I")
MAX_HEADER = 16 * 1024 * 1024


class Side:
    """The files below `root`; no path or link leads out of it."""

    def __init__(self, root: str) -> None:
        self.root = os.path.realpath(root)

    def digest(self, path: str) -> Optional[str]:
        """The content's sha256; None for what is no regular file."""
        place = self._place(path)
        if os.path.islink(place) or not os.path.isfile(place):
            return None
        content = hashlib.sha256()
        with open(place, "rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                content.update(block)
        return content.hexdigest()

    def write(self, path: str, content: bytes, expect: Optional[str], mode: int) -> Dict[str, Any]:
        """Write the file if it still has the content `expect`; return the answer."""
        place = self._place(path)
        now = self.digest(path)
        if now != expect or (now is None and os.path.lexists(place)):
            return {"moved": now}
        os.makedirs(os.path.dirname(place), exist_ok=True)
        temporary = "{}.devkit-{}.tmp".format(place, os.getpid())
        try:
            with open(temporary, "wb") as file:
                file.write(content)
            os.chmod(temporary, mode & 0o777)
            os.replace(temporary, place)
        except OSError:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        return {"digest": hashlib.sha256(content).hexdigest()}

    def _place(self, path: str) -> str:
        parts = path.split("/")
        if not path or path.startswith("/") or "\0" in path or set(parts) & {"", ".", ".."}:
            raise ValueError("not a path below the root: {!r}".format(path))
        folder = os.path.realpath(os.path.join(self.root, *parts[:-1]))
        if folder != self.root and not folder.startswith(self.root + os.sep):
            raise ValueError("leads out of the root: {!r}".format(path))
        return os.path.join(folder, parts[-1])


def serve(side: Side, reading: BinaryIO, writing: BinaryIO) -> None:
    """Answer requests until the input ends."""
    while True:
        head = reading.read(LENGTH.size)
        if len(head) < LENGTH.size:
            return
        size = LENGTH.unpack(head)[0]
        if size > MAX_HEADER:
            return
        request = json.loads(reading.read(size).decode("utf-8", "surrogateescape"))
        content = reading.read(request.get("size", 0))
        try:
            answer = _answered(side, request, content)
        except (OSError, ValueError) as error:
            answer = {"error": "{}: {}".format(type(error).__name__, error)}
        body = json.dumps(answer).encode("ascii")
        writing.write(LENGTH.pack(len(body)) + body)
        writing.flush()


def _answered(side: Side, request: Dict[str, Any], content: bytes) -> Dict[str, Any]:
    if request["op"] == "digest":
        return {"digests": [side.digest(path) for path in request["paths"]]}
    if request["op"] == "write":
        return side.write(request["path"], content, request["expect"], request["mode"])
    raise ValueError("unknown request {!r}".format(request["op"]))


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    serve(Side(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
