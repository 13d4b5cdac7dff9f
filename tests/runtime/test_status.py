"""The status tables: what becomes of a request, and the code that each profile has for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.runtime import outcome
from tests import running
from tests.running import Service, until
from tests.runtime.conftest import Start

OUTCOMES = """\
import ctypes, json, math, os, time
from azureml.contrib.services.aml_response import AMLResponse

VERSION = 1


def init():
    pass


def run(raw_data):
    what = json.loads(raw_data)["do"]
    if what == "raise":
        raise ValueError("no such model")
    if what == "exit":
        os._exit(9)
    if what == "segfault":
        ctypes.string_at(0)
    if what == "sys.exit":
        raise SystemExit(4)
    if what == "sleep":
        time.sleep(600)
    if what == "swallow":
        try:
            time.sleep(600)
        except Exception:
            return "swallowed"
    if what == "stubborn":
        while True:
            try:
                print("stubborn")
                time.sleep(600)
            except BaseException:
                pass
    if what == "loop":
        while True:
            pass
    if what == "set":
        return {1, 2}
    if what == "bytes":
        return b"1"
    if what == "nan":
        return math.nan
    if what == "none":
        return None
    if what == "own":
        return AMLResponse("mine", 418)
    return {"version": VERSION}
"""

PROFILES = ("aks", "raw", "managed")

# What run() does -> the codes under aks, raw and managed.
ROWS = {
    "nothing": (200, 200, 200),
    "none": (200, 200, 200),
    "nan": (200, 200, 200),
    "own": (418, 418, 418),
    "raise": (502, 500, 424),
    "set": (502, 500, 424),
    "bytes": (502, 500, 424),
    "sys.exit": (502, 500, 424),
    "exit": (502, 500, 424),
    "segfault": (502, 500, 424),
    "sleep": (504, 500, 408),
    "swallow": (504, 500, 408),
    "loop": (504, 500, 408),
    "stubborn": (504, 500, 408),
}
BODIES = {"nothing": b'{"version": 1}', "none": b"{}", "nan": b"NaN", "own": b"mine"}
# The code that a managed endpoint's 424 stands for.
ORIGINAL = {"raise": "500", "set": "500", "bytes": "500", "sys.exit": "500"}
ORIGINAL |= {"exit": "502", "segfault": "502"}


def do(what: str) -> bytes:
    return json.dumps({"do": what}).encode()


def limits(profile: str) -> dict[str, str]:
    return {"DEVKIT_STATUS": profile, "SCORING_TIMEOUT_MS": "300"}


@pytest.fixture(scope="module", params=PROFILES)
def profiled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Service]]:
    """A profile, and one service for all its rows: it has to survive them all."""
    folder: Path = tmp_path_factory.mktemp("profile")
    with running.on_host(
        folder, files={"score.py": OUTCOMES}, env=limits(request.param)
    ) as service:
        yield request.param, service


@pytest.mark.parametrize("what", ROWS)
def test_each_outcome_has_the_status_of_its_profile_and_the_next_request_works(
    profiled: tuple[str, Service], what: str
) -> None:
    profile, service = profiled
    reply = service.request(body=do(what))
    assert reply.status == ROWS[what][PROFILES.index(profile)]
    if what in BODIES:
        assert reply.body.strip() == BODIES[what]
    else:
        assert reply.json["message"]
    original = ORIGINAL.get(what) if profile == "managed" else None
    assert reply.headers.get("ms-azureml-model-error-statuscode") == original
    assert service.settled()["state"] == "ready"
    assert service.request(body=do("nothing")).json == {"version": 1}


def test_the_servers_own_refusals_are_the_same_under_each_profile(
    profiled: tuple[str, Service],
) -> None:
    _, service = profiled
    assert service.request("PUT").status == 405
    assert service.request("OPTIONS").status == 200
    assert service.request(path="/nothing").status == 404
    assert service.request(body=b"\xff").status == 400
    assert service.request("GET", "/").status == 200
    assert service.request("GET", "/swagger.json").status == 200
    assert service.request(headers={"x-ms-request-id": "x" * 101}).status == 431


@pytest.mark.parametrize("profile", PROFILES)
def test_a_service_that_is_not_ready_is_503(start: Start, profile: str) -> None:
    files = {"score.py": OUTCOMES.replace("    pass", "    time.sleep(600)", 1)}
    service = start(files=files, env=limits(profile), wait=False)
    until(lambda: "scoring on" in service.log())
    reply = service.request(body=do("nothing"))
    assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
    assert "not ready yet" in reply.json["message"]
    assert service.request("GET", "/").status == 503


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    ("init", "state"), [("raise KeyError('model')", "failed"), ("os._exit(7)", "crash_loop")]
)
def test_a_service_that_did_not_start_is_503_until_the_next_edit(
    start: Start, profile: str, init: str, state: str
) -> None:
    files = {"score.py": OUTCOMES.replace("    pass", f"    {init}", 1)}
    service = start(files=files, env=limits(profile))
    assert service.settled()["state"] == state
    assert service.request(body=do("nothing")).status == 503
    assert service.request("GET", "/").status == 503
    service.write("score.py", OUTCOMES)
    assert service.settled(generation=2)["state"] == "ready"
    assert service.request(body=do("nothing")).status == 200


def test_every_outcome_has_a_code_in_every_profile() -> None:
    outcomes = {
        value for name, value in vars(outcome).items() if name.isupper() and isinstance(value, str)
    } - {outcome.ORIGINAL_STATUS_HEADER}
    assert set(outcome.STATUS) == set(PROFILES)
    assert all(set(codes) == outcomes for codes in outcome.STATUS.values())
