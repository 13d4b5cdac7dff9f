"""Between steps: the tar stream that an engine yields in pieces, read as an archive."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

_BLOCK = 1 << 20


@contextmanager
def tar_of(chunks: Iterator[bytes]) -> Iterator[tarfile.TarFile]:
    """Read it as it comes; what is not read is not asked for."""
    with (
        closing(_Chunks(chunks)) as stream,
        tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK) as archive,
    ):
        yield archive


class _Chunks(io.RawIOBase):
    """An iterator of bytes, to be read as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._pending) < size and (chunk := next(self._chunks, b"")):
            self._pending += chunk
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken

    def close(self) -> None:
        let_go: Callable[[], None] = getattr(self._chunks, "close", lambda: None)
        let_go()
        super().close()
