"""Step 4, use: how many replicas a service needs, by the guide's formula and a bounded load.

replicas = ceil(requests per second x seconds per request / utilization / requests per replica)
"""

from __future__ import annotations

import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from io import StringIO

from devkit.errors import BadValue, ServiceError
from devkit.request import Answer

# The default of AKS: what is left is for a burst, until more replicas are there.
UTILIZATION = 0.7
LEAST_UTILIZATION = 0.3
MOST_REQUESTS = 200
MOST_SECONDS = 10.0
MOST_CLIENTS = 64
_MOST = 1e9
# Of AKS, and of a managed endpoint.
_QUEUE_FULL = (503, 429)
_BARS = (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2)

Send = Callable[[], Answer]


@dataclass(frozen=True)
class Measured:
    """What a load showed; seconds per request."""

    requests: int
    clients: int
    mean_s: float
    p50_s: float
    p95_s: float


@dataclass(frozen=True)
class Advice:
    """Autoscaler settings, utilization in percent as AKS has it, and the reason of each."""

    autoscale_min_replicas: int
    autoscale_max_replicas: int
    autoscale_target_utilization: int
    reasons: dict[str, str]


def replicas(
    rps: float, seconds_per_request: float, *, max_concurrent: int, utilization: float
) -> int:
    """The guide's formula.

    Raises:
        BadValue: a number that cannot be.
    """
    for name, value in (("--rps", rps), ("--seconds-per-request", seconds_per_request)):
        if not 0 < value <= _MOST:
            raise BadValue(f"{name} has to be more than 0 and at most {_MOST:.0e}, not {value:g}.")
    if not 0 < utilization <= 1:
        hint = "70 % is 0.7." if 1 < utilization <= 100 else None
        raise BadValue(
            f"--target-utilization is a share above 0 and up to 1, not {utilization:g}.", hint=hint
        )
    if not 1 <= max_concurrent <= _MOST:
        raise BadValue(f"--max-concurrent has to be at least 1, not {max_concurrent}.")
    # Exact: 7 / 0.7 is 10.000000000000002 in floats, which would be 11 replicas.
    exact = _exact(rps) * _exact(seconds_per_request) / _exact(utilization) / max_concurrent
    return math.ceil(exact)


def formula(
    rps: float, seconds_per_request: float, *, max_concurrent: int, utilization: float
) -> str:
    """The same, as one reads it."""
    return f"{rps:g} rps x {shown(seconds_per_request)} / {utilization:g} / {max_concurrent}"


def measured(send: Send, *, clients: int, clock: Callable[[], float] = time.monotonic) -> Measured:
    """Send requests, `clients` at a time, each client the next one when it has its answer.

    It starts none after 10 s or 200 requests; those under way come to their end.

    Raises:
        ServiceError: an answer was an error; nothing more was sent.
    """
    _checked(send(), 0)  # not counted: the first one may warm caches
    load = _Load(send, clock() + MOST_SECONDS, clock)
    with ThreadPoolExecutor(clients) as pool:
        running = [pool.submit(load.run) for _ in range(clients)]
        try:
            for client in running:
                client.result()
        finally:
            # Ctrl-C, or an error: the other clients begin no more.
            load.stop()
    return summary(load.seconds, clients)


def summary(seconds: Sequence[float], clients: int) -> Measured:
    """Mean and percentiles of at least one request."""
    if len(seconds) > 1:
        cuts = statistics.quantiles(seconds, n=20, method="inclusive")
    else:
        cuts = [seconds[0]] * 19
    return Measured(len(seconds), clients, statistics.fmean(seconds), cuts[9], cuts[18])


def advice(
    found: Measured, rps: float, *, max_concurrent: int, utilization: float | None
) -> Advice:
    """Settings for a steady `rps`; None: the utilization that the measured spread allows."""
    target, why = (utilization, "as asked for") if utilization else _utilization(found)

    def needed(seconds: float) -> int:
        return replicas(rps, seconds, max_concurrent=max_concurrent, utilization=target)

    def said(seconds: float) -> str:
        return formula(rps, seconds, max_concurrent=max_concurrent, utilization=target)

    least = needed(found.mean_s)
    most = max(least, needed(found.p95_s))
    slow = "by p95: when all requests are as slow as the slowest 5 %"
    reasons = {
        "autoscale_min_replicas": f"{said(found.mean_s)}, by the mean",
        "autoscale_max_replicas": f"{said(found.p95_s)}, {slow}",
        "autoscale_target_utilization": why,
    }
    return Advice(least, most, round(target * 100), reasons)


def chart(
    rps: float, seconds: float, *, max_concurrent: int, utilization: float, width: int = 72
) -> str:
    """A bar of replicas for some loads around `rps`."""
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    rows = []
    for share in _BARS:
        load = rps * share
        count = replicas(load, seconds, max_concurrent=max_concurrent, utilization=utilization)
        rows.append((load, count))
    most = max(count for _, count in rows)
    table = Table("rps", "", "replicas", box=None, padding=(0, 1))
    for load, count in rows:
        table.add_row(f"{load:g}", Bar(most, 0, count, width=max(width - 30, 10)), str(count))
    out = StringIO()
    Console(file=out, width=width, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def shown(seconds: float) -> str:
    """Seconds as one reads them."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


class _Load:
    """What the clients share."""

    def __init__(self, send: Send, ends_at: float, clock: Callable[[], float]) -> None:
        self._send = send
        self._ends_at = ends_at
        self._clock = clock
        self._lock = threading.Lock()
        self._begun = 0
        self._is_stopped = False
        self.seconds: list[float] = []

    def run(self) -> None:
        """Be one client."""
        while self._may_begin():
            try:
                answer = self._send()
                _checked(answer, len(self.seconds))
            except BaseException:
                self.stop()
                raise
            self.seconds.append(answer.seconds)

    def stop(self) -> None:
        """Let nobody begin another request."""
        self._is_stopped = True

    def _may_begin(self) -> bool:
        with self._lock:
            is_first = self._begun == 0
            is_over = self._begun >= MOST_REQUESTS or self._clock() >= self._ends_at
            if self._is_stopped or (is_over and not is_first):
                return False
            self._begun += 1
            return True


def _checked(answer: Answer, count: int) -> None:
    if answer.ok:
        return
    hint = "`devkit invoke` with the same --data shows the answer."
    if answer.status in _QUEUE_FULL:
        hint = "The queue may be full: fewer --clients, or more runtime.workers."
    raise ServiceError(
        f"The measurement stopped after {count} requests: the service answered {answer.status}.",
        hint=hint,
    )


def _utilization(found: Measured) -> tuple[float, str]:
    """What leaves room for the slow requests, in steps of 5 %."""
    spread = found.mean_s / found.p95_s if found.p95_s else 1.0
    if spread >= UTILIZATION:
        left = round((1 - UTILIZATION) * 100)
        return UTILIZATION, f"AKS's default; {left} % is left for a burst"
    target = max(LEAST_UTILIZATION, math.floor(spread * 20) / 20)
    times = found.p95_s / found.mean_s
    return target, f"p95 is {times:.1f} times the mean: below AKS's 70, so that slow ones fit in"


def _exact(value: float) -> Fraction:
    return Fraction(repr(float(value)))
