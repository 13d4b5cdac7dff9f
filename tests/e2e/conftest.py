"""Editor, browser and workspace of the tests here; all that starts is ended, also on failure."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, Page, browsing
from tests.e2e.code_server import CodeServer, serving
from tests.e2e.service import ROOT, TAG, Workspace
from tests.e2e.trace import Trace, tracing
from tests.e2e.workbench import Workbench

SCREENSHOTS = ROOT / ".cache" / "editor"
_FAILED = pytest.StashKey[bool]()
_NUMBERS = count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.excinfo is not None:
        item.stash[_FAILED] = True
    return report


@pytest.fixture(scope="session")
def trace() -> Iterator[Trace]:
    with tracing() as trace:
        yield trace


@pytest.fixture(scope="session")
def installed() -> Path:
    """Where editor and browser are; a minute the first time."""
    done = subprocess.run(
        [ROOT / "scripts" / "editor"], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return ROOT / ".cache" / "editor"


@pytest.fixture(scope="session")
def code_server(
    trace: Trace, installed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CodeServer]:
    folder = tmp_path_factory.mktemp("code-server")
    with serving(installed, folder, trace_port=trace.port) as server:
        yield server


@pytest.fixture(scope="session")
def browser(installed: Path) -> Iterator[Browser]:
    with browsing(installed / "node_modules" / "playwright-core") as browser:
        yield browser


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, base_image: str) -> Iterator[str]:
    """The base image; what the tests need is packaged from it once."""
    folder = tmp_path_factory.mktemp("image") / "iris"
    Workspace(folder, name="editor-image", base=base_image).devkit("package")
    yield base_image
    subprocess.run(["docker", "rmi", TAG], capture_output=True, check=False)


@pytest.fixture
def workspace(tmp_path: Path, image: str, code_server: CodeServer) -> Iterator[Workspace]:
    """A workspace with launch.json and tasks.json as devkit writes them; nothing runs."""
    with _deleted(tmp_path, image, code_server) as workspace:
        workspace.devkit("launch", "--write")
        yield workspace


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, image: str, code_server: CodeServer
) -> Iterator[Workspace]:
    """The service of `devkit debug --detach`, for tests that edit nothing."""
    with _deleted(tmp_path_factory.mktemp("running"), image, code_server) as workspace:
        workspace.devkit("debug", "--detach")
        yield workspace


@contextmanager
def _deleted(folder: Path, base: str, code_server: CodeServer) -> Iterator[Workspace]:
    """A workspace below `folder`, in the end without container, network and running task."""
    name = f"editor-{os.getpid()}-{next(_NUMBERS)}"
    workspace = Workspace(folder / "iris démo", name=name, base=base)
    try:
        yield workspace
    finally:
        code_server.end_tasks(workspace.folder)
        workspace.devkit("delete", "--yes")


@pytest.fixture
def window(
    request: pytest.FixtureRequest, browser: Browser, code_server: CodeServer, trace: Trace
) -> Iterator[Callable[[Workspace], Workbench]]:
    """Opens windows on a workspace; of a failed test, screenshots stay in .cache/editor."""
    pages: list[Page] = []

    def opened(workspace: Workspace) -> Workbench:
        pages.append(browser.page())
        if len(pages) == 1:
            pages[0].forget(code_server.origin)
        return Workbench(pages[-1], code_server.url(workspace.folder), trace)

    yield opened
    for number, page in enumerate(pages, 1):
        if request.node.stash.get(_FAILED, False):
            page.screenshot(SCREENSHOTS / f"{request.node.name}-{number}.png")
        page.close()
