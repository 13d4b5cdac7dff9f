"""A service under test in a real container: packaged, started and edited as devkit does it."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from devkit import config, container, contract
from devkit.engine import Engine, Stream, Tag
from devkit.package import image
from devkit.run_spec import spec_of
from tests.running import HELPER, SCORE, Service, until

SOURCE = "svc"
# Saves as an editor in the container does: JSON lines of path and text, a line back for each.
_EDITOR = """
import json, os, sys
for line in sys.stdin:
    path, text = json.loads(line)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(path + ".tmp", path)
    print("saved", flush=True)
"""
# The test's own files go in before the runtime starts, without a build for each test.
_WAIT = (
    "sh",
    "-c",
    "until [ -e /tmp/go ]; do sleep 0.02; done; exec python /opt/devkit/devkit_runtime",
)


def packaged(engine: Engine, folder: Path, base: str) -> Tag:
    """Package a small service on `base`; nothing is built when the engine has the image."""
    source = folder / SOURCE
    source.mkdir()
    (source / "score.py").write_text(SCORE)
    (source / "helper.py").write_text(HELPER)
    workspace = config.load(source, overrides={"service": "runtime-test"})
    tag = Tag(f"devkit-test-runtime-{base.replace(':', '-').replace('/', '-')}", "1")
    image.package(engine, workspace, progress=lambda _: None, tag=str(tag), base=base)
    return tag


@contextmanager
def in_container(
    engine: Engine,
    tag: Tag,
    folder: Path,
    *,
    files: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    wait: bool = True,
    read_only: bool = False,
) -> Iterator[Service]:
    """Run a service in a container of `tag`; container and network are gone afterwards."""
    name = f"runtime-{os.getpid()}-{folder.parent.name[-12:].strip('-_').lower()}".replace("_", "-")
    overrides = {
        "service": name.rstrip("-")[:32].rstrip("-"),
        "ports.score": "auto",
        "ports.debug": "auto",
        "run.read_only": read_only,
    }
    workspace = config.load(_workspace(folder), overrides=overrides)
    spec = spec_of(workspace.config, tag, workspace_root=folder)
    inside = {"AZUREML_ENTRY_SCRIPT": f"{SOURCE}/score.py", "AZUREML_SOURCE_DIRECTORY": SOURCE}
    spec = replace(spec, env={**spec.env, **inside, **(env or {})})
    if not read_only:
        spec = replace(spec, command=_WAIT)
    try:
        started = container.start(engine, spec)
        texts = dict(files or {"score.py": SCORE, "helper.py": HELPER})
        if not read_only:
            engine.archive_in(started.id, contract.APP_ROOT, _tar(texts))
            engine.archive_in(started.id, PurePosixPath("/tmp"), _tar({"go": ""}, ""))
        with closing(engine.exec(started.id, ("python", "-c", _EDITOR))) as editor:
            service = _service(engine, started.id, folder, editor)
            service.texts.update(texts)
            if wait:
                until(lambda: _answers(service))
                service.settled()
            yield service
            for session in service.sessions:
                session.disconnect()
    finally:
        container.delete(engine, spec.name)


def _service(engine: Engine, container_id: str, folder: Path, editor: Stream) -> Service:
    running = engine.container(container_id)
    assert running is not None

    def write(name: str, text: str) -> None:
        path = str(contract.APP_ROOT / SOURCE / name)
        editor.write(json.dumps([path, text]).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"saved\n"):
            data = editor.read()
            assert data, editor.stderr().decode()
            answer += data
        service.texts[name] = text

    service = Service(
        root=folder,
        score_port=running.ports[contract.SCORE_PORT][1],
        debug_port=running.ports[contract.DEBUG_PORT][1],
        log=lambda: b"".join(engine.logs(container_id)).decode(),
        remote_source=str(contract.APP_ROOT / SOURCE),
        write=write,
    )
    return service


def _answers(service: Service) -> bool:
    try:
        service.ask("devkit/status")
    except Exception:  # noqa: BLE001 - not listening yet
        return False
    return True


def _workspace(folder: Path) -> Path:
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "score.py").write_text(SCORE)
    return workspace


def _tar(files: Mapping[str, str], below: str = SOURCE) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"{below}/{name}" if below else name)
            info.size = len(text.encode())
            info.uid = info.gid = contract.UID
            tar.addfile(info, io.BytesIO(text.encode()))
    buffer.seek(0)
    return buffer
