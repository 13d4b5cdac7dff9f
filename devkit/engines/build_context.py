"""A build's context as a tar stream, made while it is sent: nothing is written to disk."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from devkit.engine import BuildSpec, ContextFile
from devkit.errors import BuildError

# The context holds none; a name that no COPY of a folder takes along.
DOCKERFILE = ".devkit.Dockerfile"

_CHUNK = 1 << 20
_END = b"\0" * (2 * tarfile.BLOCKSIZE)
# Contents given as bytes have no age; tools that pack files (zip) refuse years before 1980.
_TIMELESS = 1_577_836_800

_ARG = re.compile(r"^[ \t]*ARG[ \t]+(\w+)=(\S+)", re.IGNORECASE | re.MULTILINE)
_FROM = re.compile(
    r"^[ \t]*FROM[ \t]+(?:--platform=\S+[ \t]+)?(\S+)(?:[ \t]+AS[ \t]+(\S+))?",
    re.IGNORECASE | re.MULTILINE,
)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


def tar_stream(spec: BuildSpec, dockerfile: str) -> Iterator[bytes]:
    """Yield the context and the Dockerfile, under the name `DOCKERFILE`.

    Raises:
        BuildError: a file changed its size, or went, while it was read.
    """
    yield from _member(ContextFile(PurePosixPath(DOCKERFILE), dockerfile.encode()))
    for file in spec.context:
        yield from _member(file)
    yield _END


def base_images(dockerfile: str, args: Mapping[str, str]) -> tuple[str, ...]:
    """Return the images that a Dockerfile builds on, without its own stages and without scratch."""
    values = {**dict(_ARG.findall(dockerfile)), **args}
    stages, found = {"scratch"}, list[str]()
    for image, stage in _FROM.findall(dockerfile):
        name = _VARIABLE.sub(lambda match: values.get(match[1], match[0]), image.strip("\"'"))
        # What stays unresolved (as ${X:-y}) is left to the builder.
        if name not in stages and name not in found and "$" not in name:
            found.append(name)
        stages.add(stage or "scratch")
    return tuple(found)


def _member(file: ContextFile) -> Iterator[bytes]:
    header = tarfile.TarInfo(str(file.path))
    header.mode, header.mtime = file.mode, _TIMELESS
    if file.link is not None:
        header.type, header.linkname = tarfile.SYMTYPE, file.link
        yield header.tobuf(tarfile.PAX_FORMAT)
    elif isinstance(file.content, bytes):
        header.size = len(file.content)
        yield header.tobuf(tarfile.PAX_FORMAT)
        yield file.content + _padding(header.size)
    else:
        yield from _from_disk(file.content, header)


def _from_disk(path: Path, header: tarfile.TarInfo) -> Iterator[bytes]:
    try:
        with path.open("rb") as content:
            status = path.stat()
            header.size, header.mtime = status.st_size, status.st_mtime
            yield header.tobuf(tarfile.PAX_FORMAT)
            left = header.size
            while left:
                chunk = content.read(min(_CHUNK, left))
                if not chunk:
                    raise BuildError(
                        f"{path} became shorter while it was packaged.", hint="Package again."
                    )
                left -= len(chunk)
                yield chunk
    except OSError as error:
        raise BuildError(
            f"{path} cannot be packaged: {error.strerror}.",
            hint="Make it readable, or leave it out by a line in .dockerignore.",
        ) from error
    yield _padding(header.size)


def _padding(size: int) -> bytes:
    return b"\0" * (-size % tarfile.BLOCKSIZE)
