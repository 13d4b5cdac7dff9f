"""The rows as a person reads them: one table per group, as each group ends."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from bench.row import Row, Sample

CAPTION = "median (worst of n); ratio: devkit / by hand, below 1 is less"


def table(title: str, rows: Sequence[Row]) -> Table:
    """The group's rows."""
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    made.add_column("what")
    for name in ("target", "devkit", "by hand", "ratio"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("by hand; notes", style="dim")
    for row in rows:
        made.add_row(*cells(row), style="yellow" if row.is_missed else "")
    return made


def cells(row: Row) -> tuple[str, ...]:
    """What each column says."""
    target = "" if row.limit is None else f"<= {number(row.limit)} {row.unit}"
    return (
        row.what,
        f"{target} MISSED" if row.is_missed else target,
        _text(row.devkit, row.unit),
        _text(row.by_hand, row.unit) if row.by_hand else "",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "; ".join(text for text in (row.hand, row.note) if text),
    )


def number(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def console() -> Console:
    """Where the tables go; a pipe gets lines that are wide enough for all columns."""
    made = Console()
    return made if made.is_terminal else Console(width=150)


def _text(sample: Sample, unit: str) -> str:
    text = f"{number(sample.median)} {unit}"
    if len(sample.values) == 1:
        return text
    return f"{text} ({number(sample.worst)} of {len(sample.values)})"
