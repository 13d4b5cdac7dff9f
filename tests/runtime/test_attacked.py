"""What user code, files and clients may do that must neither hang the service nor lose a worker."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from devkit.errors import DebuggerError
from devkit.runtime.multiplexer import MAX_CONNECTIONS
from tests.running import HELPER, LOCAL, SCORE, Service, stopped, until
from tests.runtime.conftest import Start
from tests.runtime.gate import WAITS, Gate


def test_a_failure_too_long_for_a_header_is_told_and_the_worker_serves_on(start: Start) -> None:
    script = SCORE.replace("    total = sum(data)", "    raise ValueError('漢' * 12000)")
    service = start(files={"score.py": script, "helper.py": HELPER})
    for _ in range(3):
        reply = service.request()
        assert (reply.status, reply.json["error"]["type"]) == (502, "ValueError")


def test_a_large_body_that_is_not_read_gets_its_answer_and_the_worker_serves_on(
    service: Service,
) -> None:
    body = b"x" * 20_000_000
    assert service.request(path="/nothing", body=body).status == 404
    assert service.request("PUT", body=body).status == 405
    assert service.request().status == 200


@pytest.mark.parametrize(
    "module",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n",
        "import os, sys\nif 'WORKS' not in os.environ:\n    sys.exit('set WORKS')\n",
        "import os\nif 'WORKS' not in os.environ:\n    os._exit(9)\n",
    ],
    ids=["thread", "exit", "crash"],
)
def test_a_package_that_harms_the_zygote_does_not_stop_reloads(
    start: Start, tmp_path: Path, module: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/harmful.py").write_text(module)
    script = SCORE.replace(
        "import json", "import os\nos.environ['WORKS'] = '1'\nimport json, harmful", 1
    )
    service = start(
        files={"score.py": script, "helper.py": HELPER},
        env={"PYTHONPATH": str(tmp_path / "site")},
    )
    for _ in range(3):
        version = service.bump()
        assert service.request().json["version"] == version


@pytest.mark.parametrize(
    "arguments",
    [
        {"source": {"path": f"{LOCAL}/score.py"}, "breakpoints": [{"line": "x"}]},
        {"source": {"path": f"{LOCAL}/score.py"}, "breakpoints": [1, 2]},
        {"source": {"path": f"{LOCAL}/score.py"}, "breakpoints": 5},
        {"source": None, "breakpoints": []},
    ],
)
def test_a_strange_setbreakpoints_is_refused_and_reloads_go_on(
    service: Service, arguments: dict[str, object]
) -> None:
    session = service.attach({"score.py": [service.line("total = sum")]})
    with pytest.raises(DebuggerError, match="lines as numbers"):
        session.request("setBreakpoints", arguments)
    version = service.bump()
    request = service.later()
    stop = stopped(session)
    session.resume(stop.thread)
    assert request.reply().json["version"] == version


def test_a_child_of_run_does_not_keep_a_request_that_is_over(start: Start) -> None:
    script = SCORE.replace(
        "    total = sum(data)",
        "    import os, time\n    pid = os.fork()\n    if pid == 0:\n        os.setsid()\n"
        "        time.sleep(60)\n        os._exit(0)\n    os.waitpid(pid, 0)\n    total = 1",
    )
    service = start(
        files={"score.py": script, "helper.py": HELPER}, env={"SCORING_TIMEOUT_MS": "500"}
    )
    assert service.request(timeout_s=20).status == 504


def test_processes_that_init_started_end_with_their_worker(start: Start) -> None:
    script = SCORE.replace(
        "    model = 10",
        "    import subprocess\n    model = 10\n"
        "    print('child', subprocess.Popen(['sleep', '600']).pid, 'of init')",
    )
    service = start(files={"score.py": script, "helper.py": HELPER})
    child = int(service.log().split("child ")[1].split()[0])
    os.kill(child, 0)
    service.bump()
    assert service.request().status == 200
    until(lambda: _is_gone(child))


def _is_gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_pipe_in_the_place_of_a_file_holds_nobody(service: Service) -> None:
    path = Path(service.remote_source, "helper.py")
    path.unlink()
    os.mkfifo(path)
    until(lambda: service.ask("devkit/status")["generation"] == 2)
    path.unlink()
    path.write_text(HELPER)
    assert service.settled(generation=3)["state"] == "ready"
    assert service.request().status == 200


def test_a_mended_file_serves_the_request_sent_right_after_the_save(service: Service) -> None:
    good = service.read("score.py")
    for _ in range(10):
        service.write("score.py", good + "\nbroken(")
        assert service.request().status == 503
        service.write("score.py", good)
        assert service.request().status == 200


def test_killed_standbys_leave_the_worker_serving(service: Service) -> None:
    worker = service.ask("devkit/status")["pid"]
    for _ in range(4):
        standby = until(lambda: _standby(worker))
        os.kill(standby, signal.SIGKILL)
        until(lambda gone=standby: _standby(worker) != gone)  # type: ignore[misc]
    assert service.ask("devkit/status")["state"] == "ready"
    assert service.request().status == 200


def _standby(worker: int) -> int | None:
    zygote = int(Path(f"/proc/{worker}/stat").read_text().rsplit(")", 1)[1].split()[1])
    children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
    return next((int(pid) for pid in children if int(pid) != worker), None)


def test_an_entry_script_keeps_its_own_open(start: Start) -> None:
    own = (
        "    import builtins\n    real = open\n    model = 10\n"
        "    builtins.open = lambda *a, **k: 'mine' if a[0] == 'x' else real(*a, **k)"
    )
    script = SCORE.replace("    model = 10", own).replace('"answer": answer', '"answer": open("x")')
    service = start(files={"score.py": script, "helper.py": HELPER})
    assert service.request().json["answer"] == "mine"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: \xb2\r\n\r\nab",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    ],
    ids=["both", "two lengths", "no digit", "two codings", "strange coding", "strange size"],
)
def test_a_body_whose_end_is_unclear_is_refused(service: Service, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.score_port), timeout=10) as sock:
        sock.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\n" + head)
        assert sock.recv(100).split()[1] == b"400"


def test_a_web_page_cannot_ask_devkits_questions(service: Service) -> None:
    body = b'{"seq":1,"type":"request","command":"devkit/reload","arguments":{}}'
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", service.debug_port), timeout=10) as sock:
        sock.sendall(head + body)
        assert sock.recv(100) == b""
    assert service.ask("devkit/status")["generation"] == 1


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"Content-Length: 100\r\n\r\n{",
        b'Content-Length: 49\r\n\r\n{"seq":1,"type":"request","command":"initialize"}',
    ],
    ids=["nothing", "half a message", "initialize"],
)
def test_connections_that_hang_keep_no_editor_out(service: Service, said: bytes) -> None:
    with ExitStack() as stack:

        def hang() -> None:
            address = ("127.0.0.1", service.debug_port)
            sock = stack.enter_context(socket.create_connection(address, timeout=10))
            sock.sendall(said)

        for _ in range(MAX_CONNECTIONS + 10):
            hang()
        session = service.attach({"score.py": [service.line("total = sum")]})
        # Nor do more of them push out the one that is attached.
        for _ in range(MAX_CONNECTIONS + 10):
            hang()
        assert service.ask("devkit/status")["attached"]["client"] == "Visual Studio Code"
        request = service.later()
        stop = stopped(session)
        session.resume(stop.thread)
        assert request.reply().status == 200


NOTED = (
    """\
import json


def init():
    pass


def run(raw_data):
    number = json.loads(raw_data)["number"]
    print("began", number, flush=True)
    if number == 1:
        wait_at_gate()
    print("ended", number, flush=True)
    return number
"""
    + WAITS
)


LONG_QUEUE = {"DEVKIT_MAX_QUEUE_WAIT_MS": "60000"}


def leaving(service: Service, number: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", service.score_port), timeout=30)
    body = b'{"number": %d}' % number
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    sock.sendall(head + body)
    return sock


def test_a_queued_request_whose_client_left_is_not_run(start: Start) -> None:
    service = start(files={"score.py": NOTED}, env=LONG_QUEUE)
    gate = Gate(service)
    first = service.later(body=b'{"number": 1}')
    until(lambda: "began 1" in service.log())
    leave = [leaving(service, number) for number in range(2, 8)]
    stays = leaving(service, 8)
    until(lambda: service.ask("devkit/status")["waiting"] == 7)
    for sock in leave:
        sock.close()
    until(lambda: service.ask("devkit/status")["waiting"] == 1)
    gate.open()
    assert first.reply().json == 1
    assert stays.recv(100).split()[1] == b"200"
    stays.close()
    assert service.request(body=b'{"number": 9}').json == 9
    began = [line.split()[-1] for line in service.log().splitlines() if "began" in line]
    assert began == ["1", "8", "9"]


def test_a_queued_request_whose_client_leaves_as_its_turn_comes_is_not_run(start: Start) -> None:
    service = start(files={"score.py": NOTED}, env=LONG_QUEUE)
    gate = Gate(service)
    first = service.later(body=b'{"number": 1}')
    until(lambda: "began 1" in service.log())
    leave = [leaving(service, number) for number in range(2, 8)]
    until(lambda: service.ask("devkit/status")["waiting"] == 6)
    for sock in leave:
        sock.close()
    gate.open()
    assert first.reply().json == 1
    assert service.request(body=b'{"number": 9}').json == 9
    until(lambda: service.ask("devkit/status")["waiting"] == 0)
    began = [line.split()[-1] for line in service.log().splitlines() if "began" in line]
    assert began == ["1", "9"]


def test_a_request_that_runs_goes_on_when_its_client_left(start: Start) -> None:
    service = start(files={"score.py": NOTED})
    gate = Gate(service)
    sock = leaving(service, 1)
    until(lambda: "began 1" in service.log())
    sock.close()
    gate.open()
    until(lambda: "ended 1" in service.log())
    assert service.request(body=b'{"number": 2}').json == 2
