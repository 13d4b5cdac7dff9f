"""The figures: samples of one thing, and the row that compares two of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """What was measured, in the row's unit; one value or one per repetition."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def worst(self) -> float:
        return max(self.values)

    def of_hundred(self, number: int) -> float:
        """As fast or faster were so many of a hundred."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, len(ordered) * number // 100)]


@dataclass(frozen=True)
class Row:
    """One thing, measured with devkit and by hand; `limit` is the target for the median."""

    what: str
    unit: str
    devkit: Sample
    by_hand: Sample | None = None
    hand: str = ""
    limit: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """devkit over by hand; None where there is nothing to compare with."""
        if self.by_hand is None or not self.by_hand.median:
            return None
        return self.devkit.median / self.by_hand.median

    @property
    def is_missed(self) -> bool:
        return self.limit is not None and self.devkit.median > self.limit

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "unit": self.unit,
            "target": self.limit,
            "missed": self.is_missed,
            "devkit": _as_json(self.devkit),
            "by_hand": _as_json(self.by_hand),
            "hand": self.hand,
            "ratio": None if self.ratio is None else round(self.ratio, 3),
            "note": self.note,
        }


def one(value: float) -> Sample:
    return Sample((value,))


def seconds(times: int, action: Callable[[], object]) -> Sample:
    """Do it that often; how long each took."""
    return Sample(tuple(_elapsed(action) for _ in range(times)))


def milliseconds(times: int, action: Callable[[], object]) -> Sample:
    """As `seconds`."""
    return Sample(tuple(value * 1000 for value in seconds(times, action).values))


def _elapsed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def _as_json(sample: Sample | None) -> dict[str, Any] | None:
    if sample is None:
        return None
    return {
        "median": round(sample.median, 4),
        "worst": round(sample.worst, 4),
        "times": len(sample.values),
    }
