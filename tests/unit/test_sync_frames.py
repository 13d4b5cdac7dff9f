"""Frames: whatever the boundaries, what was put in comes out; nonsense is refused at once."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.sync.agent.frames import MAX_CONTENT, Frames, frame

messages = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key != "size"),
    st.integers() | st.text(max_size=20) | st.booleans() | st.none(),
    max_size=4,
)


@given(st.lists(st.tuples(messages, st.binary(max_size=200)), max_size=6), st.data())
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(
    sent: list[tuple[dict[str, Any], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(frame(message, content) for message, content in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=10).map(sorted))
    frames, got = Frames(), list[tuple[dict[str, Any], bytes]]()
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += frames.add(stream[start:end])
    assert [({k: v for k, v in m.items() if k != "size"}, c) for m, c in got] == sent


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_are_frames_or_a_value_error(pieces: list[bytes]) -> None:
    frames = Frames()
    try:
        for piece in pieces:
            for message, content in frames.add(piece):
                assert isinstance(message, dict)
                assert len(content) == message.get("size", 0)
    except ValueError:
        pass


def raw(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"1",
        b"null",
        b"{",
        b"\xff",
        b'{"size": -1}',
        b'{"size": true}',
        b'{"size": 1.5}',
        b'{"size": "1"}',
        b'{"size": null}',
        json.dumps({"size": MAX_CONTENT + 1}).encode(),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        list(Frames().add(raw(body)))


def test_a_header_that_would_fill_the_memory_is_refused_before_it_comes() -> None:
    with pytest.raises(ValueError):
        list(Frames().add(b"\xff\xff\xff\xff"))
