"""Requests are recorded: the last ones and the failing ones, bounded, without secrets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests import running
from tests.running import Service
from tests.runtime.conftest import Start
from tests.runtime.test_pythons import PYTHONS, python  # noqa: F401  a fixture

SCORE = """\
import json
import time


class Bad:
    def __repr__(self):
        raise ValueError("no text")


class Leaves:
    def __repr__(self):
        raise SystemExit(3)


class Grows:
    def __init__(self, inside):
        self.inside = inside

    def __repr__(self):
        self.inside[len(self.inside)] = 1
        return "grown"


class Meta(type):
    @property
    def __name__(cls):
        raise ValueError("no name")


class Slow:
    def __repr__(self):
        while True:
            try:
                time.sleep(600)
            except Exception:
                pass


def init():
    pass


def pieces():
    yield b"one"
    yield b"two"


def run(raw_data):
    data = json.loads(raw_data)
    if data == "raise":
        return divided(0)
    if data == "odd":
        bad, slow, after = Bad(), Slow(), 1
        raise KeyError("odd")
    if data == "evil":
        leaves, meta, grows = Leaves(), Meta("M", (), {})(), {}
        grows["it"] = Grows(grows)
        raise KeyError("the real one")
    if data == "exit":
        import os
        os._exit(3)
    if data == "own":
        raise ValueError("x" * 300)
    return {"got": len(raw_data)}


def divided(by):
    api_key = "k-123"
    options = {"password": "p-123", "size": 3}
    rows = list(range(1000))
    text = "t" * 1000
    blob = b"b" * 10_000_000
    return 1 / by
"""


@pytest.fixture
def service(start: Start) -> Service:
    """A service that fails in several ways."""
    return start(files={"score.py": SCORE})


def send(service: Service, what: Any, **headers: str) -> running.Reply:
    return service.request(body=json.dumps(what).encode(), headers=headers)


def listed(service: Service) -> list[dict[str, Any]]:
    found = service.ask("devkit/requests")
    assert found["is_on"] is True
    return list(found["requests"])


def whole(service: Service, number: int) -> dict[str, Any]:
    return dict(service.ask("devkit/request", {"id": number})["request"])


def test_a_failing_request_is_kept_with_traceback_and_locals_and_without_secrets(
    service: Service,
) -> None:
    reply = send(service, "raise", Authorization="Bearer abc", Cookie="s=1", **{"X-Api-Key": "k"})
    assert (reply.status, "locals" in reply.json["error"]) == (502, False)
    (entry,) = listed(service)
    assert (entry["id"], entry["status"], entry["is_failing"]) == (1, 502, True)
    assert entry["error"] == "ZeroDivisionError: division by zero"
    assert entry["line"] == service.line("return 1 / by")
    found = whole(service, 1)
    assert base64.b64decode(found["body"]) == b'"raise"'
    kept = dict(found["headers"])
    assert kept["Content-Type"] == "application/json"
    assert {kept[name] for name in ("Authorization", "Cookie", "X-Api-Key")} == {"***"}
    assert sorted(found["masked"]) == ["Authorization", "Cookie", "X-Api-Key"]
    values = dict(found["failure"]["locals"])
    assert values["by"] == "0"
    assert values["api_key"] == "***"
    assert values["options"] == "{'password': ***, 'size': 3}"
    assert values["rows"].endswith("1000 in all]")
    assert max(map(len, values.values())) <= 200
    assert "return 1 / by" in found["failure"]["traceback"]
    assert "k-123" not in json.dumps(values) + json.dumps(kept)


def test_secrets_in_an_address_are_not_kept(service: Service) -> None:
    path = "/score?size=3&accessToken=t-123&sig=s-456&key=&verbose"
    headers = {"X-Ms-Sas": "s", "X-Session-Id": "s", "Referer": "http://me:pw@there/?token=t"}
    assert service.request(path=path, body=b'"fine"', headers=headers).status == 200
    found = whole(service, 1)
    kept = dict(found["headers"])
    assert (kept["X-Ms-Sas"], kept["X-Session-Id"]) == ("***", "***")
    assert kept["Referer"] == "http://***@there/?token=***"
    assert found["path"] == "/score?size=3&accessToken=***&sig=***&key=***&verbose"
    assert found["masked"] == ["accessToken", "sig", "key", "X-Ms-Sas", "X-Session-Id"]


def test_a_repr_that_raises_or_never_comes_back_holds_nothing_up(service: Service) -> None:
    assert send(service, "odd").status == 502
    values = dict(whole(service, 1)["failure"]["locals"])
    assert values["bad"] == "<Bad: its repr() raised ValueError>"
    assert values["slow"] == "<repr() takes too long>"
    assert values["..."] == "1 more"
    assert send(service, "fine").status == 200


def test_no_value_replaces_the_error_or_ends_the_worker(service: Service) -> None:
    reply = send(service, "evil")
    assert (reply.status, reply.json["error"]["message"]) == (502, "'the real one'")
    values = dict(whole(service, 1)["failure"]["locals"])
    assert values["leaves"] == "<Leaves: its repr() raised SystemExit>"
    assert values["grows"] == "<repr() raised RuntimeError>"
    assert "meta" in values
    assert "ended by itself" not in service.log()


def test_answers_and_times_are_kept_and_a_worker_that_dies_is_told(service: Service) -> None:
    assert send(service, "fine").json == {"got": 6}
    assert send(service, "exit").status == 502
    fine, died = listed(service)
    assert (fine["status"], fine["is_failing"], fine["error"]) == (200, False, None)
    assert fine["ms"] > 0
    assert json.loads(base64.b64decode(whole(service, 1)["answer"])) == {"got": 6}
    assert "ended" in died["error"]
    assert service.ask("devkit/request", {"id": 99})["request"] is None


def test_failing_requests_outlive_many_that_pass(start: Start) -> None:
    service = start(files={"score.py": SCORE}, env={"DEVKIT_RECORD": "3"})
    send(service, "raise")
    for _ in range(5):
        send(service, "fine")
    assert [item["id"] for item in listed(service)] == [1, 4, 5, 6]


def test_a_large_body_is_cut_and_says_its_length(service: Service) -> None:
    send(service, "a" * 200_000)
    found = whole(service, 1)
    assert len(base64.b64decode(found["body"])) == 64 * 1024
    assert (found["body_bytes"], found["is_replayable"]) == (200_002, False)


@pytest.mark.parametrize("env", [{"DEVKIT_RECORD": "off"}, {"DEVKIT_DEBUG": "0"}])
def test_nothing_is_recorded_where_it_is_off(start: Start, env: dict[str, str]) -> None:
    service = start(files={"score.py": SCORE}, env=env)
    assert send(service, "raise").status == 502
    assert service.ask("devkit/requests") == {"is_on": False, "requests": []}


def test_a_failure_has_its_locals_on_each_python(start: Start, python: str) -> None:  # noqa: F811
    service = start(files={"score.py": SCORE}, python=python)
    send(service, "raise")
    assert dict(whole(service, 1)["failure"]["locals"])["by"] == "0"
    threads = service.ask("devkit/stack")["workers"][0]["threads"]
    assert [item["name"] for item in threads] == ["main"]
