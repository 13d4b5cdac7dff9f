"""What an editor sees: one session, the right lines, whatever the workers do."""

from __future__ import annotations

import socket

import pytest

from devkit.debug import dap, wire
from devkit.errors import AlreadyAttached, DebuggerError
from tests.running import HELPER, LOCAL, SCORE, SLOW_TO_END, Service, stopped, until
from tests.runtime.conftest import PLACES, Start

TOTAL = "total = sum"


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    """On this machine, and in a container of each Python."""
    return str(request.param)


def test_a_breakpoint_in_run_stops_there_with_the_locals_and_the_request_is_answered_after(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    assert (stop.path, stop.line, stop.function) == (
        f"{LOCAL}/score.py",
        service.line(TOTAL),
        "run",
    )
    values = session.variables(session.scopes(stop.frame)["Locals"])
    assert values["data"] == "[1, 2]"
    assert session.evaluate("len(data) + VERSION", stop.frame) == "3"
    session.resume(stop.thread)
    assert request.reply().json == {"version": 1, "answer": 6}


def test_a_breakpoint_in_a_helper_stops_there(service: Service) -> None:
    session = service.attach({"helper.py": [2]})
    request = service.later()
    stop = stopped(session)
    assert (stop.path, stop.line, stop.function) == (f"{LOCAL}/helper.py", 2, "double")
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_breakpoint_in_init_stops_at_the_next_reload(service: Service) -> None:
    session = service.attach({"score.py": [service.line("model = 10")]})
    version = service.bump()
    stop = stopped(session)
    assert (stop.function, stop.line) == ("init", service.line("model = 10"))
    session.resume(stop.thread)
    assert service.request().json["version"] == version


def test_waiting_for_a_client_stops_in_init_at_the_first_start(start: Start) -> None:
    service = start(env={"DEVKIT_WAIT_FOR_CLIENT": "1"}, wait=False)
    until(lambda: "waiting for a client" in service.log())
    session = service.attach({"score.py": [service.line("model = 10")]})
    stop = stopped(session)
    assert stop.function == "init"
    session.resume(stop.thread)
    assert service.request().json["version"] == 1


def test_a_condition_that_hangs_ends_debugging_in_no_later_session(start: Start) -> None:
    service = start(
        files={"score.py": SCORE + SLOW_TO_END, "helper.py": HELPER},
        env={"SCORING_TIMEOUT_MS": "1000"},
    )
    line = service.line("answer = ")
    endless = dap.Breakpoint(line, condition="[0 for _ in iter(int, 1)]")
    session = service.attach({"score.py": [endless]})
    service.write("hold", "")
    assert service.request().status == 504
    session.disconnect()
    again = service.attach({"score.py": [line]})
    request = service.later()
    until(lambda: service.ask("devkit/status")["waiting"] == 1)
    service.write("go", "")
    stop = stopped(again)
    again.resume(stop.thread)
    assert request.reply().status == 200


def test_a_conditional_breakpoint_stops_only_where_its_condition_holds(service: Service) -> None:
    session = service.attach(
        {"score.py": [dap.Breakpoint(service.line("answer = "), condition="total > 5")]}
    )
    assert service.request(body=b'{"data": [1]}').json["answer"] == 2
    request = service.later(body=b'{"data": [9]}')
    stop = stopped(session)
    assert session.evaluate("total", stop.frame) == "9"
    session.resume(stop.thread)
    assert request.reply().json["answer"] == 18


def test_an_exception_of_run_stops_at_the_raising_line(service: Service) -> None:
    session = service.attach(exceptions=("userUnhandled",))
    request = service.later(body=b'{"wrong": 1}')
    stop = stopped(session)
    assert (stop.reason, stop.line) == ("exception", service.line('["data"]'))
    session.resume(stop.thread)
    reply = request.reply()
    assert reply.status == 502
    assert reply.json["error"]["type"] == "KeyError"


def test_exception_filters_survive_a_reload(service: Service) -> None:
    session = service.attach(exceptions=("userUnhandled",))
    service.bump()
    service.settled(generation=2)
    request = service.later(body=b'{"wrong": 1}')
    stop = stopped(session)
    assert stop.line == service.line('["data"]')
    session.resume(stop.thread)
    assert request.reply().status == 502


def test_edits_that_move_a_breakpoint_stop_at_the_right_line_at_once_every_time(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    added = "# one more line\n"

    def shortened(text: str) -> str:
        return text.replace(added, "", 1)

    for turn in range(20):
        version = service.bump(added.__add__ if turn % 2 == 0 else shortened)
        request = service.later()
        stop = stopped(session)
        assert stop.line == service.line(TOTAL), f"turn {turn}"
        assert session.evaluate("VERSION", stop.frame) == str(version)
        session.resume(stop.thread)
        assert request.reply().json["version"] == version


def test_lines_that_the_editor_sends_before_the_edit_arrives_are_not_moved_again(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    new_line = service.line(TOTAL) + 1
    session.request(
        "setBreakpoints",
        {
            "source": {"path": f"{LOCAL}/score.py"},
            "breakpoints": [{"line": new_line}],
            "sourceModified": True,
        },
    )
    service.bump(lambda text: "# one more line\n" + text)
    request = service.later()
    stop = stopped(session)
    assert stop.line == service.line(TOTAL) == new_line
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_breakpoint_set_in_a_text_that_is_not_saved_yet_stops_where_the_editor_put_it(
    service: Service,
) -> None:
    session = service.attach()
    line = service.line(TOTAL) + 2
    session.set_breakpoints(f"{LOCAL}/score.py", [dap.Breakpoint(line)])
    service.bump(lambda text: "# one more line\n# and another\n" + text)
    request = service.later()
    stop = stopped(session)
    assert stop.line == service.line(TOTAL) == line
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_an_edit_that_the_editor_did_not_make_moves_its_dots(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    service.bump(lambda text: "# one more line\n" + text)
    changed = session.wait_for("breakpoint")
    assert changed.body["breakpoint"]["line"] == service.line(TOTAL)


def test_a_question_about_a_stop_that_is_over_is_answered(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    scope = session.scopes(stop.frame)["Locals"]
    channel = session._dialogue._channel
    channel.request("continue", {"threadId": stop.thread})
    asked = channel.request("variables", {"variablesReference": scope})
    # Either is an answer; none at all raises TimeoutError.
    answer = channel.answer(asked, timeout_s=10)
    assert answer["success"] or answer["message"]
    assert request.reply().status == 200


def test_what_debugpy_refuses_opens_no_dialog(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    channel = session._dialogue._channel
    watch = {"expression": "nothing_of_that_name", "frameId": stop.frame, "context": "watch"}
    answer = channel.answer(channel.request("evaluate", watch), timeout_s=10)
    assert not answer["success"]
    assert "nothing_of_that_name" in answer["message"]
    # VS Code opens a dialog for an error that says showUser.
    assert "error" not in answer["body"]
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_breakpoint_in_a_function_added_by_an_edit_stops(service: Service) -> None:
    session = service.attach()
    service.edit("helper.py", lambda text: text + "\n\ndef triple(value):\n    return value * 3\n")
    service.bump(lambda text: text.replace("helper.double", "helper.triple"))
    line = service.line("value * 3", "helper.py")
    session.set_breakpoints(f"{LOCAL}/helper.py", [dap.Breakpoint(line)])
    request = service.later()
    stop = stopped(session)
    assert (stop.function, stop.line) == ("triple", line)
    session.resume(stop.thread)
    assert request.reply().json["answer"] == 9


def test_a_request_that_is_paused_at_a_save_is_run_again_by_the_new_code_in_the_same_session(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    first = stopped(session)
    version = service.bump(lambda text: "# one more line\n" + text)
    continued = session.wait_for("continued")
    assert continued.body["threadId"] == first.thread
    stop = stopped(session)
    assert stop.thread != first.thread
    assert stop.line == service.line(TOTAL)
    session.resume(stop.thread)
    assert request.reply().json["version"] == version


def test_the_editor_sees_one_thread_of_one_program_and_no_subprocess(service: Service) -> None:
    session = service.attach()
    for _ in range(3):
        service.bump()
        assert service.request().status == 200
    assert list(session.threads().values()) == ["MainThread"]
    assert session.children == []


def test_one_disconnect_detaches_and_the_next_attach_works(service: Service) -> None:
    for _ in range(3):
        session = service.attach({"score.py": [service.line(TOTAL)]})
        request = service.later()
        stop = stopped(session)
        session.resume(stop.thread)
        assert request.reply().status == 200
        assert session.disconnect()
        assert service.ask("devkit/status")["attached"] is None
        assert service.request().status == 200


def test_disconnecting_while_paused_lets_the_request_be_answered(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stopped(session)
    session.disconnect()
    assert request.reply().status == 200


def test_a_lost_connection_while_paused_lets_the_request_be_answered_and_the_next_attach_works(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stopped(session)
    session._dialogue._channel.close()
    assert request.reply().status == 200
    again = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(again)
    again.resume(stop.thread)
    assert request.reply().status == 200


def test_a_window_reload_that_disconnects_and_closes_at_once_leaves_the_way_free(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stopped(session)
    session._dialogue._channel.request("disconnect", {"terminateDebuggee": False})
    session._dialogue._channel.close()
    assert request.reply().status == 200
    again = service.attach({"score.py": [service.line(TOTAL)]})
    assert list(again.threads().values()) == ["MainThread"]


@pytest.mark.parametrize("says_goodbye", [True, False], ids=["disconnect", "lost"])
def test_an_attach_within_milliseconds_of_the_end_of_the_last_one_works_every_time(
    service: Service, says_goodbye: bool
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    for _ in range(10):
        request = service.later()
        stopped(session)
        channel = session._dialogue._channel
        if says_goodbye:
            channel.request("disconnect", {"terminateDebuggee": False})
        channel.close()
        session = service.attach({"score.py": [service.line(TOTAL)]})
        assert request.reply().status == 200
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_an_editor_that_is_closed_while_it_attaches_leaves_the_way_free(service: Service) -> None:
    for _ in range(5):
        channel = wire.Channel.open("127.0.0.1", service.debug_port, timeout_s=10)
        channel.request("initialize", {"clientID": "vscode", "clientName": "Reloaded"})
        channel.request("attach", {})
        channel.close()
        session = service.attach({"score.py": [service.line(TOTAL)]})
        request = service.later()
        stop = stopped(session)
        session.resume(stop.thread)
        assert request.reply().status == 200
        session.disconnect()


def test_a_second_client_is_told_who_is_attached_and_the_first_is_undisturbed(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    with pytest.raises(AlreadyAttached, match="Visual Studio Code is already attached"):
        service.attach()
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_devkits_own_questions_are_answered_beside_an_attached_editor(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    status = service.ask("devkit/status")
    assert (status["state"], status["attached"]["client"]) == ("paused", "Visual Studio Code")
    path = f"{service.remote_source}/score.py"
    wanted = {"files": [{"path": path, "lines": [service.line(TOTAL), 2]}]}
    checked = service.ask("devkit/verify", wanted)["files"][0]
    assert [item["verified"] for item in checked["breakpoints"]] == [True, False]
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_questions_tell_nothing_of_files_outside_the_service(service: Service) -> None:
    answer = service.ask("devkit/verify", {"files": [{"path": "/etc/passwd", "lines": [1]}]})
    assert answer["files"][0]["exists"] is False
    assert answer["files"][0]["sha256"] is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"Content-Length: 100\r\n\r\n{",
        b"Content-Length: 99999999999\r\n\r\n",
        b"Content-Length: 4\r\n\r\nnull",
        b"Content-Length: 2\r\n\r\n{}",
        b"\x16\x03\x01" + b"x" * 20000,
    ],
    ids=["bare connect", "http", "half", "huge", "no object", "empty", "tls"],
)
def test_a_stranger_on_the_port_harms_nothing(service: Service, data: bytes) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.debug_port)) as stranger:
            stranger.sendall(data)
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert "internal error" not in service.log()


def test_stepping_goes_from_line_to_line(service: Service) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    session.next(stop.thread)
    stop = stopped(session)
    assert (stop.reason, stop.line) == ("step", service.line("answer = "))
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_killed_worker_is_replaced_and_the_session_goes_on(service: Service) -> None:
    session = service.attach(
        {"score.py": [service.line(TOTAL)]},
    )
    with pytest.raises(DebuggerError):
        session.evaluate("__import__('os').kill(__import__('os').getpid(), 9)")
    until(lambda: "ended by itself" in service.log())
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_process_that_the_users_code_starts_is_offered_to_the_editor(start: Start) -> None:
    files = {
        "helper.py": "def double(value):\n    result = value * 2\n    return result\n",
        "score.py": SCORE.replace("import helper", "import helper\nimport multiprocessing").replace(
            "    answer = helper.double(total)",
            "    with multiprocessing.get_context('fork').Pool(1) as pool:\n"
            "        answer = pool.map(helper.double, [total])[0]",
        ),
    }
    service = start(files=files)
    session = service.attach({"helper.py": [2]})
    request = service.later()
    stop_event = session.wait_for("stopped", timeout_s=30)
    child = stop_event.session
    assert child in session.children
    child.resume(int(stop_event.body["threadId"]))
    assert request.reply().json["answer"] == 6


def test_a_worker_that_loses_its_debugger_is_replaced_and_the_session_goes_on(
    service: Service,
) -> None:
    session = service.attach({"score.py": [service.line(TOTAL)]})
    before = service.ask("devkit/status")["pid"]
    cut = "__import__('pydevd').get_global_debugger().reader.sock.shutdown(2)"
    with pytest.raises(DebuggerError):
        session.evaluate(cut)
    until(lambda: "lost its debugger" in service.log())
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert service.ask("devkit/status")["pid"] != before


def test_an_editor_that_leaves_while_processes_connect_blocks_no_reload(service: Service) -> None:
    for turn in range(8):
        service.attach().disconnect()
        version = service.bump()
        if turn % 2:
            service.attach().disconnect()
        assert service.request().json["version"] == version
        service.ask("devkit/reload")
    session = service.attach({"score.py": [service.line(TOTAL)]})
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_a_client_that_never_finishes_its_attach_blocks_no_reload(service: Service) -> None:
    channel = wire.Channel.open("127.0.0.1", service.debug_port, timeout_s=10)
    hello = channel.request("initialize", {"clientID": "slow", "clientName": "Slow"})
    channel.answer(hello, timeout_s=10)
    channel.request("attach", {})
    until(lambda: (service.ask("devkit/status")["attached"] or {}).get("client") == "Slow")
    channel.close()
    for _ in range(3):
        version = service.bump()
        assert service.request().json["version"] == version


def test_a_breakpoint_follows_an_edit_that_is_patched_in_place(start: Start) -> None:
    service = start(env={"DEVKIT_RELOAD": "hot"})
    session = service.attach({"score.py": [service.line(TOTAL)]})
    service.edit("score.py", lambda text: text.replace("def run(", "# one\n# two\ndef run("))
    until(lambda: "patched in place" in service.log())
    request = service.later()
    stop = stopped(session)
    assert stop.line == service.line(TOTAL)
    session.resume(stop.thread)
    assert request.reply().status == 200
    assert service.log().count("init ran") == 1
