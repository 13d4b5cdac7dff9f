"""A real browser, driven by playwright-core in browser.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.e2e.owned import ended

# A busy machine draws slowly; what does not come in this time does not come.
TIMEOUT_S = 30


class Browser:
    """The browser's process; one call at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = count(1)
        self._calls = count(1)

    def page(self) -> Page:
        """An empty page."""
        page = Page(self, next(self._numbers))
        page.call("page", timeout_ms=TIMEOUT_S * 1000)
        return page

    def call(self, **words: Any) -> Any:
        """Have one thing done.

        Raises:
            AssertionError: it could not be done in time.
        """
        assert self._process.stdin
        number = next(self._calls)
        self._process.stdin.write(json.dumps({"number": number, **words}) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        # A call that pytest cut short is answered later.
        while answer["number"] != number:
            answer = self._answer()
        assert "error" not in answer, f"{words}: {answer['error']}"
        return answer["value"]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the browser is gone"
        answer: dict[str, Any] = json.loads(line)
        return answer


class Page:
    """One page; selectors are CSS, `text` narrows them to elements that contain it."""

    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self._number = number

    def call(self, operation: str, **words: Any) -> Any:
        """Do what browser.js calls `operation`."""
        said = {key: value for key, value in words.items() if value is not None}
        return self._browser.call(operation=operation, page=self._number, **said)

    def open(self, url: str) -> None:
        self.call("open", url=url)

    def forget(self, origin: str) -> None:
        """Forget what the pages of an address remember."""
        self.call("forget", origin=origin)

    def wait(self, selector: str, text: str | None = None) -> None:
        """Wait until it is seen."""
        self.call("wait", selector=selector, text=text, state="visible")

    def wait_gone(self, selector: str, text: str | None = None) -> None:
        """Wait until it is not seen."""
        self.call("wait", selector=selector, text=text, state="hidden")

    def click(self, selector: str, text: str | None = None) -> None:
        self.call("click", selector=selector, text=text)

    def click_at(self, x: float, y: float) -> None:
        self.call("mouse", x=x, y=y)

    def fill(self, selector: str, value: str) -> None:
        self.call("fill", selector=selector, value=value)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.call("press", keys=key)

    def type(self, text: str) -> None:
        self.call("type", value=text)

    def texts(self, selector: str) -> list[str]:
        """The texts of all such elements, as they are now."""
        found: list[str] = self.call("texts", selector=selector)
        return found

    def value(self, code: str, argument: Any = None) -> Any:
        """Wait until a JavaScript function gives something; return that."""
        return self._browser.call(
            operation="value", page=self._number, code=code, argument=argument
        )

    def screenshot(self, path: Path) -> None:
        self.call("screenshot", path=str(path))

    def close(self) -> None:
        self.call("close")


@contextmanager
def browsing(playwright: Path) -> Iterator[Browser]:
    """Run a headless browser."""
    chromium = shutil.which("chromium")
    assert chromium, "chromium is missing: scripts/editor installs it"
    process = subprocess.Popen(
        ["node", str(Path(__file__).with_suffix(".js")), str(playwright), chromium],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    with ended(process):
        yield Browser(process)
