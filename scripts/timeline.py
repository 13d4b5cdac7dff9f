"""Steps with the time since the start beside them, each printed once it has been seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class NotSeen(Exception):
    """A step did not do what it should; the text says what was seen instead."""


class Timeline:
    """Prints each step once it has been seen, with the time since the start beside it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """A step under way; its line appears when it ends well."""
        step = Step()
        with self._console.status(f"[dim]{title} ...") as status:
            step.progress = lambda line: status.update(f"[dim]{title}: {escape(line[:90])}")
            yield step
        self.done(title, *step.details)

    def done(self, title: str, *details: str) -> None:
        """Print a step that was seen."""
        self._line("[green]✓[/green]", f"[bold]{title}[/bold]", details)

    def failed(self, sentence: str, hint: str | None = None) -> None:
        """Print what was not seen."""
        self._line("[red]✗[/red]", f"[red]{escape(sentence)}[/red]", (hint,) if hint else ())

    def _line(self, mark: str, title: str, details: tuple[str, ...]) -> None:
        at = time.monotonic() - self._started
        self._console.print(f"[dim]{at:7.1f} s[/dim]  {mark} {title}")
        for detail in details:
            self._console.print(f"             {escape(detail)}")


class Step:
    """What is seen during one step."""

    def __init__(self) -> None:
        self.details: list[str] = []
        self.progress: Callable[[str], None] = lambda _: None

    def saw(self, *details: str) -> None:
        """Note what was seen; shown below the step's line."""
        self.details.extend(details)
