"""A real VS Code in a real browser: F5, the gutter, Ctrl+S and Shift+F5, as a person uses them.

launch.json and tasks.json are used as devkit wrote them. Only Microsoft's extension, which not
every machine can fetch, is stood in for (extension/).
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.e2e.service import Workspace
from tests.e2e.trace import end_of_session, response
from tests.e2e.workbench import DIALOG, Workbench

pytestmark = [
    pytest.mark.engine,
    pytest.mark.editor,
    # Installation and the first build take their own time.
    pytest.mark.timeout(120, func_only=True),
]

Window = Callable[[Workspace], Workbench]
TIMEOUT_S = 60
LAST = "return {"


def test_f5_alone_starts_the_service_and_attaches(workspace: Workspace, window: Window) -> None:
    editor = window(workspace)
    editor.open_file("score.py")
    editor.click_gutter(workspace.line(LAST))
    editor.attach()
    stops_and_answers(editor, workspace)


def test_a_breakpoint_set_in_the_gutter_stops_a_request_and_shows_its_values(
    running: Workspace, window: Window
) -> None:
    editor = window(running)
    editor.open_file("score.py")
    line = running.line(LAST)
    editor.click_gutter(line)
    editor.attach()
    answer = running.later()
    assert editor.stopped_line() == line
    assert "array([0, 2])" in editor.variable("label")
    assert not answer.done()
    editor.resume()
    assert json.loads(answer.result(TIMEOUT_S).text()) == {"species": ["setosa", "virginica"]}


def test_one_call_stack_row_and_one_shift_f5_detaches_and_f5_attaches_again(
    running: Workspace, window: Window
) -> None:
    editor = window(running)
    editor.open_file("score.py")
    editor.click_gutter(running.line(LAST))
    editor.attach()
    editor.show_debug_view()
    assert editor.sessions() == 1
    answer = running.later()
    editor.stopped_line()
    # VS Code draws a row for each program when there is more than one, above the frames.
    (row,) = editor.call_stack()
    assert row.split()[:2] == ["run", "score.py"]
    editor.resume()
    assert answer.result(TIMEOUT_S).status == 200
    editor.detach()
    assert running.ask().status == 200
    assert not running.is_attached()
    editor.attach()
    stops_and_answers(editor, running)


def test_a_saved_edit_is_served_and_stops_in_the_line_that_moved(
    workspace: Workspace, window: Window
) -> None:
    with workspace.followed():
        editor = window(workspace)
        editor.open_file("score.py")
        line = workspace.line(LAST)
        editor.click_gutter(line)
        editor.attach()
        attached = editor.trace.mark
        generation = workspace.generation()
        editor.go_to_line(1)
        editor.page.type("# One line above.\n# And another.\n")
        editor.go_to_line(workspace.line("data = json") + 2)
        editor.page.press("End")
        editor.page.type("\n    edited = 'served'")
        editor.save()
        workspace.loaded(generation + 1)
        assert workspace.line(LAST) == line + 3
        editor.has_breakpoint(line + 3)
        answer = workspace.later()
        assert editor.stopped_line() == line + 3
        assert "served" in editor.variable("edited")
        editor.resume()
        assert answer.result(TIMEOUT_S).status == 200
        assert workspace.is_attached()
        assert not editor.trace.has(end_of_session, attached)


def test_after_a_reload_of_the_window_f5_attaches_again(running: Workspace, window: Window) -> None:
    editor = window(running)
    editor.open_file("score.py")
    editor.click_gutter(running.line(LAST))
    editor.attach()
    editor.reload()
    assert running.ask().status == 200
    editor.attach()
    stops_and_answers(editor, running)


def test_a_second_window_is_told_who_is_attached(running: Workspace, window: Window) -> None:
    first, second = window(running), window(running)
    first.open_file("score.py")
    first.click_gutter(running.line(LAST))
    first.attach()
    mark = second.trace.mark
    second.page.press("F5")
    second.trace.wait(response("attach"), mark)
    second.page.wait(DIALOG, "code-server is already attached, since")
    stops_and_answers(first, running)


def test_user_uncaught_exceptions_stop_in_the_line_that_raises(
    running: Workspace, window: Window
) -> None:
    editor = window(running)
    editor.open_file("score.py")
    editor.attach()
    editor.show_debug_view()
    editor.stop_at_exceptions("User Uncaught Exceptions")
    answer = running.later(b'{"data": [[1, 2]]}')
    assert editor.stopped_line() == running.line("raise ValueError", "preprocess.py")
    editor.page.wait('.tab.active[data-resource-name="preprocess.py"]')
    editor.page.wait(".exception-widget", "each row needs 4 numbers")
    editor.resume()
    assert answer.result(TIMEOUT_S).status == 502


def stops_and_answers(editor: Workbench, service: Workspace) -> None:
    answer = service.later()
    assert editor.stopped_line() == service.line(LAST)
    editor.resume()
    assert answer.result(TIMEOUT_S).status == 200
