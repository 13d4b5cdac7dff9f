"""The engine's own builder, and base images: had locally, or pulled."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO

from docker import APIClient
from docker.errors import APIError, NotFound
from docker.utils import parse_repository_tag

from devkit.engine import BuildSpec, Progress, Tag
from devkit.engines import build_output
from devkit.engines.build_context import DOCKERFILE, base_images, tar_stream
from devkit.errors import EngineError, SecretRefused

_KEPT_LINES = 400
_CHUNK = 1 << 20


def refuse_secrets(spec: BuildSpec) -> None:
    """Check that the engine's own builder can build it: it knows no secrets.

    Raises:
        SecretRefused: there is one.
    """
    if spec.secrets:
        raise SecretRefused(
            "The package index needs a password, and only BuildKit keeps it out of the image.",
            hint="Install docker-buildx, or use an index without a password.",
        )


def build(client: APIClient, spec: BuildSpec, *, progress: Progress) -> None:
    """Build an image with the engine's own builder.

    Raises:
        BuildError: or one of its kind, as the output says.
    """
    output: deque[str] = deque(maxlen=_KEPT_LINES)
    errors: list[str] = []
    # Closed in every case: that ends the connection, and so tells the engine to give up the build.
    with closing(_answers(client, spec)) as answers:
        for line in build_output.lines_of(_texts(answers, errors)):
            if text := build_output.shown(line):
                output.append(text)
                progress(text)
    if errors:
        raise build_output.failure(list(output), errors[-1], tag=spec.tag)


def ensure_bases(
    client: APIClient, spec: BuildSpec, dockerfile: str, *, progress: Progress
) -> None:
    """See that the engine has what a Dockerfile builds on; pull what is missing, all with `pull`.

    Raises:
        BaseImageMissing: neither here nor to be had.
    """
    for name in base_images(dockerfile, spec.args):
        here = _platform_here(client, name)
        if spec.pull or not here or not _fits(spec.platform, here):
            progress(f"Pulling {name}")
            try:
                _pull(client, name, spec.platform, progress)
            except APIError as error:
                words = str(error.explanation or error)
                wrong = here if spec.platform and not _fits(spec.platform, here) else ""
                raise build_output.base_image_missing(
                    name, words, wanted=spec.platform, here=wrong
                ) from error


def import_tar(client: APIClient, tar: BinaryIO, tag: Tag, labels: Mapping[str, str]) -> None:
    """Make an image out of a root file system's tar stream.

    Raises:
        EngineError: it is none.
    """
    changes = [f"LABEL {_quoted(name)}={_quoted(value)}" for name, value in labels.items()]
    answer = client.import_image_from_data(iter(lambda: tar.read(_CHUNK), b""), changes=changes)
    # The status was sent before the stream was read, so a failure comes in the text.
    last = json.loads(answer.splitlines()[-1])
    if "error" in last:
        raise EngineError(
            f"The engine could not import {tag}: {last['error']}",
            hint="It has to be a tar archive of a root file system: `tar -tf FILE` tells.",
        )
    # By itself: Podman 4 forgets a tag that comes with the import.
    client.tag(last["status"], tag.repository, tag.version)


def inspect_image(client: APIClient, name: str) -> Mapping[str, Any]:
    """Return what the engine says about an image."""
    return dict(client.inspect_image(name))  # type: ignore[no-untyped-call]  # the stubs miss it


def _platform_here(client: APIClient, name: str) -> str:
    """Return the platform of the image that the engine has, "" when it has none."""
    try:
        image = inspect_image(client, name)
    except NotFound:
        return ""
    return f"{image['Os']}/{image['Architecture']}"


def _fits(wanted: str | None, here: str) -> bool:
    # "linux/arm64/v8" and an image that says only "linux/arm64" go together.
    return wanted is None or wanted.split("/")[:2] == here.split("/")


def _pull(client: APIClient, name: str, platform: str | None, progress: Progress) -> None:
    repository, version = parse_repository_tag(name)
    seen: dict[str, str] = {}
    for answer in client.pull(
        repository, tag=version or "latest", platform=platform, stream=True, decode=True
    ):
        if "error" in answer:
            raise APIError(answer["error"], explanation=answer["error"])
        layer, status = answer.get("id", ""), answer.get("status", "")
        # Byte counts come many times a second; a line per change of state is enough.
        if seen.get(layer) != status:
            seen[layer] = status
            progress(f"{layer}: {status}" if layer else status)


def _answers(client: APIClient, spec: BuildSpec) -> Generator[dict[str, Any], None, None]:
    try:
        yield from client.build(
            fileobj=tar_stream(spec, spec.dockerfile),  # type: ignore[arg-type]  # sent as it comes
            custom_context=True,
            dockerfile=DOCKERFILE,
            tag=str(spec.tag),
            labels=dict(spec.labels),
            buildargs=dict(spec.args),
            platform=spec.platform,
            nocache=spec.no_cache,
            rm=True,
            forcerm=True,
            decode=True,
        )
    except APIError as error:
        if not error.is_client_error():
            raise
        # Refused before the first step: a Dockerfile that does not parse.
        raise build_output.failure([], str(error.explanation), tag=spec.tag) from error


def _texts(answers: Iterator[Mapping[str, Any]], errors: list[str]) -> Iterator[str]:
    for answer in answers:
        if "error" in answer:
            errors.append(str(answer["error"]).strip())
        elif "stream" in answer:
            yield str(answer["stream"])
        elif "status" in answer and "progressDetail" not in answer:
            yield f"{answer['status']}\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$") + '"'
