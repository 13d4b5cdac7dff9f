"""What a runtime says of its requests is taken as it should be, or refused; and cases in files."""

from __future__ import annotations

import json
import os
import socketserver
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devkit import breaking, cases, recorded, replayed
from devkit.cases import Case
from devkit.cli import requests
from devkit.engine import Placement
from devkit.errors import BadValue, DebuggerUnreachable, DevkitError, MappingNotProved
from devkit.recorded import Request
from devkit.running import Address, RunningService

ENTRY = {
    "id": 7,
    "time": 1.5,
    "method": "POST",
    "path": "/score",
    "status": 502,
    "ms": 3.25,
    "is_failing": True,
    "error": "ValueError: in /app/score.py",
}
WHOLE = {
    **ENTRY,
    "headers": [["Content-Type", "application/json"], ["Host", "x"], ["X-Key", "***"]],
    "masked": ["X-Key"],
    "body": "e30=",
    "body_bytes": 2,
    "is_replayable": True,
    "answer": "e30=",
    "answer_bytes": 2,
    "failure": {
        "traceback": '  File "/app/score.py", line 3, in run\n',
        "file": "/app/score.py",
        "line": 3,
        "locals": [["x", "1"]],
    },
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@contextmanager
def answering(body: object) -> Iterator[RunningService]:
    """A service whose debug port answers each question so."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            size = int(self.rfile.readline().split()[1])
            self.rfile.readline()
            asked = json.loads(self.rfile.read(size))
            said = {"type": "response", "request_seq": asked["seq"], "success": True, "seq": 1}
            content = json.dumps({**said, "command": asked["command"], "body": body}).encode()
            self.wfile.write(b"Content-Length: %d\r\n\r\n%b" % (len(content), content))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made = SimpleNamespace(
            name="s",
            debug=Address(*server.server_address),
            mappings=(Placement(Path("/here"), PurePosixPath("/app")),),
        )
        yield cast(RunningService, made)
        server.shutdown()


def test_what_is_listed_has_local_paths_and_only_failing_ones_where_asked() -> None:
    body = {"is_on": True, "requests": [{**ENTRY, "is_failing": False, "error": None}, ENTRY]}
    with answering(body) as service:
        first, second = recorded.entries(service)
        assert recorded.entries(service, failed=True) == [second]
    assert (first.error, second.error) == (None, "ValueError: in /here/score.py")
    assert second.row()[2:] == ("POST /score", "502", "3", "ValueError: in /here/score.py")


def test_one_is_told_with_what_can_be_sent_again() -> None:
    with answering({"request": WHOLE}) as service:
        found = recorded.request(service, "7")
    assert (found.file, found.line, found.variables) == ("/here/score.py", 3, (("x", "1"),))
    assert "/here/score.py" in found.traceback
    assert found.sendable() == {"Content-Type": "application/json"}
    assert cases.of(found) == Case("POST", "/score", found.sendable(), b"{}", 502, {})


@pytest.mark.parametrize(
    ("ask", "body", "code"),
    [
        (recorded.entries, {"is_on": False, "requests": []}, "BadValue"),
        (lambda service: recorded.request(service, "7"), {"request": None}, "BadValue"),
        (lambda service: recorded.request(service, "-1"), {}, "BadValue"),
        (
            lambda service: recorded.request(service, "last"),
            {"is_on": True, "requests": []},
            "BadValue",
        ),
        (
            lambda service: recorded.request(service, "7").sendable(),
            {"request": {**WHOLE, "is_replayable": False}},
            "BadValue",
        ),
        (recorded.entries, {"is_on": True, "requests": [{**ENTRY, "id": "x"}]}, "Debugger"),
        (recorded.entries, {"is_on": True, "requests": [{**ENTRY, "id": 1e999}]}, "Debugger"),
        *(
            (recorded.entries, {"is_on": True, "requests": [{**ENTRY, **lie}]}, "Debugger")
            for lie in (
                {"time": 1e300},
                {"time": -1.0},
                {"time": float("nan")},
                {"ms": float("nan")},
                {"status": 10**400},
                {"id": -1},
            )
        ),
        (recorded.entries, [], "Debugger"),
        (lambda service: recorded.request(service, "9" * 5000), {}, "BadValue"),
        (recorded.stack, {"workers": [{"pid": 1, "running_s": "no", "threads": []}]}, "Debugger"),
        (recorded.stack, {"workers": None}, "Debugger"),
    ],
)
def test_what_is_not_there_or_makes_no_sense_is_said(
    ask: Callable[[RunningService], object], body: object, code: str
) -> None:
    with answering(body) as service, pytest.raises((BadValue, DebuggerUnreachable)) as error:
        ask(service)
    assert type(error.value).__name__.startswith(code)
    assert error.value.hint


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(list(WHOLE)), JSON))
def test_a_runtime_that_lies_is_refused(lies: dict[str, Any]) -> None:
    try:
        with recorded._sense():
            made = recorded._request({**WHOLE, **lies}, ())
    except DebuggerUnreachable:
        return
    assert isinstance(made, Request)


def test_what_is_listed_stays_on_its_line_and_cannot_steer_a_terminal() -> None:
    lies = {"path": "/\x1b]0;title\x07\nscore" + "x" * 1000, "error": "a\n\u202eb" + "c" * 1000}
    entry = recorded._entry({**ENTRY, **lies}, ())
    title, row = requests._table([entry]).splitlines()
    assert title.startswith("id")
    assert r"/\x1b]0;title\x07 scorexxx" in row
    assert r"a \u202ebccc" in row
    assert len(row) < 320


def test_a_path_that_may_name_another_host_is_not_sent_again() -> None:
    with answering({"request": {**WHOLE, "path": "@there/score"}}) as service:
        case = cases.of(recorded.request(service, "7"))
        with pytest.raises(BadValue, match="is no path of s"):
            replayed.sent(cast(RunningService, SimpleNamespace(name="s", score_uri="")), case)


# Cases.

CASE = Case("POST", "/score", {"Content-Type": "application/json"}, b'{"a": 1}', 200, {"b": [1]})


@pytest.mark.parametrize("body", [b"text", b"\xff\x00", b"", "\u00e9".encode()])
def test_a_case_is_read_as_it_was_saved(tmp_path: Path, body: bytes) -> None:
    case = Case(**{**vars(CASE), "body": body})
    file = tmp_path / "cases" / "one.json"
    cases.save(case, file, force=False)
    assert cases.read(file) == case
    with pytest.raises(BadValue, match="is there already"):
        cases.save(case, file, force=False)
    assert cases.files([tmp_path]) == [file]


def test_half_a_character_is_read_as_it_was_saved(tmp_path: Path) -> None:
    half = "a\ud800\\ud800\u00e9"
    case = Case(half, f"/{half}", {half: half}, b"", 200, {half: [half]})
    file = tmp_path / "one.json"
    cases.save(case, file, force=False)
    assert cases.read(file) == case
    assert "\u00e9" in file.read_text("utf-8")


def test_a_case_that_cannot_be_written_over_stays_as_it_was(
    tmp_path: Path, fill_disk: Callable[[], None]
) -> None:
    file = tmp_path / "one.json"
    cases.save(CASE, file, force=False)
    fill_disk()
    with pytest.raises(BadValue, match="cannot be written: No space left"):
        cases.save(Case(**{**vars(CASE), "status": 500}), file, force=True)
    assert cases.read(file) == CASE
    assert list(tmp_path.iterdir()) == [file]


def test_a_case_written_over_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    file, link = tmp_path / "one.json", tmp_path / "link.json"
    cases.save(CASE, file, force=False)
    file.chmod(0o640)
    link.symlink_to(file)
    cases.save(CASE, link, force=True)
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_device_is_not_written_over() -> None:
    with pytest.raises(BadValue, match="is no file"):
        cases.save(CASE, Path("/dev/null"), force=True)


def nested(levels: int) -> Any:
    return json.loads("[" * levels + "]" * levels)


def test_an_answer_too_deep_to_be_compared_is_a_text_and_no_case(tmp_path: Path) -> None:
    deepest = Case(**{**vars(CASE), "answer": nested(200)})
    cases.save(deepest, tmp_path / "fits.json", force=False)
    read = cases.read(tmp_path / "fits.json")
    assert replayed._same(read.answer, nested(200))
    assert len(replayed._pretty(200, read.answer)) == 400
    assert cases.value(b"[" * 900 + b"]" * 900) == "[" * 900 + "]" * 900
    cases.save(Case(**{**vars(CASE), "answer": nested(201)}), tmp_path / "deep.json", force=True)
    with pytest.raises(BadValue, match=r"deep\.json is no case: its answer is nested deeper"):
        cases.read(tmp_path / "deep.json")


def test_headers_about_one_connection_are_not_sent_whoever_wrote_the_case() -> None:
    seen = dict[str, str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.update(self.headers.items())
            seen["body"] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    lying = {
        "CONTENT-length": "99999",
        "Transfer-Encoding": "chunked",
        "Expect": "100-continue",
        "X": "1",
    }
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        service = SimpleNamespace(
            name="s", score_uri=f"http://127.0.0.1:{server.server_port}/score"
        )
        case = Case(**{**vars(CASE), "headers": lying})
        replayed.sent(cast(RunningService, service), case, timeout_s=10)
    assert (seen["Content-Length"], seen["body"], seen["X"]) == ("8", '{"a": 1}', "1")
    assert not {"Transfer-Encoding", "Expect"} & seen.keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"request": 1, "answer": 2}',
        '{"request": {"method": "GET", "path": "/", "headers": [], "body": {"text": ""}}}',
        '{"request": {"method": "GET", "path": "/", "headers": {}, "body": {"base64": "!"}},'
        ' "answer": {"status": 200, "body": 1}}',
        "[" * 100_000,
        '{"request": {"method": "GET", "path": "/", "headers": {}, "body": {"text": ""}},'
        ' "answer": {"status": Infinity, "body": 1}}',
        '{"request": {"method": "GET", "path": "/", "headers": {}, "body": {}},'
        ' "answer": {"status": "x", "body": 1}}',
    ],
)
def test_what_is_no_case_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(BadValue, match=r"bad\.json is no case"):
        cases.read(file)


def test_a_case_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadValue, match="cannot be read"):
        cases.read(tmp_path)
    with pytest.raises(BadValue, match="cannot be written"):
        cases.save(CASE, Path("/proc/none/case.json"), force=False)
    with pytest.raises(BadValue, match="has no case"):
        cases.files([tmp_path])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": [0.1 + 0.2]}, {"a": [0.3]}, True),
        ({"a": [0.3]}, {"a": [0.31]}, False),
        (1, 1.0, True),
        (True, 1, False),
        ([1], [1, 2], False),
        ({"a": 1}, {"b": 1}, False),
        ("a", "a", True),
        (None, None, True),
        (float("inf"), float("inf"), True),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (10**400, 1.5, False),
        (10**400, 10**400, True),
    ],
)
def test_numbers_may_differ_by_rounding(one: object, other: object, same: bool) -> None:
    assert replayed._same(one, other) is same


# A stop where one raised.


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("../outside.py", MappingNotProved, "is not in the service"),
        ("../../../../../../../../../../dev/zero", MappingNotProved, "is not in the service"),
        ("link.py", MappingNotProved, "leads out of the service's folders, to .*outside"),
        ("zero.py", MappingNotProved, "leads out of the service's folders, to /dev/zero"),
        ("away/../../outside.py", MappingNotProved, "is not in the service"),
        ("gone.py", BadValue, r"gone\.py is not there any more"),
        ("fifo.py", BadValue, "is no source file"),
        ("large.py", BadValue, "is no source file of at most 4 MB"),
        ("folder", BadValue, "is no source file"),
        ("a\0b", BadValue, "cannot be read"),
        ("n" * 300, BadValue, r"n\.\.\. cannot be read: File name too long"),
        ("\ud800", BadValue, "cannot be read"),
        ("loop.py", BadValue, "cannot be read"),
        ("score.py/inner.py", BadValue, "cannot be read"),
    ],
)
def test_a_file_that_a_container_names_is_one_of_the_services_or_is_not_read(
    tmp_path: Path, name: str, code: type[DevkitError], message: str
) -> None:
    root = tmp_path / "ws"
    (root / "folder").mkdir(parents=True)
    (root / "score.py").write_text("x = 1\n")
    (tmp_path / "outside.py").write_text("x = 1\n")
    (root / "link.py").symlink_to(tmp_path / "outside.py")
    (root / "zero.py").symlink_to("/dev/zero")
    (root / "away").symlink_to(tmp_path)
    (root / "loop.py").symlink_to(root / "loop.py")
    os.mkfifo(root / "fifo.py")
    with (root / "large.py").open("wb") as large:
        large.truncate(5 << 20)
    made = SimpleNamespace(
        name="s",
        root=root,
        debug=Address("127.0.0.1", 9),
        mappings=(Placement(root, PurePosixPath("/app")),),
    )
    failure = {"file": f"/app/{name}", "line": 1}
    found = recorded._request({**WHOLE, "failure": failure}, made.mappings)
    with pytest.raises(code, match=message) as refused:
        replayed.stopped(cast(RunningService, made), found)
    assert refused.value.hint


def test_a_file_of_the_service_is_read_through_a_link_within_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "score.py").write_text("x = 1\n")
    (tmp_path / "ws").symlink_to(tmp_path / "real")
    (tmp_path / "ws" / "same.py").symlink_to("score.py")
    mapping = Placement(tmp_path / "ws", PurePosixPath("/app"))
    target = breaking.Target(Address("127.0.0.1", 9), tmp_path, (mapping,))
    assert breaking._content(target, tmp_path / "ws" / "same.py") == b"x = 1\n"


def test_a_stop_in_a_file_that_has_gone_since_is_shown_without_its_lines() -> None:
    assert str(replayed.Stop(Path("/none.py"), 3, {"x": "1"})).splitlines() == [
        "Stopped in /none.py:3",
        "  x = 1",
    ]
