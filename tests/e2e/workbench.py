"""A window of VS Code: what a person does in it, and sees."""

from __future__ import annotations

from tests.e2e.browser import Page
from tests.e2e.trace import Trace, end_of_session, response, start_of_window

STOPPED_LINE = ".monaco-editor .debug-top-stack-frame-line"
PAUSED = ".debug-toolbar .codicon-debug-continue"
RUNNING = ".debug-toolbar .codicon-debug-pause"
TOOLBAR = ".debug-toolbar"
NOT_DEBUGGING = ".statusbar:not(.debugging)"
DIALOG = ".monaco-dialog-box"
QUICK_INPUT = ".quick-input-widget:not([style*='display: none'])"

# The line whose row is as high as the highlight: the editor numbers rows by their place only.
_STOPPED_AT = """() => {
    const mark = document.querySelector('.monaco-editor .debug-top-stack-frame-line');
    if (!mark) return null;
    const y = mark.getBoundingClientRect().top;
    for (const number of document.querySelectorAll('.monaco-editor .line-numbers'))
        if (Math.abs(number.getBoundingClientRect().top - y) < 3) return Number(number.innerText);
    return null;
}"""
# The middle of the gutter beside a line, where one clicks for a breakpoint.
_GUTTER = """(line) => {
    for (const number of document.querySelectorAll('.monaco-editor .line-numbers'))
        if (Number(number.innerText) === line) {
            const row = number.getBoundingClientRect();
            const gutter = number.closest('.margin').getBoundingClientRect();
            return [gutter.left + 10, row.top + row.height / 2];
        }
    return null;
}"""
# Whether there is a red dot beside a line; a grey or hollow one is another icon.
_BREAKPOINT = """(line) => {
    for (const dot of document.querySelectorAll('.monaco-editor .codicon-debug-breakpoint')) {
        const y = dot.getBoundingClientRect().top;
        for (const number of document.querySelectorAll('.monaco-editor .line-numbers'))
            if (Math.abs(number.getBoundingClientRect().top - y) < 10
                && Number(number.innerText) === line) return true;
    }
    return null;
}"""


class Workbench:
    """One window, opened on a folder."""

    def __init__(self, page: Page, url: str, trace: Trace) -> None:
        self.page = page
        self.trace = trace
        mark = trace.mark
        page.open(url)
        page.wait(".explorer-folders-view .monaco-list-row", "score.py")
        self._can_debug(mark)

    def open_file(self, name: str) -> None:
        self.page.press("Control+P")
        self.page.fill(f"{QUICK_INPUT} input.input", name)
        self.page.wait(f"{QUICK_INPUT} .monaco-list-row.focused", name)
        self.page.press("Enter")
        self.page.wait(f'.tab.active[data-resource-name="{name}"]')
        self.page.wait(".monaco-editor .line-numbers")

    def click_gutter(self, line: int) -> None:
        """Set a breakpoint, as with the mouse."""
        self.page.click_at(*self.page.value(_GUTTER, line))
        self.has_breakpoint(line)

    def has_breakpoint(self, line: int) -> None:
        """Wait until the gutter shows one there."""
        self.page.value(_BREAKPOINT, line)

    def run_command(self, title: str) -> None:
        """Take a command from the palette."""
        self.page.press("F1")
        self.page.fill(f"{QUICK_INPUT} input.input", f">{title}")
        self.page.wait(f"{QUICK_INPUT} .monaco-list-row.focused", title)
        self.page.press("Enter")

    def attach(self) -> None:
        """Press F5, and wait until the debugger has all breakpoints."""
        mark = self.trace.mark
        self.page.press("F5")
        self.trace.wait(response("configurationDone"), mark)
        self.trace.wait(response("attach"), mark)
        self.page.wait(RUNNING)

    def detach(self) -> None:
        """Press Shift+F5 once."""
        mark = self.trace.mark
        self.page.press("Shift+F5")
        self.trace.wait(end_of_session, mark)
        self.page.wait_gone(TOOLBAR)
        self.page.wait(NOT_DEBUGGING)

    def stopped_line(self) -> int:
        """Wait until a line is highlighted; return its number."""
        self.page.wait(STOPPED_LINE)
        self.page.wait(PAUSED)
        return int(self.page.value(_STOPPED_AT))

    def resume(self) -> None:
        """Press F5 where it means continue."""
        mark = self.trace.mark
        self.page.press("F5")
        self.trace.wait(response("continue"), mark)
        self.page.wait_gone(STOPPED_LINE)

    def variable(self, name: str) -> str:
        """Wait until Variables shows a value; return it."""
        self.page.wait(".debug-variables .monaco-list-row .expression .name", name)
        code = """(name) => {
            for (const row of document.querySelectorAll('.debug-variables .expression')) {
                const [label, value] = ['.name', '.value'].map(s => row.querySelector(s));
                if (label && value && label.innerText.replace(/[\\s:=]/g, '') === name
                    && value.innerText) return value.innerText;
            }
            return null;
        }"""
        return str(self.page.value(code, name))

    def show_debug_view(self) -> None:
        self.page.press("Control+Shift+D")
        self.page.wait(".debug-call-stack")

    def sessions(self) -> int:
        """How many sessions the icon of the debug view counts."""
        self.page.wait(".activitybar .action-item:has(.codicon-run-view-icon) .badge-content")
        (count,) = self.page.texts(
            ".activitybar .action-item:has(.codicon-run-view-icon) .badge-content"
        )
        return int(count)

    def call_stack(self) -> list[str]:
        """The rows of Call Stack."""
        return self.page.texts(".debug-call-stack .monaco-list-row")

    def stop_at_exceptions(self, name: str) -> None:
        """Tick a box under Breakpoints."""
        mark = self.trace.mark
        self.page.click(f".debug-breakpoints .monaco-list-row:has-text('{name}') input")
        self.trace.wait(response("setExceptionBreakpoints"), mark)

    def go_to_line(self, line: int) -> None:
        self.page.press("Control+G")
        self.page.fill(f"{QUICK_INPUT} input.input", f":{line}")
        self.page.wait(f"{QUICK_INPUT} .monaco-list-row", f"line {line}")
        self.page.press("Enter")
        self.page.wait(".statusbar-item", f"Ln {line},")

    def save(self) -> None:
        """Press Ctrl+S, and wait until the tab says that it is saved."""
        self.page.wait(".tab.active.dirty")
        self.page.press("Control+S")
        self.page.wait(".tab.active:not(.dirty)")

    def reload(self) -> None:
        """Reload the window, as the command does."""
        mark = self.trace.mark
        self.page.value("() => window.isOld = true")
        self.run_command("Developer: Reload Window")
        self.page.value("() => !window.isOld")
        self.page.wait(".monaco-editor .line-numbers")
        self._can_debug(mark)

    def _can_debug(self, mark: int) -> None:
        # Before, F5 does nothing: extensions come later than what is drawn.
        self.trace.wait(start_of_window, mark)
        self.page.wait(".statusbar-item", "devkit: attach")
