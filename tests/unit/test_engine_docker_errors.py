"""The engine's words, as Docker 20.10 said them, and what becomes of them."""

from __future__ import annotations

import pytest
import requests
from docker.errors import APIError, DockerException, create_api_error_from_http_exception

from devkit.engines.docker_errors import translated
from devkit.errors import (
    ContainerMissing,
    DevkitError,
    EngineDenied,
    EngineError,
    ImageMissing,
    NameInUse,
    NoEngine,
    PortInUse,
    Unsupported,
)

ALLOCATED = (
    "driver failed programming external connectivity on endpoint iris (4b1f): "
    "Bind for 127.0.0.1:8000 failed: port is already allocated"
)
PROXY = (
    "driver failed programming external connectivity on endpoint iris (4b1f): Error starting "
    "userland proxy: listen tcp4 127.0.0.1:8000: bind: address already in use"
)
NAME = (
    'Conflict. The container name "/iris" is already in use by container "4b1fc0". '
    "You have to remove (or rename) that container to be able to reuse that name."
)

PODMAN_NAME = (
    'container create: creating container storage: the container name "iris-1" is already in use '
    "by 8191b4. You have to remove that container to be able to reuse that name: that name is "
    "already in use"
)


NO_GPU = 'could not select device driver "" with capabilities: [[gpu]]'


def answer(status: int, words: str) -> APIError:
    response = requests.Response()
    response.status_code = status
    response._content = words.encode()
    try:
        create_api_error_from_http_exception(requests.HTTPError(response=response))
    except APIError as error:
        return error
    raise AssertionError("the SDK raises")


@pytest.mark.parametrize(
    ("status", "words", "kind", "names"),
    [
        (500, ALLOCATED, PortInUse, "8000"),
        (500, PROXY, PortInUse, "8000"),
        (409, NAME, NameInUse, "iris"),
        (500, PODMAN_NAME, NameInUse, "iris-1"),
        (404, "No such image: debug:9", ImageMissing, "thing"),
        (404, "No such container: thing", ContainerMissing, "thing"),
        (500, "thing not found: layer not known", ContainerMissing, "thing"),
        (500, NO_GPU, Unsupported, "no GPUs"),
        (409, "Container 4b1f is not running", ContainerMissing, "not running"),
        (409, "Container 4b1f is paused, unpause the container", ContainerMissing, "paused"),
        (500, "container rootfs is marked read-only", Unsupported, "read-only"),
        (404, "network devkit-x not found", EngineError, "network devkit-x not found"),
        (500, "no space left on device", EngineError, "no space left on device"),
    ],
)
def test_a_refusal_becomes_its_own_error(
    status: int, words: str, kind: type[DevkitError], names: str
) -> None:
    error = answer(status, words)
    with pytest.raises(DevkitError, match=names) as raised, translated(endpoint="e", thing="thing"):
        raise error
    assert type(raised.value) is kind
    assert raised.value.__cause__ is error
    assert raised.value.hint


def unreachable(cause: OSError) -> DockerException:
    """As the SDK wraps it: requests' error around urllib3's around the system's."""
    inner = requests.ConnectionError("Connection aborted.", cause)
    return DockerException(f"Error while fetching server API version: {inner}", inner)


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        (PermissionError(13, "Permission denied"), EngineDenied),
        (FileNotFoundError(2, "No such file"), NoEngine),
        (ConnectionRefusedError(111, "refused"), NoEngine),
        (TimeoutError("timed out"), NoEngine),
    ],
)
def test_no_answer_says_whether_nobody_is_there_or_nobody_may(
    cause: OSError, kind: type[DevkitError]
) -> None:
    with pytest.raises(DevkitError, match=r"unix:///x") as raised, translated(endpoint="unix:///x"):
        raise unreachable(cause)
    assert type(raised.value) is kind
    assert raised.value.hint


def test_other_errors_pass() -> None:
    with pytest.raises(FileNotFoundError), translated(endpoint="e"):
        raise FileNotFoundError("a local file")
