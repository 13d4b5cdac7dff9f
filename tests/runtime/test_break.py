"""The terminal debugger on the real runtime with real debugpy: what is typed and what is seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

from devkit import breaking
from devkit.debug import dap, terminal
from devkit.debug.terminal_stop import At, Stop, View
from devkit.engine import Placement
from devkit.errors import AlreadyAttached, BadValue, DevkitError, MappingNotProved
from devkit.running import Address
from tests.running import HELPER, SCORE, Later, Service, until


@dataclass
class Seen:
    """What a dialog showed."""

    text: str = ""
    notes: list[str] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)


class Debugged:
    """A service, a workspace elsewhere with the same files, and the dialog."""

    def __init__(self, service: Service, workspace: Path) -> None:
        self.service = service
        self.folder = workspace / "svc"
        self.folder.mkdir(parents=True)
        for name, text in service.texts.items():
            (self.folder / name).write_text(text)
        mapping = Placement(self.folder, PurePosixPath(service.remote_source))
        address = Address("127.0.0.1", service.debug_port)
        self.target = breaking.Target(address, workspace, (mapping,))
        self.sent: list[Later] = []

    def place(self, text: str, name: str = "score.py") -> breaking.Place:
        return breaking.Place(self.folder / name, self.service.line(text, name))

    def typed(
        self,
        at: str,
        *commands: str | Callable[[], str],
        once: bool = False,
        condition: str | None = None,
        body: bytes = b'{"data": [1, 2]}',
    ) -> Seen:
        """Break at a line; a request is sent each time the dialog says that it waits."""
        wanted, seen = self.place(at), Seen()
        lines: Iterator[str | Callable[[], str]] = iter(commands)

        def read() -> str | None:
            line = next(lines, None)
            return line() if callable(line) else line

        def note(text: str) -> None:
            seen.notes.append(text)
            if text.startswith("waiting"):
                self.sent.append(self.service.later(body=body))

        def show(text: str) -> None:
            seen.text += text

        breaking.check(self.target, wanted)
        point = dap.Breakpoint(wanted.line, condition=condition)
        view = View(self.target.root, [self.folder], lambda text, _: text)
        with breaking.attached(self.target, wanted, point) as session:
            terminal.Terminal(
                session,
                view,
                read=read,
                show=show,
                note=note,
                on_stop=lambda stop: (seen.stops.append(stop), show(view.stop(stop)))[0],  # type: ignore[func-returns-value]
            ).run(once=once)
        return seen


@pytest.fixture
def debugged(service: Service, tmp_path: Path) -> Debugged:
    return Debugged(service, tmp_path / "workspace")


def test_a_stop_shows_source_stack_and_locals_and_the_request_goes_on(debugged: Debugged) -> None:
    seen = debugged.typed("total = sum", once=True)
    stop = seen.stops[0]
    line = debugged.service.line("total = sum")
    assert (stop.file, stop.line) == (str(debugged.folder / "score.py"), line)
    assert (stop.function, stop.reason) == ("run", "breakpoint")
    assert [item.line for item in stop.source] == list(range(line - 2, line + 3))
    assert stop.locals["data"] == "[1, 2]"
    assert stop.stack[0].file == stop.file
    assert f"svc/score.py:{line} in run" in seen.text
    assert "->" in seen.text
    assert debugged.sent[0].reply().json["answer"] == 6
    assert debugged.service.ask("devkit/status")["attached"] is None


def test_one_steps_looks_and_goes_on(debugged: Debugged) -> None:
    seen = debugged.typed("total = sum", "n", "p total", "s", "u", "d", "w", "l", "r", "c", "q")
    functions = [stop.function for stop in seen.stops]
    assert functions[:3] == ["run", "run", "double"]
    assert functions[3] == "run"  # returned
    assert functions[4] == "run"  # the next request, after c
    assert "\n3\n" in seen.text
    assert "-> " in seen.text
    assert "helper.py:2 in double" in seen.text
    assert [later.reply().status for later in debugged.sent] == [200, 200]


def test_an_empty_line_repeats_the_last_command(debugged: Debugged) -> None:
    seen = debugged.typed("data = json", "n", "", "p total")
    first = seen.stops[0].line
    assert [stop.line for stop in seen.stops] == [first, first + 1, first + 2]
    assert seen.text.endswith("3\n")


def test_the_end_of_input_detaches_and_the_request_goes_on(debugged: Debugged) -> None:
    debugged.typed("total = sum")
    assert debugged.sent[0].reply().json["answer"] == 6


def test_ctrl_c_detaches_and_the_request_goes_on(debugged: Debugged) -> None:
    def interrupted() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        debugged.typed("total = sum", interrupted)
    assert debugged.sent[0].reply().json["answer"] == 6


def test_what_cannot_be_done_is_one_line_and_the_stop_stays(debugged: Debugged) -> None:
    seen = debugged.typed("total = sum", "p 1/0", "p nothing", "p", "fly", "d", "h", "p data")
    assert "ZeroDivisionError" in seen.text
    assert "NameError" in seen.text
    assert "p needs an expression" in seen.text
    assert "no command 'fly'" in seen.text
    assert "no frame further down" in seen.text
    assert terminal.HELP in seen.text
    assert seen.text.endswith("[1, 2]\n")


def test_a_condition_chooses_the_requests(debugged: Debugged) -> None:
    wanted = debugged.place("total = sum")
    point = dap.Breakpoint(wanted.line, condition="len(data) > 2")
    with breaking.attached(debugged.target, wanted, point) as session:
        assert debugged.service.request().json["answer"] == 6
        later = debugged.service.later(body=b'{"data": [1, 2, 3]}')
        assert session.wait_for("stopped", timeout_s=30).body["reason"] == "breakpoint"
    assert later.reply().json["answer"] == 12


def test_a_logpoint_says_so_and_stops_nobody(debugged: Debugged) -> None:
    wanted = debugged.place("answer = helper")
    point = dap.Breakpoint(
        wanted.line, log_message=breaking.log_message("100 % total={total} {'{}'} {data[0]}")
    )
    said: list[str] = []
    with breaking.attached(debugged.target, wanted, point) as session:
        assert debugged.service.request().json["answer"] == 6
        terminal.logged(session, said.append, once=True)
    assert said == ["100 % total=3 {} 1"]


def test_a_breakpoint_survives_a_reload_and_moves_along(debugged: Debugged) -> None:
    before = debugged.service.line("total = sum")

    def edited() -> str:
        debugged.service.bump(lambda text: text.replace("import json\n", "import json\n\n", 1))
        debugged.service.settled(generation=2)
        return "p 1"

    seen = debugged.typed("total = sum", edited, "p data", "q")
    assert terminal._OVER in seen.notes
    # The request that the reload cut short is run again, and stops again.
    assert [stop.line for stop in seen.stops] == [before, before + 1]
    assert debugged.sent[0].reply().json["version"] == 2


def test_an_attached_editor_is_named_and_not_disturbed(debugged: Debugged) -> None:
    session = debugged.service.attach({"score.py": [debugged.service.line("total = sum")]})
    with pytest.raises(AlreadyAttached, match="Visual Studio Code"):
        debugged.typed("total = sum", once=True)
    later = debugged.service.later()
    session.resume(int(session.wait_for("stopped").body["threadId"]))
    assert later.reply().status == 200


def test_a_line_without_code_names_the_nearest(debugged: Debugged) -> None:
    empty = breaking.Place(debugged.folder / "score.py", debugged.service.line("def run") - 1)
    nearest = debugged.service.line("def run")
    with pytest.raises(BadValue, match=f"nearest line that does is {nearest}") as refused:
        breaking.check(debugged.target, empty)
    assert f"score.py:{nearest}" in str(refused.value.hint)


def test_a_file_outside_or_not_the_same_is_refused(debugged: Debugged, tmp_path: Path) -> None:
    other = tmp_path / "other.py"
    other.write_text("x = 1\n")
    with pytest.raises(MappingNotProved, match="not in the service"):
        breaking.check(debugged.target, breaking.Place(other, 1))
    (debugged.folder / "new.py").write_text("x = 1\n")
    with pytest.raises(MappingNotProved, match="not in the container"):
        breaking.check(debugged.target, breaking.Place(debugged.folder / "new.py", 1))
    (debugged.folder / "helper.py").write_text(HELPER + "\n")
    with pytest.raises(MappingNotProved, match="differ"):
        breaking.check(debugged.target, debugged.place("result", "helper.py"))


@pytest.mark.parametrize("text", ["score.py", "score.py:0", "score.py:x", ":3", "score.py:-1"])
def test_a_place_is_a_file_and_a_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "score.py").write_text(SCORE)
    with pytest.raises(BadValue):
        breaking.place(text, [tmp_path])
    assert breaking.place("score.py:3", [tmp_path / "no", tmp_path]).line == 3


@pytest.mark.parametrize("text", ["x =", "import os", "", "x = 1", "(" * 500, "a\0b"])
def test_an_expression_is_parsed_here(text: str) -> None:
    with pytest.raises(DevkitError, match="no Python expression"):
        breaking.condition(text)


@pytest.mark.parametrize("text", ["{", "{x", "{x y}", "a {} b", "{{x}"])
def test_a_log_message_with_bad_braces_is_refused(text: str) -> None:
    with pytest.raises(BadValue):
        breaking.log_message(text)


def test_what_a_container_says_of_local_files_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("password\n")
    folder = tmp_path / "svc"
    folder.mkdir()
    (folder / "link.py").symlink_to(secret)
    view = View(tmp_path, [folder], lambda text, _: text)
    for path in (secret, folder / "link.py", folder / ".." / "secret.txt"):
        assert view.source(At("f\x1b]0;x", str(path), 1)) == ()
    assert "\x1b" not in view.place(At("f\x1b]0;x", "a\nb", 1))


def test_a_stop_at_a_breakpoint_is_no_queue(debugged: Debugged) -> None:
    behind: list[Later] = []

    def one_more() -> str:
        behind.append(debugged.service.later())
        until(lambda: debugged.service.ask("devkit/status")["waiting"] == 1)
        return "p __import__('time').sleep(1.5)"

    debugged.typed("total = sum", one_more)
    assert behind[0].reply().status == 200
