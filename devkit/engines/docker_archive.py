"""Files into and out of a container, as tar streams."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOENT
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from docker import APIClient
from docker.errors import APIError, NotFound

from devkit.errors import Unsupported


def put(
    client: APIClient, container: str, path: PurePosixPath, tar: BinaryIO, *, is_podman: bool
) -> None:
    """Unpack a tar stream below `path` in the container.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    with _path_errors(path):
        if is_podman:  # which would make it
            _require_folder(client, container, path)
        client.put_archive(container, str(path), tar)


def get(client: APIClient, container: str, path: PurePosixPath) -> Iterator[bytes]:
    """Return `path` of the container as a tar stream.

    Raises:
        FileNotFoundError: it is not there.
    """
    with _path_errors(path):
        chunks: Iterator[bytes] = client.get_archive(container, str(path))[0]
    return chunks


def _require_folder(client: Any, container: str, path: PurePosixPath) -> None:
    client.inspect_container(container)  # an answer without a body does not say what is missing
    url = client._url("/containers/{0}/archive", container)
    client._raise_for_status(client.head(url, params={"path": str(path)}, timeout=client.timeout))


@contextmanager
def _path_errors(path: PurePosixPath) -> Iterator[None]:
    try:
        yield
    except NotFound as error:
        if "no such container" in str(error.explanation).lower():
            raise
        raise FileNotFoundError(ENOENT, "not in the container", str(path)) from error
    except APIError as error:
        why = str(error.explanation)
        if why.endswith("not a directory"):  # Docker, where a folder on the way is a file
            raise FileNotFoundError(ENOENT, "not in the container", str(path)) from error
        if "too many links" in why:  # Docker 20.10, from 255 folders on
            short = f"{str(path)[:80]}..."
            raise Unsupported(
                f"The engine cannot read so many folders in one another: {short}",
                hint="Remove them in the container; `docker rm --force` removes it with them.",
            ) from error
        raise
