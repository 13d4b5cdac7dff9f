"""Step 7, diagnose: which scikit-learn made a pickle, read from its bytes; nothing is loaded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

_KEY = b"_sklearn_version"
_OLD_MODULES = (b"sklearn.externals", b"sklearn.ensemble.forest", b"sklearn.tree.tree")
_SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".model")
# Large arrays stand before the version. What is packed may be small and unpack for ever.
_MOST_BYTES = 256 << 20
_CHUNK = 1 << 20
# Two strings and what the pickler writes between them.
_AROUND = 120
_BEFORE = 9
_VERSION = re.compile(r"\d{1,4}(?:\.\w{1,12}){1,4}(?:[+.]\w{1,20})?")
_UNREADABLE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, MemoryError)


def is_pickle(path: Path) -> bool:
    """Say whether a file is one by its name."""
    return path.suffix.lower() in _SUFFIXES


def sklearn_version(path: Path) -> str | None:
    """Return "1.5.2", "0" for one so old that it does not say, None for what is none of its."""
    is_old = False
    try:
        for part in _parts(path):
            if version := _version(part):
                return version
            is_old = is_old or any(name in part for name in _OLD_MODULES)
    except _UNREADABLE:
        # What was read before it broke counts.
        pass
    return "0" if is_old else None


def _version(part: bytes) -> str | None:
    """Return the version that follows the first key which one follows."""
    at = part.find(_KEY)
    while at >= 0:
        # An opcode and at most 8 bytes of length stand before the text.
        for before in (2, 1, 5, _BEFORE):
            version = _second(part[max(at - before, 0) : at + _AROUND])
            if version and _VERSION.fullmatch(version):
                return version
        at = part.find(_KEY, at + 1)
    return None


def _second(part: bytes) -> str | None:
    """Return the text after the key, by the opcodes."""
    texts = _texts(part)
    return next(texts, None) if next(texts, None) == _KEY.decode() else None


def _texts(part: bytes) -> Iterator[str]:
    try:
        for _, argument, _ in pickletools.genops(part):
            if isinstance(argument, str):
                yield argument
    except ValueError:
        return


def _parts(path: Path) -> Iterator[bytes]:
    """Yield the content piece by piece, each with the end of the one before."""
    with path.open("rb") as file:
        read, last, size = _reader(file), b"", 0
        while size < _MOST_BYTES and (chunk := read(_CHUNK)):
            size += len(chunk)
            part = last + chunk
            yield part
            last = part[-(_AROUND + _BEFORE) :]


def _reader(file: BinaryIO) -> Callable[[int], bytes]:
    """Return how to read a file unpacked, as joblib packs."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file).read1
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file).read1
    if start.startswith((b"\xfd7zXZ", b"]\x00\x00")):
        return lzma.LZMAFile(file).read1
    if start[:1] == b"\x78":
        return _Inflated(file).read1
    return file.read


class _Inflated:
    """A zlib stream, which the standard library reads as a whole only."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj()

    def read1(self, most: int) -> bytes:
        while not self._unpacker.eof:
            packed = self._unpacker.unconsumed_tail or self._file.read(_CHUNK)
            unpacked = self._unpacker.decompress(packed, most)
            if unpacked or not packed:
                return unpacked
        return b""
