"""Doctor: times as an engine writes them, which have nanoseconds."""

from __future__ import annotations

from datetime import datetime


def parsed(text: str) -> float | None:
    """Return Unix seconds; None for what is no time."""
    whole, point, rest = text.partition(".")
    zone = rest.lstrip("0123456789") if point else ""
    fraction = rest[: len(rest) - len(zone)]
    try:
        seconds = datetime.fromisoformat(f"{whole}{zone}").timestamp()
    except ValueError:
        return None
    return seconds + float(f"0.{fraction or 0}")
