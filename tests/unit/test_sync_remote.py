"""The container's side, with an agent that lies: it is not believed, and nobody waits for ever."""

from __future__ import annotations

import queue
import threading
from pathlib import PurePosixPath
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devkit.engine import Engine, InputEnded
from devkit.errors import EngineError
from devkit.sync import bootstrap, received
from devkit.sync.agent import known
from devkit.sync.agent.frames import MAX_CONTENT, VERSION, Frames, frame
from devkit.sync.agent.side import FILE, FOLDER, OTHER, Entry, Moved, Signature
from devkit.sync.remote import Answer, Remote, RemoteScan, Told

DIGEST = "d" * 64
HELLO = frame({"hello": VERSION, "root": "/"})


class Liar:
    """A stream whose other end is the test: it takes requests and says what it likes."""

    def __init__(self, first: bytes = HELLO) -> None:
        self._output = queue.SimpleQueue[bytes]()
        self._skip = len(bootstrap.text())
        self._frames = Frames()
        self.requests = queue.SimpleQueue[dict[str, Any]]()
        self.closed = False
        self.say(first)

    def exec(self, *_: object) -> Liar:
        return self

    def say(self, data: bytes) -> None:
        self._output.put(data)

    def answer(self, content: bytes = b"", **message: Any) -> None:
        self.say(frame({"id": self.requests.get(timeout=10)["id"], **message}, content))

    def read(self, size: int) -> bytes:
        return self._output.get()

    def write(self, data: bytes) -> None:
        if self.closed:
            raise InputEnded("closed")
        rest = data[self._skip :]
        self._skip = max(0, self._skip - len(data))
        for request, _ in self._frames.add(rest):
            self.requests.put(request)

    def stderr(self) -> bytes:
        return b"Traceback\nMemoryError: \x1b[31mno memory\n"

    def close(self) -> None:
        self.closed = True
        self.say(b"")


class Both:
    """A remote and its liar, and what was heard."""

    def __init__(self, first: bytes = HELLO) -> None:
        self.liar = Liar(first)
        self.told = queue.SimpleQueue[Told]()
        self.lost = queue.SimpleQueue[EngineError]()
        engine = cast(Engine, self.liar)
        self.remote = Remote(
            engine, "c", PurePosixPath("/"), told=self.told.put, lost=self.lost.put
        )

    def is_given_up(self) -> bool:
        try:
            self.lost.get(timeout=10)
        except queue.Empty:
            return False
        with pytest.raises(EngineError):
            self.remote.request("stat", path="a")
        return self.liar.closed


@pytest.mark.parametrize(
    "hello",
    [
        frame({"hello": VERSION + 1}),
        frame({"hello": "1"}),
        frame({"id": 1}),
        frame({"changed": 1}),
        b"bash: python3: not found",
        b"\xff\xff\xff\xff",
        b"",
    ],
)
def test_who_does_not_greet_as_an_agent_does_is_none(hello: bytes) -> None:
    with pytest.raises(EngineError):
        Both(hello).remote.wait()


NONSENSE: list[dict[str, Any]] = [
    {"changed": {"../x": None}, "unknown": {}, "whole": False},
    {"changed": {"/etc/passwd": [FILE, DIGEST, False]}, "unknown": {}, "whole": False},
    {"changed": {"a\0": None}, "unknown": {}, "whole": False},
    {"changed": {"": None}, "unknown": {}, "whole": False},
    {"changed": {"a/../../b": None}, "unknown": {}, "whole": False},
    {"changed": {"\ud800": None}, "unknown": {}, "whole": False},
    {"changed": {"a/" * 300 + "a": None}, "unknown": {}, "whole": False},
    {"changed": {"a" * 40_000: None}, "unknown": {}, "whole": False},
    {"changed": {"a": ["device", "", False]}, "unknown": {}, "whole": False},
    {"changed": {"a": [FILE, "short", False]}, "unknown": {}, "whole": False},
    {"changed": {"a": [FILE, DIGEST, 1]}, "unknown": {}, "whole": False},
    {"changed": {"a": [FILE, 5, False]}, "unknown": {}, "whole": False},
    {"changed": {"a": [FILE]}, "unknown": {}, "whole": False},
    {"changed": {"a": ["link", "\ud800", False]}, "unknown": {}, "whole": False},
    {"changed": [], "unknown": {}, "whole": False},
    {"changed": {}, "unknown": [], "whole": False},
    {"changed": {}, "unknown": {"../..": ""}, "whole": False},
    {"changed": {}},
    {"inline": "a", "digest": "../../etc/passwd"},
    {"inline": "a"},
    {"id": 99},
    {"id": []},
    {"id": {"a": 1}},
    {},
]


@pytest.mark.parametrize("message", NONSENSE)
def test_an_agent_that_talks_nonsense_is_given_up(message: dict[str, Any]) -> None:
    both = Both()
    both.liar.say(frame(message))
    assert both.is_given_up()
    assert both.told.empty()


@pytest.mark.parametrize(
    "answer",
    [
        {"entry": ["device", "", False]},
        {"entry": [FILE, "short", False]},
        {"entry": 5},
        {"moved": [FILE, DIGEST]},
        {"moved": "x"},
        {"signature": [1, 2, 3]},
        {"signature": [1 << 62, 0, 0, 0, 0]},
        {"signature": [-1, 0, 0, 0, 0]},
        {"signature": [True, 0, 0, 0, 0]},
        {"signature": ["1", 0, 0, 0, 0]},
    ],
)
def test_an_answer_that_is_nonsense_leaves_nobody_waiting(answer: dict[str, Any]) -> None:
    both = Both()
    waiting = both.remote.request("stat", path="a")
    both.liar.answer(**answer)
    with pytest.raises(EngineError, match="nonsense"):
        waiting.result(timeout=10)
    assert both.is_given_up()


@pytest.mark.parametrize(
    "last",
    [
        {"unknown": {}, "count": 2, "without_events": ""},
        {"unknown": {}, "count": 0, "without_events": ""},
        {"unknown": {}, "without_events": ""},
        {"entry": None},
    ],
)
def test_a_scan_that_is_not_whole_is_none(last: dict[str, Any]) -> None:
    both = Both()
    number = both.liar.requests

    def lie() -> None:
        request = number.get(timeout=10)
        both.liar.say(frame({"id": request["id"], "entries": {"a": [FILE, DIGEST, False]}}))
        both.liar.say(frame({"id": request["id"], **last}))

    threading.Thread(target=lie, daemon=True).start()
    with pytest.raises(EngineError):
        both.remote.scan()


RECORD = bytes(72)


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ({"same": True}, b""),
        ({"same": True}, b"\1\1"),
        ({"files": 1}, b""),
        ({"files": 0}, b""),
        ({"files": -1}, RECORD + b"a"),
        ({"files": "1"}, RECORD + b"a"),
        ({"files": 1 << 40}, RECORD + b"a"),
        ({"files": 1}, RECORD),
        ({"files": 1}, RECORD + b"a\0b"),
        ({"files": 2}, RECORD + RECORD + b"a"),
        ({"files": 1}, RECORD + b"../a"),
        ({"files": 1}, RECORD + b"/a"),
        ({"files": 1}, RECORD + b"a//b"),
        ({"files": 1}, RECORD + b".git/a"),
        ({"files": 1}, RECORD + b"a" * 40_000),
        ({"files": True}, RECORD + b"../a"),
    ],
)
def test_files_that_no_agent_tells_are_nonsense(message: dict[str, Any], content: bytes) -> None:
    scan = RemoteScan({"a": RECORD})
    with pytest.raises(received.NONSENSE):
        scan.fill(message, content)


def test_a_file_of_a_scan_is_what_its_record_says() -> None:
    signature: Signature = (7, 1, 2, 0o100755, 3)
    record = known.packed(signature) + bytes.fromhex(DIGEST)
    ((count, content),) = known.sent({"a\udcff": record, "b\n": record})
    scan = RemoteScan({"c": record, "gone": record})
    assert not scan.fill({"same": True}, b"\1\0")
    assert not scan.fill({"files": count}, content)
    assert scan.fill({"unknown": {}, "count": 3, "without_events": ""}, b"")
    assert scan.entries == dict.fromkeys(["a\udcff", "b\n", "c"], Entry(FILE, DIGEST, True))
    assert scan.records == dict.fromkeys(["a\udcff", "b\n", "c"], record)


def test_many_long_paths_go_in_several_frames() -> None:
    record = known.packed((1 << 63, 0, 0, 0, 0)) + bytes.fromhex(DIGEST)
    many = {f"{'x' * 4000}/{number}": record for number in range(1000)}
    pieces = list(known.sent(many))
    assert len(pieces) > 1
    assert all(len(content) <= MAX_CONTENT for _, content in pieces)
    found = [known.received(count, content) for count, content in pieces]
    assert {path: one for piece in found for path, one in piece.items()} == many


def test_what_is_never_synced_is_not_taken_from_the_container() -> None:
    both = Both()
    changed = {".git/hooks/x": [FILE, DIGEST, True], "a/.devkit/x": [FILE, DIGEST, False]}
    changed["b"] = [FILE, DIGEST, False]
    both.liar.say(frame({"changed": changed, "unknown": {}, "whole": False}))
    assert both.told.get(timeout=10).entries == {"b": Entry(FILE, DIGEST)}


def test_a_link_that_leads_out_and_odd_entries_are_made_harmless() -> None:
    both = Both()
    changed = {"l": ["link", "../x", False], "d": [FOLDER, "text", True], "o": [OTHER, "x", True]}
    both.liar.say(frame({"changed": changed, "unknown": {}, "whole": False}))
    wanted = {"l": Entry(OTHER), "d": Entry(FOLDER), "o": Entry(OTHER)}
    assert both.told.get(timeout=10).entries == wanted


def test_texts_of_the_container_cannot_drive_a_terminal() -> None:
    both = Both()
    waiting = both.remote.request("stat", path="a")
    both.liar.answer(error="\x1b[2Jgone\r\n" + "x" * 1000, errno=13)
    with pytest.raises(PermissionError) as refused:
        waiting.result(timeout=10)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_answers_come_to_whom_they_are_for_in_any_order() -> None:
    both = Both()
    one, two = both.remote.request("stat", path="1"), both.remote.request("stat", path="2")
    first, second = both.liar.requests.get(), both.liar.requests.get()
    both.liar.say(frame({"id": second["id"], "entry": [FOLDER, "", False]}))
    both.liar.say(frame({"id": first["id"], "moved": None}))
    assert two.result(timeout=10).entry == Entry(FOLDER)
    with pytest.raises(Moved):
        one.result(timeout=10)


def test_a_later_word_has_a_higher_order() -> None:
    both = Both()
    waiting = both.remote.request("stat", path="1")
    both.liar.say(frame({"changed": {}, "unknown": {}, "whole": False}))
    both.liar.answer(entry=None)
    answer = waiting.result(timeout=10)
    assert isinstance(answer, Answer)
    assert both.told.get(timeout=10).order < answer.order


def test_the_end_of_the_stream_is_told_to_all_who_wait() -> None:
    both = Both()
    waiting = [both.remote.request("stat", path="a") for _ in range(3)]
    both.liar.say(b"")
    for future in waiting:
        with pytest.raises(EngineError, match="no memory"):
            future.result(timeout=10)
    assert both.is_given_up()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just(DIGEST),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
KEYS = ["id", "changed", "unknown", "whole", "inline", "digest", "entry", "moved", "error", "errno"]
KEYS += ["entries", "same", "files", "count", "without_events", "signature", "kept", "hello"]
lies = st.dictionaries(st.sampled_from(KEYS), values | st.integers(1, 3), max_size=4)


@given(st.lists(lies.map(frame) | st.binary(max_size=40), max_size=4))
def test_whatever_comes_everybody_gets_an_answer_in_the_end(said: list[bytes]) -> None:
    both = Both()
    waiting = [both.remote.request("stat", path="a"), both.remote.request("read", path="a")]
    for data in said:
        if data:
            both.liar.say(data)
    both.liar.say(b"")
    for future in waiting:
        error = future.exception(timeout=10)
        assert error is None or isinstance(error, EngineError | OSError | Moved)
    assert both.is_given_up()
