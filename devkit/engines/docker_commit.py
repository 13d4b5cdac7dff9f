"""An image out of the layers of one and the configuration of another, by Docker's `load`.

`docker commit` keeps every variable of a container, and no build takes one away again. What is
loaded has the configuration that its archive says; of layers that the engine has, it reads nothing,
so that the archive holds none of them, and loading takes some 50 ms. An engine that wants them all
the same gets what it saved itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from tempfile import TemporaryFile
from typing import IO, Any

from docker import APIClient
from docker.errors import APIError, NotFound

from devkit.engine import Tag
from devkit.engines.docker_build import inspect_image
from devkit.errors import EngineError

# What an image's configuration has of a container's.
_KEPT = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "StopSignal",
    "Healthcheck",
    "Shell",
)
_MANIFEST = "manifest.json"


def load(
    client: APIClient,
    files: str,
    *,
    like: str,
    tag: Tag,
    labels: Mapping[str, str],
    comment: str,
) -> None:
    """Make the image; see `Engine.image_like`."""
    image = inspect_image(client, files)
    config = _config(image, inspect_image(client, like), labels, _history(client, image, comment))
    layers = [f"{number}/layer.tar" for number in range(len(image["RootFS"]["Layers"]))]
    try:
        with io.BytesIO() as archive:
            _write(archive, tag, config, layers)
            _loaded(client, archive)
        inspect_image(client, str(tag))
    except (APIError, EngineError, NotFound):
        with TemporaryFile() as saved, TemporaryFile() as archive:
            saved.writelines(client.get_image(image["Id"]))
            _rewritten(saved, archive, tag, config)
            _loaded(client, archive)


def _config(
    files: Mapping[str, Any],
    like: Mapping[str, Any],
    labels: Mapping[str, str],
    history: list[Mapping[str, Any]],
) -> bytes:
    """Return an image's configuration as the OCI image specification has it."""
    kept = {name: like["Config"][name] for name in _KEPT if like["Config"].get(name)}
    text = {
        "architecture": files["Architecture"],
        "os": files["Os"],
        "created": files["Created"],
        "config": {**kept, "Labels": dict(labels)},
        "rootfs": {"type": "layers", "diff_ids": files["RootFS"]["Layers"]},
        "history": history,
    }
    return json.dumps(text).encode()


def _history(client: APIClient, image: Mapping[str, Any], comment: str) -> list[Mapping[str, Any]]:
    """Return how the layers came to be, the oldest first; one entry for each that is not empty."""
    layers = len(image["RootFS"]["Layers"])
    said = list(reversed(client.history(image["Id"])))  # type: ignore[no-untyped-call]
    history: list[dict[str, Any]] = [
        {"created_by": step.get("CreatedBy", ""), "comment": step.get("Comment", "")}
        | ({} if step.get("Size") else {"empty_layer": True})
        for step in said
    ]
    # A layer without a byte looks like none at all.
    if history and sum(1 for step in history if "empty_layer" not in step) == layers - 1:
        history[-1].pop("empty_layer", None)
    if sum(1 for step in history if "empty_layer" not in step) != layers:
        history = [{"created_by": ""} for _ in range(layers)]
    history[-1] |= {"created": image["Created"], "created_by": "devkit commit", "comment": comment}
    return list(history)


def _write(
    archive: IO[bytes],
    tag: Tag,
    config: bytes,
    layers: Iterable[str],
    contents: Iterable[tuple[tarfile.TarInfo, IO[bytes]]] = (),
) -> None:
    """Write what `load` takes: a manifest, the configuration, and those layers that are given."""
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [str(tag)], "Layers": list(layers)}]
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for member, content in ((name, config), (_MANIFEST, json.dumps(manifest).encode())):
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for info, layer in contents:
            tar.addfile(info, layer)
    archive.seek(0)


def _rewritten(saved: IO[bytes], archive: IO[bytes], tag: Tag, config: bytes) -> None:
    """Write an archive as one that was saved, but for the configuration."""
    saved.seek(0)
    with tarfile.open(fileobj=saved) as tar:
        manifest = tar.extractfile(_MANIFEST)
        if manifest is None:
            raise EngineError("The engine saved an image without a manifest.")
        layers = json.load(manifest)[0]["Layers"]
        _write(archive, tag, config, layers, _members(tar, layers))


def _members(
    tar: tarfile.TarFile, names: Iterable[str]
) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    for name in dict.fromkeys(names):
        content = tar.extractfile(name)  # also where it is a link to a layer that is the same
        if content is None:
            raise EngineError(f"The engine saved an image without its layer {name}.")
        info = tarfile.TarInfo(name)
        info.size = content.seek(0, io.SEEK_END)
        content.seek(0)
        yield info, content


def _loaded(client: APIClient, archive: IO[bytes]) -> None:
    for said in client.load_image(archive):  # type: ignore[no-untyped-call]
        if "error" in said:
            raise EngineError(f"The engine could not take the image: {said['error']}")
