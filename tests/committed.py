"""What tests of commits ask docker itself: what is in an image, and what runs from it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from tests.running import Service, free_port, until

Config = dict[str, Any]


def docker(*words: str, data: bytes | None = None) -> str:
    done = subprocess.run(["docker", *words], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def config(image: str) -> Config:
    """How an image starts; its labels apart."""
    found: Config = json.loads(docker("inspect", "--format", "{{json .Config}}", image))
    del found["Labels"]
    # What the engine makes up for each container.
    return {n: v for n, v in found.items() if n not in ("Hostname", "Image") and v}


def labels(image: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        docker("inspect", "--format", "{{json .Config.Labels}}", image)
    )
    return found


class Saved:
    """All that `docker save` gives of an image: `top` lists the files of its last layer."""

    def __init__(self, image: str, *secrets: str) -> None:
        self.top: list[str] = []
        self.top_bytes = 0
        self.found: set[str] = set()
        self._secrets = [secret.encode() for secret in secrets]
        last = _last_layer(image)
        command = ["docker", "save", image]
        with (
            subprocess.Popen(command, stdout=subprocess.PIPE) as saving,
            tarfile.open(fileobj=saving.stdout, mode="r|") as archive,
        ):
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    self._searched(content, is_top=member.name == last)
                    if member.name == last:
                        self.top_bytes = member.size
        assert saving.returncode == 0
        assert self.top, "the last layer was not found"

    def _searched(self, content: IO[bytes], *, is_top: bool) -> None:
        if is_top:
            text = content.read()
            self._look(text)
            with tarfile.open(fileobj=io.BytesIO(text)) as layer:
                self.top = layer.getnames()
            return
        rest = b""
        while block := content.read(1 << 20):
            self._look(rest + block)
            rest = block[-200:]

    def _look(self, text: bytes) -> None:
        self.found.update(secret.decode() for secret in self._secrets if secret in text)


def _last_layer(image: str) -> str:
    """The name that the last layer has in what `docker save` writes."""
    with (
        subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saving,
        tarfile.open(fileobj=saving.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.name == "manifest.json":
                content = archive.extractfile(member)
                assert content is not None
                return str(json.load(content)[0]["Layers"][-1])
    raise AssertionError("no manifest")


@contextmanager
def plain(image: str, source: str, *options: str) -> Iterator[Service]:
    """Run an image by plain `docker run`, as somebody without devkit does."""
    ports = free_port(), free_port()
    published = [f"127.0.0.1:{ports[0]}:5001", f"127.0.0.1:{ports[1]}:5678"]
    words = ["run", "--detach", "-p", published[0], "-p", published[1], *options, image]
    id_ = docker(*words)
    service = Service(
        root=Path("/"),
        score_port=ports[0],
        debug_port=ports[1],
        log=lambda: docker("logs", id_),
        remote_source=source,
        write=lambda _, __: None,
    )
    try:
        until(lambda: _answers(service, id_))
        service.settled()
        yield service
    finally:
        for session in service.sessions:
            session.disconnect()
        docker("rm", "--force", "--volumes", id_)


def _answers(service: Service, id_: str) -> bool:
    assert docker("inspect", "--format", "{{.State.Running}}", id_) == "true", service.log()
    with suppress(Exception):  # not listening yet
        return bool(service.ask("devkit/status"))
    return False


def tags(repository: str) -> set[str]:
    """The tags of a repository, and which image each one is."""
    shown = docker("images", "--no-trunc", repository, "--format", "{{.Tag}} {{.ID}}")
    return set(shown.splitlines())


def remove_images(repository: str) -> None:
    """Remove all tags of a repository, and what its builds left."""
    for tag in docker("images", repository, "--format", "{{.Repository}}:{{.Tag}}").split():
        docker("rmi", "--force", tag)


@contextmanager
def made(*words: str) -> Iterator[str]:
    """Make a container by `docker run --detach` or `docker create`; it is gone afterwards."""
    id_ = docker(*words)
    try:
        yield id_
    finally:
        docker("rm", "--force", "--volumes", id_)


def names(found: Sequence[Config]) -> dict[str, str]:
    """What a list of changes says: kind by path below the application root."""
    return {item["path"].removeprefix("/var/azureml-app/"): item["kind"] for item in found}
