"""The container's side: the agent's text started over `exec`, one stream for all that follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from devkit.engine import Engine
from devkit.errors import EngineError
from devkit.sync import agent

# What comes from a container is not trusted: an answer is small.
_MAX_ANSWER = 64 * 1024 * 1024


class Remote:
    """The files below a folder of a container. Raises EngineError when the stream is lost."""

    def __init__(self, engine: Engine, container: str, root: PurePosixPath) -> None:
        text = Path(agent.__file__).read_text(encoding="utf-8")
        self._stream = engine.exec(container, ["python", "-I", "-c", text, str(root)])
        self._pending = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def digests(self, paths: Sequence[str]) -> list[str | None]:
        """The sha256 of each file's content; None for what is not there."""
        found = self._ask({"op": "digest", "paths": list(paths)}).get("digests")
        if not isinstance(found, list) or len(found) != len(paths):
            raise EngineError("The agent in the container answered with nonsense.")
        return [item if isinstance(item, str) else None for item in found]

    def write(self, path: str, content: bytes, *, expect: str | None, mode: int) -> dict[str, Any]:
        """Write a file if it still has the content `expect`; else {"moved": its digest}."""
        return self._ask(
            {"op": "write", "path": path, "expect": expect, "mode": mode, "size": len(content)},
            content,
        )

    def _ask(self, request: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        body = json.dumps(request).encode("ascii")
        self._stream.write(agent.LENGTH.pack(len(body)) + body + content)
        (size,) = agent.LENGTH.unpack(self._read(agent.LENGTH.size))
        if size > _MAX_ANSWER:
            raise EngineError("The agent in the container answered with nonsense.")
        answer = json.loads(self._read(size))
        if not isinstance(answer, dict) or "error" in answer:
            raise EngineError(f"The container could not take a file: {answer}.")
        return answer

    def _read(self, size: int) -> bytes:
        while len(self._pending) < size:
            data = self._stream.read()
            if not data:
                raise EngineError("The stream to the container ended.")
            self._pending += data
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken
