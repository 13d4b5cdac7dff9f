"""Step 5, sync: the container's side, the agent's text over `exec`: one stream for all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from devkit.engine import Engine
from devkit.errors import EngineError
from devkit.sync import agent

# What comes from a container is not trusted: an answer is small.
_MAX_ANSWER = 64 * 1024 * 1024


@dataclass(frozen=True)
class Outcome:
    """What became of a write: `digest` is the content's that is there now, None for no file.

    `is_written` is False where the file has changed since it was seen, and where `error` says why
    it could not be written.
    """

    is_written: bool
    digest: str | None = None
    error: str = ""


class Remote:
    """The files below a folder of a container. Raises EngineError when the stream is lost."""

    def __init__(self, engine: Engine, container: str, root: PurePosixPath) -> None:
        text = Path(agent.__file__).read_text(encoding="utf-8")
        self._stream = engine.exec(container, ["python", "-I", "-c", text, str(root)])
        self._pending = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def digests(self, paths: Sequence[str]) -> list[str | None]:
        """The sha256 of each file's content; None for what is not there."""
        found = self._ask({"op": "digest", "paths": list(paths)}).get("digests")
        if not isinstance(found, list) or len(found) != len(paths):
            raise _nonsense()
        return [item if isinstance(item, str) else None for item in found]

    def write(self, path: str, content: bytes, *, expect: str | None, mode: int) -> Outcome:
        """Write a file if it still has the content `expect`."""
        answer = self._ask(
            {"op": "write", "path": path, "expect": expect, "mode": mode, "size": len(content)},
            content,
        )
        if "error" in answer:
            return Outcome(is_written=False, error=str(answer["error"]))
        is_written = "digest" in answer
        digest = answer["digest"] if is_written else answer.get("moved")
        return Outcome(is_written, digest if isinstance(digest, str) else None)

    def _ask(self, request: dict[str, Any], content: bytes = b"") -> dict[str, Any]:
        body = json.dumps(request).encode("ascii")
        try:
            self._stream.write(agent.LENGTH.pack(len(body)) + body + content)
        except OSError as error:
            raise _lost(str(error)) from error
        (size,) = agent.LENGTH.unpack(self._read(agent.LENGTH.size))
        if size > _MAX_ANSWER:
            raise _nonsense()
        try:
            answer = json.loads(self._read(size))
        except ValueError as error:
            raise _nonsense() from error
        if not isinstance(answer, dict):
            raise _nonsense()
        return answer

    def _read(self, size: int) -> bytes:
        while len(self._pending) < size:
            data = self._stream.read()
            if not data:
                said = self._stream.stderr().decode(errors="replace").strip().rpartition("\n")[2]
                raise _lost(said or "it ended")
            self._pending += data
        taken = bytes(self._pending[:size])
        del self._pending[:size]
        return taken


def _lost(why: str) -> EngineError:
    return EngineError(
        f"The stream to the container is lost: {why}.",
        hint="`devkit status` says whether it runs; `devkit debug` follows it again.",
    )


def _nonsense() -> EngineError:
    return EngineError(
        "The agent in the container answered with nonsense.", hint="`devkit run` starts it anew."
    )
