"""What a client of the scoring port sees: requests, status codes, reloads, failures."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import HELPER, SCORE, SLOW_TO_END, Service, stopped, until
from tests.runtime.conftest import Start

OUTCOMES = """\
import json, os, time

VERSION = 1


def init():
    pass


def run(raw_data):
    what = json.loads(raw_data)["do"]
    if what == "raise":
        raise ValueError("no such model")
    if what == "sleep":
        print("in run")
        time.sleep(30)
    return {"version": VERSION}
"""


def do(what: str) -> bytes:
    return json.dumps({"do": what}).encode()


def test_a_request_right_after_an_exit_of_run_waits_for_the_next_process(start: Start) -> None:
    leaves = SCORE.replace("total = sum(data)", "total = sum(data) if data else sys.exit(3)")
    service = start(files={"score.py": leaves + SLOW_TO_END, "helper.py": HELPER})
    service.write("hold", "")
    assert service.request(body=b'{"data": []}').status == 502
    request = service.later()
    until(lambda: service.ask("devkit/status")["waiting"] == 1)
    service.write("go", "")
    assert request.reply().json["answer"] == 6


def test_a_failure_is_shown_with_the_users_file_and_line_only_where_errors_are_shown(
    start: Start,
) -> None:
    shown = start(files={"score.py": OUTCOMES})
    error = shown.request(body=do("raise")).json["error"]
    assert (error["type"], error["message"], error["function"]) == (
        "ValueError",
        "no such model",
        "run",
    )
    assert error["file"] == f"{shown.remote_source}/score.py"
    assert error["line"] == shown.line("raise ValueError")
    assert error["traceback"].startswith("Traceback")
    assert "azureml_inference_server_http" not in error["traceback"]
    hidden = start(files={"score.py": OUTCOMES}, env={"DEVKIT_SHOW_ERRORS": "0"})
    body = hidden.request(body=do("raise")).body
    assert b"no such model" not in body
    assert b"Traceback" not in body


def test_a_paused_request_does_not_time_out(start: Start) -> None:
    service = start(files={"score.py": OUTCOMES}, env={"SCORING_TIMEOUT_MS": "300"})
    session = service.attach({"score.py": [service.line("what = json")]})
    request = service.later(body=do("nothing"))
    stop = stopped(session)
    waiting = service.later(body=do("nothing"))
    # Three times the limit, measured by the service's own clock: a question that waits.
    service.ask("devkit/wait", {"timeout_s": 0.9, "generation": 99})
    assert request.is_waiting
    assert waiting.is_waiting
    session.resume(stop.thread)
    session.resume(stopped(session).thread)
    assert request.reply().status == 200
    assert waiting.reply().status == 200


def test_health_is_answered_while_a_breakpoint_holds_the_worker(service: Service) -> None:
    session = service.attach({"score.py": [service.line("total = sum")]})
    request = service.later()
    stop = stopped(session)
    assert service.request("GET", "/").status == 200
    assert service.ask("devkit/status")["state"] == "paused"
    session.resume(stop.thread)
    assert request.reply().status == 200


@pytest.mark.parametrize(
    ("name", "broken", "kind", "line_of"),
    [
        ("score.py", SCORE.replace("model = 10", "raise RuntimeError('no')"), "RuntimeError", "no"),
        ("score.py", SCORE.replace("def run(", "def run("[:-1]), "SyntaxError", "def run"),
        (
            "score.py",
            SCORE.replace("import helper", "import helpr"),
            "ModuleNotFoundError",
            "helpr",
        ),
        ("helper.py", HELPER.replace("value * 2", "value *"), "SyntaxError", "value *"),
        ("score.py", SCORE.replace("model = 10", "raise SystemExit(0)"), "SystemExit", "Exit"),
    ],
    ids=["init raises", "syntax error", "import error", "helper", "init exits"],
)
def test_a_failed_start_is_503_with_file_and_line_and_the_next_edit_heals_it(
    service: Service, name: str, broken: str, kind: str, line_of: str
) -> None:
    good = service.read(name)
    service.write(name, broken)
    reply = service.request()
    assert reply.status == 503
    error = reply.json["error"]
    assert error["type"] == kind
    assert error["file"] == f"{service.remote_source}/{name}"
    assert error["line"] == service.line(line_of, name)
    assert service.ask("devkit/status")["state"] == "failed"
    assert service.request("GET", "/").status == 503
    service.write(name, good)
    assert service.settled(generation=3)["state"] == "ready"
    assert service.request().status == 200


def test_a_missing_helper_that_appears_heals_the_service(start: Start) -> None:
    service = start(files={"score.py": SCORE})
    assert service.request().json["error"]["type"] == "ModuleNotFoundError"
    service.write("helper.py", HELPER)
    assert service.settled(generation=2)["state"] == "ready"
    assert service.request().status == 200


def test_init_that_ends_the_process_again_and_again_is_a_crash_loop_until_the_next_edit(
    start: Start,
) -> None:
    service = start(files={"score.py": OUTCOMES.replace("    pass", "    os._exit(7)", 1)})
    status = service.settled()
    assert status["state"] == "crash_loop"
    assert "exit code 7" in status["error"]["message"]
    assert service.request(body=do("nothing")).status == 503
    service.write("score.py", OUTCOMES)
    assert service.settled(generation=2)["state"] == "ready"
    assert service.request(body=do("nothing")).status == 200


def test_a_request_under_way_at_a_save_is_run_again_by_the_new_code(start: Start) -> None:
    service = start(files={"score.py": OUTCOMES})
    request = service.later(body=do("sleep"))
    until(lambda: "in run" in service.log())
    version = service.bump(lambda text: text.replace("time.sleep(30)", "pass", 1))
    assert request.reply().json == {"version": version}


def test_a_request_under_way_at_a_save_that_breaks_the_script_is_told_why(start: Start) -> None:
    service = start(files={"score.py": OUTCOMES})
    request = service.later(body=do("sleep"))
    until(lambda: "in run" in service.log())
    service.edit("score.py", lambda text: text + "\nbroken(")
    reply = request.reply()
    assert (reply.status, reply.json["error"]["type"]) == (503, "SyntaxError")


def test_a_save_is_one_reload_however_the_editor_writes(service: Service) -> None:
    path = Path(service.remote_source, "score.py")
    text = service.read("score.py")

    def in_two_writes(new: str) -> None:
        with path.open("w") as file:
            os.fsync(file.fileno())
            file.write(new)

    def by_rename(new: str) -> None:
        other = path.with_suffix(".new")
        other.write_text(new)
        other.replace(path)

    def as_vim(new: str) -> None:
        backup = path.rename(path.with_suffix(".py~"))
        path.write_text(new)
        backup.unlink()

    for number, write in enumerate((in_two_writes, by_rename, as_vim), 2):
        write(text.replace("VERSION = 1", f"VERSION = {number}"))
        status = service.settled(generation=number)
        assert (status["generation"], status["state"]) == (number, "ready")
        assert service.request().json["version"] == number
    by_rename(text.replace("VERSION = 1", "VERSION = 4"))
    service.settled()
    assert "did not start" not in service.log()


def test_saving_the_same_text_again_reloads_nothing(service: Service) -> None:
    service.write("score.py", service.read("score.py"))
    assert service.request().json["version"] == 1
    assert service.ask("devkit/status")["generation"] == 1


def test_an_edited_helper_a_package_and_an_opened_data_file_reload(start: Start) -> None:
    files = {
        "score.py": SCORE.replace("import helper", "import helper\nfrom pack import part")
        .replace(
            "    model = 10", "    model = open(__file__.replace('score.py', 'data.txt')).read()"
        )
        .replace('"answer": answer', '"answer": [answer, part.NUMBER, model]'),
        "helper.py": HELPER,
        "pack/__init__.py": "",
        "pack/part.py": "NUMBER = 1\n",
        "data.txt": "one",
    }
    service = start(files=files)
    assert service.request().json["answer"] == [6, 1, "one"]
    service.write("helper.py", HELPER.replace("* 2", "* 3"))
    assert service.request().json["answer"] == [9, 1, "one"]
    service.write("pack/part.py", "NUMBER = 2\n")
    assert service.request().json["answer"] == [9, 2, "one"]
    service.write("data.txt", "two")
    assert service.request().json["answer"] == [9, 2, "two"]


def test_reload_off_serves_the_old_code_until_asked(start: Start) -> None:
    service = start(env={"DEVKIT_RELOAD": "off"})
    version = service.bump()
    assert service.request().json["version"] == 1
    service.ask("devkit/reload")
    assert service.request().json["version"] == version


def test_hot_reload_patches_functions_and_keeps_what_init_loaded(start: Start) -> None:
    service = start(env={"DEVKIT_RELOAD": "hot"})
    pid = service.ask("devkit/status")["pid"]
    service.edit("score.py", lambda text: text.replace("double(total)", "double(total) + model"))
    until(lambda: "patched in place" in service.log())
    assert service.request().json["answer"] == 16
    assert service.ask("devkit/status")["pid"] == pid
    assert service.log().count("init ran") == 1


def test_several_workers_answer_at_the_same_time(start: Start) -> None:
    service = start(env={"DEVKIT_WORKERS": "3"})
    session = service.attach({"score.py": [service.line("total = sum")]})
    until(lambda: len(session.threads()) == 3)
    requests = [service.later() for _ in range(3)]
    stops = [stopped(session) for _ in range(3)]
    assert len({stop.thread for stop in stops}) == 3
    for stop in stops:
        session.resume(stop.thread)
    assert [request.reply().status for request in requests] == [200] * 3


ECHO = """\
from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from flask import Response


def init():
    pass


@rawhttp
def run(request):
    if request.args.get("stream"):
        return Response((b"part %d;" % n for n in range(3)), mimetype="text/plain")
    head = {"X-Method": request.method, "X-Seen": request.headers.get("X-Sent", "")}
    return Response(request.get_data(), 201, head)
"""


def test_binary_bodies_headers_query_and_streams_pass_unchanged(start: Start) -> None:
    service = start(files={"score.py": ECHO})
    data = bytes(range(256)) * 1000
    reply = service.request(body=data, headers={"X-Sent": "é".encode().decode("latin-1")})
    assert (reply.status, reply.body) == (201, data)
    assert reply.headers["X-Method"] == "POST"

    def parts() -> Iterator[bytes]:
        yield b"one"
        yield b"two"

    assert service.request(body=parts()).body == b"onetwo"
    streamed = service.request(path="/score?stream=1")
    assert streamed.headers["Transfer-Encoding"] == "chunked"
    assert streamed.body == b"part 0;part 1;part 2;"


def test_the_servers_own_routes_and_codes_are_kept(service: Service) -> None:
    assert service.request("GET", "/swagger.json").status == 200
    assert service.request("PUT").status == 405
    assert service.request("OPTIONS").status == 200
    assert service.request(path="/nothing").status == 404
    assert service.request(body=b"\xff").status == 400
    assert service.request("GET", "/score?data=1").status == 502
    assert "x-ms-request-id" in service.request().headers


@pytest.mark.parametrize(
    "head",
    [
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n",
        b"POST /score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_malformed_body_is_refused_and_the_service_lives_on(
    service: Service, head: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", service.score_port)) as sock:
        sock.sendall(head)
        assert sock.recv(100).split()[1] in (b"400", b"413")
    assert service.request().status == 200


def test_a_killed_zygote_is_replaced_and_reload_works_again(service: Service) -> None:
    worker = service.ask("devkit/status")["pid"]
    zygote = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(zygote, signal.SIGKILL)
    until(lambda: "the zygote ended" in service.log())
    assert service.request().status == 200
    version = service.bump()
    assert service.request().json["version"] == version


def test_an_entry_script_written_for_ptvsd_runs_and_waits_for_an_editor(start: Start) -> None:
    script = (
        "import ptvsd\n"
        "ptvsd.enable_attach(address=('0.0.0.0', 5678), redirect_output=True)\n"
        "ptvsd.wait_for_attach(timeout=30)\n" + SCORE
    )
    service = start(files={"score.py": script, "helper.py": HELPER}, wait=False)
    until(lambda: "waits for a debugger" in service.log())
    session = service.attach({"score.py": [service.line("total = sum")]})
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().status == 200


def test_an_entry_script_that_listens_with_debugpy_itself_runs(start: Start) -> None:
    script = "import debugpy\ndebugpy.listen(('0.0.0.0', 5678))\n" + SCORE
    service = start(files={"score.py": script, "helper.py": HELPER})
    assert service.request().status == 200


def test_stopping_lets_a_request_under_way_finish(start: Start) -> None:
    held = SCORE.replace(
        "    total = sum(data)",
        "    import os, time\n"
        "    print('in run')\n"
        "    while not os.path.exists(os.path.join(os.path.dirname(__file__), 'go')):\n"
        "        time.sleep(0.01)\n"
        "    total = 1",
    )
    service = start(files={"score.py": held, "helper.py": HELPER})
    request = service.later()
    until(lambda: "in run" in service.log())
    os.kill(service.pid, signal.SIGTERM)
    until(lambda: service.ask("devkit/status")["state"] == "stopping")
    assert request.is_waiting
    service.write("go", "")
    assert request.reply().status == 200


def test_a_folder_in_the_place_of_a_helper_is_told_and_heals(service: Service) -> None:
    path = Path(service.remote_source, "helper.py")
    path.unlink()
    path.mkdir()
    assert service.settled(generation=2)["state"] == "failed"
    assert service.request().status == 503
    path.rmdir()
    path.write_text(HELPER)
    assert service.settled(generation=3)["state"] == "ready"
    assert service.request().status == 200


def test_an_answer_that_breaks_off_is_no_answer(start: Start) -> None:
    script = ECHO.replace(
        'return Response((b"part %d;" % n for n in range(3)), mimetype="text/plain")',
        "import os\n"
        "        def parts():\n"
        "            yield b'half'\n"
        "            os._exit(1)\n"
        '        return Response(parts(), headers={"Content-Length": "100"})',
    )
    service = start(files={"score.py": script})
    assert service.request(path="/score?stream=1").status == 502
    assert service.request().status == 201
