"""Step 7, diagnose: which scikit-learn made a pickle, read from its bytes; nothing is loaded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickletools
import zlib
from collections.abc import Iterator
from pathlib import Path

_KEY = b"_sklearn_version"
_OLD_MODULES = (b"sklearn.externals", b"sklearn.ensemble.forest", b"sklearn.tree.tree")
_SUFFIXES = (".pkl", ".pickle", ".joblib", ".sav", ".model")
_MOST_BYTES = 256 << 20
# Two strings and what the pickler writes between them.
_AROUND = 120


def is_pickle(path: Path) -> bool:
    """Say whether a file is one by its name."""
    return path.suffix.lower() in _SUFFIXES


def sklearn_version(path: Path) -> str | None:
    """Return "1.5.2", "0" for one so old that it does not say, None for what is none of its."""
    try:
        content = _content(path)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return None
    at = content.find(_KEY)
    if at >= 0:
        # An opcode and at most 8 bytes of length stand before the text.
        for before in (2, 1, 5, 9):
            version = _second(content[max(at - before, 0) : at + _AROUND])
            if version:
                return version
    return "0" if any(name in content for name in _OLD_MODULES) else None


def uses_sklearn(path: Path) -> bool:
    """Say whether loading a file imports scikit-learn."""
    try:
        return b"sklearn" in _content(path)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
        return False


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


def _content(path: Path) -> bytes:
    """Read a file, unpacked as joblib packs; no more of it than would fit."""
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(path) as packed:
            return packed.read(_MOST_BYTES)
    if start.startswith(b"BZh"):
        with bz2.open(path) as packed:
            return packed.read(_MOST_BYTES)
    if start.startswith((b"\xfd7zXZ", b"]\x00\x00")):
        with lzma.open(path) as packed:
            return packed.read(_MOST_BYTES)
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES)
    if start[:1] == b"\x78":
        return zlib.decompressobj().decompress(content, _MOST_BYTES)
    return content
