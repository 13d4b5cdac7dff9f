"""The formula, a measurement with its bounds, and what it advises."""

from __future__ import annotations

import itertools
import json
import threading

import pytest

from devkit import replicas as sizes
from devkit.errors import BadValue, ServiceError
from devkit.request import Answer
from tests.unit.test_cli import Type, devkit, root  # noqa: F401  # fixtures


def answer(status: int = 200, seconds: float = 0.1) -> Answer:
    return Answer(status, (), b"", seconds)


@pytest.mark.parametrize(
    ("rps", "seconds", "concurrent", "share", "count"),
    [
        (20, 10, 1, 0.7, 286),  # the guide's
        (20, 10, 4, 0.7, 72),
        (7, 1, 1, 0.7, 10),  # 11 in floats
        (0.1, 3, 1, 0.3, 1),
        (0.001, 0.001, 1, 1, 1),
    ],
)
def test_the_formula_is_the_guides_and_exact(
    rps: float, seconds: float, concurrent: int, share: float, count: int
) -> None:
    found = sizes.replicas(rps, seconds, max_concurrent=concurrent, utilization=share)
    assert found == count


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--rps", "0", "--seconds-per-request", "1"), "--rps"),
        (("--rps", "nan", "--seconds-per-request", "1"), "--rps"),
        (("--rps", "inf", "--seconds-per-request", "1"), "--rps"),
        (("--rps", "1", "--seconds-per-request", "-1"), "--seconds-per-request"),
        (("--rps", "1", "--seconds-per-request", "0"), "--seconds-per-request"),
        (("--rps", "1", "--seconds-per-request", "1", "--target-utilization", "70"), "0.7"),
        (("--rps", "1", "--seconds-per-request", "1", "--max-concurrent", "0"), "--max-concurrent"),
        (("--rps", "1"), "--measure"),
        (("--rps", "1", "--seconds-per-request", "1", "--clients", "2"), "--measure"),
        (("--rps", "1", "--measure", "--seconds-per-request", "1"), "--measure"),
    ],
)
def test_a_bad_number_is_one_sentence(devkit: Type, words: tuple[str, ...], named: str) -> None:  # noqa: F811
    done = devkit("replicas", *words)
    assert done.code == 2
    assert named in done.err
    assert len([line for line in done.err.splitlines() if line.startswith("Error:")]) == 1


def test_the_command_says_the_guides_number(devkit: Type) -> None:  # noqa: F811
    words = ("--rps", "20", "--seconds-per-request", "10", "--max-concurrent", "1")
    assert devkit("replicas", *words, "--target-utilization", "0.7").out.startswith("286 replicas")
    assert devkit("replicas", *words, "--json").json == {"ok": True, "replicas": 286}


def test_a_measurement_sends_200_requests_at_most() -> None:
    sent = itertools.count()

    def send() -> Answer:
        next(sent)
        return answer()

    found = sizes.measured(send, clients=8, clock=lambda: 0.0)
    assert (found.requests, found.clients) == (sizes.MOST_REQUESTS, 8)
    assert next(sent) == sizes.MOST_REQUESTS + 1  # and one that is not counted


def test_no_request_begins_after_the_time_but_the_first() -> None:
    now = iter([0.0, *itertools.repeat(sizes.MOST_SECONDS, 100)])
    assert sizes.measured(answer, clients=3, clock=lambda: next(now)).requests == 1


def test_clients_send_at_the_same_time() -> None:
    together = threading.Barrier(4, timeout=30)
    first = iter([True])

    def send() -> Answer:
        if not next(first, False):
            together.wait()
        return answer()

    assert sizes.measured(send, clients=4, clock=lambda: 0.0).requests == sizes.MOST_REQUESTS


def test_an_error_ends_the_measurement() -> None:
    statuses = iter([200, 200, 200, 503, *[200] * 500])
    sent = []

    def send() -> Answer:
        sent.append(next(statuses))
        return answer(sent[-1])

    with pytest.raises(ServiceError, match="503"):
        sizes.measured(send, clients=1, clock=lambda: 0.0)
    assert len(sent) == 4


def test_advice_has_a_reason_for_each_number() -> None:
    found = sizes.Measured(200, 1, mean_s=0.5, p50_s=0.5, p95_s=0.6)
    told = sizes.advice(found, 20, max_concurrent=1, utilization=None)
    assert (told.autoscale_min_replicas, told.autoscale_max_replicas) == (15, 18)
    assert told.autoscale_target_utilization == 70
    assert set(told.reasons) == {name for name in vars(told) if name != "reasons"}
    assert "p95" in told.reasons["autoscale_max_replicas"]


def test_slow_requests_lower_the_target() -> None:
    found = sizes.Measured(200, 1, mean_s=0.5, p50_s=0.4, p95_s=1.0)
    told = sizes.advice(found, 20, max_concurrent=1, utilization=None)
    assert told.autoscale_target_utilization == 50
    assert "2.0 times" in told.reasons["autoscale_target_utilization"]
    asked = sizes.advice(found, 20, max_concurrent=1, utilization=0.8)
    assert asked.autoscale_target_utilization == 80


def test_a_single_request_is_its_own_percentile() -> None:
    assert sizes.summary([2.0], 1) == sizes.Measured(1, 1, 2.0, 2.0, 2.0)


def test_the_chart_grows_with_the_load() -> None:
    text = sizes.chart(20, 0.5, max_concurrent=1, utilization=0.7)
    bars = [line.count("█") for line in text.splitlines()[1:]]
    assert bars == sorted(bars)
    assert bars[-1] > 20
    assert any(line.split()[0] == "20" and line.split()[-1] == "15" for line in text.splitlines())


def test_measuring_a_service_prints_settings_and_a_chart(devkit: Type) -> None:  # noqa: F811
    assert devkit("debug", "--detach").code == 0
    done = devkit("replicas", "--rps", "20", "--measure", "-d", '{"data": 1}')
    assert done.code == 0, done.err
    for name in ("autoscale_min_replicas", "autoscale_max_replicas", "█", "p95", "mean"):
        assert name in done.out
    assert "10 s or 200 requests" in done.err
    made = devkit("replicas", "--rps", "20", "--measure", "-d", "{}", "--json")
    assert json.loads(made.out)["requests"] <= 200
    assert set(made.json["reasons"]) <= set(made.json)


def test_bad_numbers_reach_who_calls_the_formula() -> None:
    with pytest.raises(BadValue, match="70"):
        sizes.replicas(1, 1, max_concurrent=1, utilization=70)
