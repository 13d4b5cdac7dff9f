"""What is shown: one JSON object or text, and nothing that a terminal would obey."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath

import pytest

from devkit.errors import PortInUse
from devkit.output import Detail, Output, is_live, jsonable, sanitized, wants_colour


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Thing:
    path: Path
    names: tuple[str, ...]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ünï 日本\ttab\n", "plain ünï 日本\ttab\n"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("over\rwritten", "over\\x0dwritten"),
        ("windows\r\n", "windows\n"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
        ("\x00\x7f\x08", "\\x00\\x7f\\x08"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(text: str, shown: str) -> None:
    assert sanitized(text) == shown


def test_a_sequence_that_appears_when_colour_is_dropped_is_harmless_too() -> None:
    assert "\x1b" not in sanitized("\x1b\x1b[0m[2J")


@pytest.mark.parametrize(
    ("environ", "terminal", "colour"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"CI": "true"}, True, False),
        ({"CI": "true", "FORCE_COLOR": "1"}, False, True),
        ({"NO_COLOR": ""}, True, True),
    ],
)
def test_colour_follows_the_conventions(
    environ: dict[str, str], terminal: bool, colour: bool
) -> None:
    stream = Terminal() if terminal else StringIO()
    assert wants_colour(stream, environ) is colour


def test_nothing_is_redrawn_where_nobody_watches() -> None:
    assert is_live(Terminal(), {})
    assert not is_live(Terminal(), {"CI": "1"})
    assert not is_live(StringIO(), {"FORCE_COLOR": "1"})


def test_json_output_is_exactly_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(as_json=True)
    out.note("on the way")
    out.log("from the service\n")
    out.result(Thing(Path("/a"), ("b",)), "text")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ok": True, "path": "/a", "names": ["b"]}
    assert captured.out.count("\n") == 1
    assert captured.err == "on the way\nfrom the service\n"


def test_text_output_goes_to_stdout_and_the_rest_to_stderr(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = Output()
    out.note("on the way")
    out.result({"a": 1}, "the result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("the result\n", "on the way\n")


def test_an_error_as_json_has_code_message_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).failure(PortInUse("Port 1 is taken.", hint="Use --port."))
    assert json.loads(capsys.readouterr().out) == {
        "ok": False,
        "error": {"code": "PortInUse", "message": "Port 1 is taken.", "hint": "Use --port."},
    }


def test_an_error_as_text_is_on_stderr_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    Output(colour=False).failure(PortInUse("Owned by \x1b[2Jevil.", hint="Do\x07."))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "Error: Owned by \\x1b[2Jevil.\nHint:  Do\\x07.\n"


def test_quiet_leaves_notes_out_but_not_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(verbosity=-1)
    out.note("on the way")
    with out.progress("Working") as progress:
        progress("step 1")
        progress.keep("step 2")
    out.result({}, "the result")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("the result\n", "")


def test_progress_is_plain_lines_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Output().progress("Working") as progress:
        progress("step 1")
        progress.keep("step \x1b[2J2")
    assert capsys.readouterr().err == "step 1\nstep \\x1b[2J2\n"


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (0, "Pulling base\nBuilding; -v shows each line of it\nWaiting\n"),
        (1, "Pulling base\nStep 1/2 : FROM base\n + six==1.17\nWaiting\n"),
        (-1, ""),
    ],
)
def test_a_builders_lines_are_one_line_where_there_is_no_terminal(
    verbosity: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Output(verbosity=verbosity).progress("Working") as progress:
        progress("Pulling base")
        progress(Detail("Step 1/2 : FROM base"))
        progress(Detail(" + six==1.17"))
        progress("Waiting")
    assert capsys.readouterr().err == said


def test_progress_on_a_terminal_keeps_what_is_to_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    for name, value in {"TERM": "xterm", "CI": "", "NO_COLOR": "", "COLUMNS": "40"}.items():
        monkeypatch.setenv(name, value)
    with Output().progress("Working") as progress:
        progress("[bold]a line that is much longer than the forty columns of this terminal\x07")
        progress.keep("kept [red] \x1b[2J")
    assert "kept [red] \\x1b[2J" in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()


def test_values_become_json_whatever_they_hold() -> None:
    assert jsonable({"a": (PurePosixPath("/x"), b"\xff"), 1: {2}}) == {
        "a": ["/x", "\ufffd"],
        "1": [2],
    }


def test_a_result_is_harmless_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;t\x07\x9b2J\u202eab\udc80 ünï"
    Output().result({"text": hostile}, hostile)
    assert capsys.readouterr().out == "\\x1b]0;t\\x07\\x9b2J\\u202eab\\udc80 ünï\n"
    Output(as_json=True).result({"text": hostile}, "", ok=False)
    written = capsys.readouterr().out
    assert json.loads(written) == {"ok": False, "text": hostile}
    assert "ünï" in written
    assert not set(hostile[:-4]) & set(written) - set(map(chr, range(32, 127)))
