"""Step 5, sync: digests that are known, packed: small in memory, on disk and on their way.

A record is a file's signature (40 bytes) and its digest (32). Part of the agent: standard library
only, Python 3.7 and up.
"""

from __future__ import annotations

import struct
from typing import Dict, Iterator, List, Mapping, Tuple

from .entry import FILE, Entry, Signature

RECORD_BYTES = 72
_SIGNATURE = struct.Struct("<qqQqq")
_SIGNATURE_BYTES = 40
_RUNS = struct.Struct("<q")
_MODE_AT = 24
_MOST_BYTES = 1 << 20
# What no file system gives comes from an agent that lies; it equals nothing.
_STRANGE = b"\xff" * _SIGNATURE_BYTES


def packed(signature: Signature) -> bytes:
    """Pack a signature; of two files that differ in it, the results do, too."""
    try:
        return _SIGNATURE.pack(*signature)
    except struct.error:
        return _STRANGE


def signature_in(record: bytes) -> bytes:
    """Return the packed signature of a record."""
    return record[:_SIGNATURE_BYTES]


def entry_in(record: bytes) -> Entry:
    """Return the file that a record is of."""
    (mode,) = _RUNS.unpack_from(record, _MODE_AT)
    return Entry(FILE, record[_SIGNATURE_BYTES:].hex(), bool(mode & 0o100))


def sent(known: Mapping[str, bytes]) -> Iterator[Tuple[int, bytes]]:
    """Yield pieces of paths with their records, as a frame's content: how many, and the bytes."""
    names: List[bytes] = []
    records: List[bytes] = []
    size = 0
    for path, one in known.items():
        name = path.encode("utf-8", "surrogateescape")
        names.append(name)
        records.append(one)
        size += len(name) + RECORD_BYTES + 1
        if size > _MOST_BYTES:
            yield len(names), b"".join(records) + b"\0".join(names)
            names, records, size = [], [], 0
    if names:
        yield len(names), b"".join(records) + b"\0".join(names)


def received(count: int, content: bytes) -> Dict[str, bytes]:
    """Read a piece. ValueError for what is none."""
    end = count * RECORD_BYTES
    names = content[end:].decode("utf-8", "surrogateescape").split("\0")
    if count < 1 or len(content) < end or len(names) != count:
        raise ValueError("not as many paths as were said")
    starts = range(0, end, RECORD_BYTES)
    return {name: content[start : start + RECORD_BYTES] for name, start in zip(names, starts)}
