"""Requests recorded, shown, sent again, kept as cases; where a worker is: on a real engine."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from devkit.debug.dap import Session
from tests.integration.typed import Typed
from tests.running import until

pytestmark = pytest.mark.engine

NAME = f"devkit-test-requests-{os.getpid()}"
SCORE = """\
import json
import os
import threading

go_on = threading.Event()


def init():
    pass


def mean(values, api_key):
    total = sum(values)
    return total / len(values)


def run(raw_data):
    data = json.loads(raw_data)
    if "until" in data:
        hang(data["until"])
    refuse(data.get("flag", ""))
    if data.get("die"):
        os._exit(3)
    return {"mean": mean(data["values"], "abc"), "at": STEP}


def refuse(flag):
    if os.path.exists(flag):
        raise ValueError(flag)


def hang(until):
    while not go_on.is_set():
        go_on.set() if os.path.exists(until) else None


STEP = 1
"""


class Made(Typed):
    """A service in a folder, and devkit typed there."""

    def __init__(self, folder: Path, base: str) -> None:
        super().__init__(folder, {"DEVKIT_IMAGE_BASE": base})
        folder.mkdir(parents=True)
        (folder / "score.py").write_text(SCORE)
        (folder / "sample.json").write_text('{"values": [1]}')
        self.runtime = ""

    def runs_with(self, runtime: str, *words: str) -> None:
        """Let it run with a section `runtime`."""
        if runtime == self.runtime and not words:
            return
        text = f'service: {NAME}\nimage: {{tag: "{NAME}:1"}}\nruntime: {runtime}\n'
        (self.folder / "devkit.yaml").write_text(f"{text}ports: {{score: auto, debug: auto}}\n")
        made = self.json(*(words or ("debug", "--detach", "--no-sync")))
        assert made["ok"], made
        self.runtime = "" if words else runtime

    def line(self, text: str) -> int:
        return SCORE.splitlines().index(text) + 1

    def asked(self, body: dict[str, Any], *words: str) -> dict[str, Any]:
        return self.json("invoke", "-d", json.dumps(body), *words)

    def shown(self, which: str) -> dict[str, Any]:
        return self.json("requests", "show", which)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[Made]:
    made = Made(tmp_path_factory.mktemp("requests") / "svc", base_image)
    try:
        yield made
    finally:
        made.devkit("delete", "--yes")
        subprocess.run(["docker", "rmi", f"{NAME}:1"], capture_output=True, check=False)


@pytest.fixture
def service(module: Made) -> Made:
    """The service as it is by default."""
    module.runs_with("{}")
    return module


def test_requests_are_listed_and_a_failing_one_has_its_locals(service: Made) -> None:
    assert service.asked({"values": [1, 2]})["status"] == 200
    secret = ("--header", "Authorization: Bearer s3cret", "--header", "X-Trace: 7")
    assert service.asked({"values": []}, *secret)["status"] == 502
    listed = service.json("requests")["requests"]
    assert [entry["status"] for entry in listed[-2:]] == [200, 502]
    failed = service.json("requests", "--failed")["requests"]
    assert failed[-1]["error"] == "ZeroDivisionError: division by zero"
    assert failed[-1]["id"] == listed[-1]["id"]
    shown = service.shown("last-failed")
    assert shown["file"] == str(service.folder / "score.py")
    assert shown["line"] == service.line("    return total / len(values)")
    assert shown["locals"] == {"values": "[]", "api_key": "***", "total": "0"}
    assert str(service.folder / "score.py") in shown["traceback"]
    assert json.loads(shown["body"]) == {"values": []}
    assert shown["headers"]["Authorization"] == "***"
    assert shown["headers"]["X-Trace"] == "7"
    text = service.devkit("requests", "show", "last-failed").stdout
    assert "total = 0" in text
    assert text.count("Traceback") == 1
    assert "s3cret" not in text


def test_a_request_is_sent_again_and_breaks_where_it_raised(service: Made) -> None:
    service.asked({"values": []}, "--header", "X-Api-Key: s3cret")
    again = service.devkit("replay", "last-failed")
    assert again.returncode == 6
    assert "ZeroDivisionError" in again.stdout
    assert "Sent without X-Api-Key" in again.stderr
    stopped = service.devkit("replay", "last-failed", "--break")
    assert stopped.returncode == 6
    line = service.line("    return total / len(values)")
    assert f"Stopped in {service.folder / 'score.py'}:{line}" in stopped.stderr
    assert f"-> {line:4}      return total / len(values)" in stopped.stderr
    assert "total = 0" in stopped.stderr
    stop = service.json("replay", "last-failed", "--break")["stop"]
    assert stop["line"] == line
    assert stop["locals"]["total"] == "0"
    # It lets go: the next one is answered.
    assert service.asked({"values": [4]})["status"] == 200
    assert service.json("replay", "last")["status"] == 200


def test_a_replay_that_does_not_raise_again_says_so(service: Made) -> None:
    assert service.devkit("exec", "--", "touch", "/tmp/flag").returncode == 0
    assert service.asked({"values": [1], "flag": "/tmp/flag"})["status"] == 502
    assert service.devkit("exec", "--", "rm", "/tmp/flag").returncode == 0
    again = service.devkit("replay", "last-failed", "--break")
    assert again.returncode == 0
    line = service.line("        raise ValueError(flag)")
    assert f"It did not come to {service.folder / 'score.py'}:{line}" in again.stderr


def test_an_attached_editor_keeps_its_stops(service: Made) -> None:
    service.asked({"values": []})
    debug = service.json("status")["debug"]
    how = {"name": "it", "type": "debugpy", "request": "attach"}
    with Session.attach(debug["host"], debug["port"], how, client="Some Editor"):
        refused = service.json("replay", "last-failed", "--break")
        assert refused["error"]["code"] == "AlreadyAttached"
        assert service.json("replay", "last-failed")["status"] == 502


def test_cases_are_kept_and_tested(service: Made, tmp_path: Path) -> None:
    service.asked({"values": [1, 2]})
    case = tmp_path / "cases" / "mean.json"
    assert service.json("requests", "save", "last", "-o", str(case))["ok"]
    assert service.json("requests", "save", "last", "-o", str(case))["error"]["code"] == "BadValue"
    assert service.json("test", str(case.parent))["ok"]
    # One that is none, or would go elsewhere, hides no other.
    saved = case.read_text()
    (case.parent / "empty.json").write_text("")
    (case.parent / "elsewhere.json").write_text(saved.replace('"/score"', '"@there/score"'))
    results = service.json("test", str(case.parent))["cases"]
    assert [result["ok"] for result in results] == [False, False, True]
    for name in ("empty", "elsewhere"):
        (case.parent / f"{name}.json").unlink()
    source = service.folder / "score.py"
    source.write_text(SCORE.replace("STEP = 1", "STEP = 2"))
    try:
        assert service.json("debug", "--detach", "--no-sync")["ok"]
        differs = service.devkit("test", str(case))
        assert differs.returncode == 1
        assert '- "at": 1' in differs.stdout
        assert '+ "at": 2' in differs.stdout
        assert service.json("test", str(case), "--update")["ok"]
        assert service.json("test", str(case))["ok"]
        assert json.loads(case.read_text())["answer"]["body"] == {"mean": 1.5, "at": 2}
    finally:
        source.write_text(SCORE)
        service.runtime = ""


def test_a_large_body_is_kept_in_part_and_not_sent_again(service: Made, tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    large.write_text(json.dumps({"values": [1] * 100_000}))
    assert service.json("invoke", "-d", f"@{large}")["status"] == 200
    shown = service.shown("last")
    assert not shown["is_replayable"]
    assert shown["body_bytes"] > len(shown["body"])
    refused = service.json("replay", "last")["error"]
    assert refused["code"] == "BadValue"
    assert "cannot be sent again" in refused["message"]


def test_a_hung_run_says_where_it_is(service: Made) -> None:
    service.runs_with("{scoring_timeout_ms: 5000}")
    line = service.line("        go_on.set() if os.path.exists(until) else None")
    near = (line - 1, line)
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(service.asked, {"until": "/tmp/go", "values": [1]})
        until(lambda: "hang()" in service.devkit("stack").stdout)
        (worker,) = service.json("stack")["workers"]
        frames = worker["threads"][0]["frames"]
        frame = next(frame for frame in frames if frame["function"] == "hang")
        assert frame["file"] == str(service.folder / "score.py")
        assert frame["line"] in near
        answer = asking.result()
    assert answer["status"] == 504
    shown = service.shown("last-failed")
    assert shown["line"] in near
    assert "Your code has been in score.py" in shown["traceback"]
    for words in ([], ["--http", "504"]):
        found = service.json("diagnose", *words)["findings"][0]
        assert (found["id"], found["file"]) == ("http-504", "score.py")
        assert found["line"] in near
        assert "Your code has been in score.py" in found["evidence"]


def test_a_worker_that_a_request_ends_is_502_and_explained(service: Made) -> None:
    done = service.devkit("invoke", "-d", '{"die": true, "values": []}')
    assert done.returncode == 6
    assert "ended the worker process, by os._exit(), with code 3" in done.stderr
    assert service.shown("last")["request"]["status"] == 502
    for words in ([], ["--http", "502"]):
        found = service.json("diagnose", *words)["findings"][0]
        line = service.line("        os._exit(3)")
        assert (found["id"], found["file"], found["line"]) == ("worker-crashed", "score.py", line)
    assert service.asked({"values": [1]})["status"] == 200


def test_a_request_that_waits_too_long_is_503_and_explained(service: Made) -> None:
    service.runs_with("{max_queue_wait_ms: 100}")
    with ThreadPoolExecutor(1) as beside:
        asking = beside.submit(service.asked, {"until": "/tmp/go", "values": [1]})
        until(lambda: "hang()" in service.devkit("stack").stdout)
        refused = service.devkit("invoke", "-d", '{"values": [1]}')
        assert refused.returncode == 6
        assert "503: No replica was free" in refused.stderr
        url = service.json("status")["score_uri"]
        for words in ([], ["--http", "503"], ["--url", url]):
            assert service.json("diagnose", *words)["findings"][0]["id"] == "http-503"
        assert service.json("requests")["requests"][-1]["status"] == 503
        assert service.devkit("exec", "--", "touch", "/tmp/go").returncode == 0
        assert asking.result()["status"] == 200


def test_nothing_is_recorded_where_that_is_off_or_nobody_debugs(service: Made) -> None:
    service.runs_with("{record: off}")
    service.asked({"values": [1]})
    refused = service.json("requests")["error"]
    assert refused["code"] == "BadValue"
    assert "runtime.record" in refused["hint"]
    service.runs_with("{}", "run", "--no-debug")
    refused = service.json("stack")["error"]
    assert refused["code"] == "NoService"
    assert "without a debugger" in refused["message"]
