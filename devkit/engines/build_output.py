"""What a builder printed: the lines worth showing, and the error that a failed build means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from devkit.engine import Tag
from devkit.errors import BaseImageMissing, BuildError, PackageInstallFailed
from devkit.output import Detail

_TAIL = 15
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# BuildKit's plain progress: "#7 1.234 text", "#7 [2/5] RUN ...", "#7 DONE 0.1s".
_STEP = re.compile(r"^#\d+ (?:\d+\.\d+ ?)?")
_NOISE = re.compile(
    r"^(?:\s*--->.*|Removing intermediate container .*|DONE \d.*|CACHED|-+|\.\.\.|sha256:\S+ .*"
    r"|\[notice\].*|Looking in (?:indexes|links).*|building with .* instance .*|\[internal\] .*"
    r"|WARNING: Location .* is ignored: .*"
    r"|copy /context /|transferring .*|exporting .*|writing image .*|naming to .*|resolve .*)?$"
)

_OURS = re.compile(r"^devkit-error: (.+)$")
_OUR_HINT = re.compile(r"^devkit-error-hint: (.+)$")

_FOREIGN_PROGRAM = re.compile(r"exec format error", re.IGNORECASE)
_NO_PLATFORM = re.compile(
    r"operating system is not supported|unknown operating system or architecture"
    r"|no match for platform in manifest",
    re.IGNORECASE,
)
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|invalid peer certificate|certificate verify failed"
    r"|confirming the ssl certificate|UnknownIssuer",
    re.IGNORECASE,
)
_NO_NETWORK = re.compile(
    r"Temporary failure in name resolution|Temporary failure resolving|dns error"
    r"|Failed to establish a new connection|Network is unreachable|Could not connect to proxy"
    r"|tcp connect error|ProxyError",
    re.IGNORECASE,
)
_BASE = re.compile(
    r"(?:failed to resolve source metadata for|pull access denied for|manifest for)"
    r" (?:docker\.io/(?:library/)?)?([^\s,]+?):?(?:\s|,|$)"
)

# Words up to the end of a conclusion: requirements hold commas themselves.
_SAID = r"(?:(?!, we can conclude).)+?"
# Each with the requirement as group 1. Texts of uv 0.5 to 0.13 and pip 20 to 26, as they were seen.
_NOT_THERE = (
    re.compile(r"Because (.+?) was not found in the package registry"),
    re.compile(r"Because there (?:is|are) no versions? of (\S+?),? "),
    re.compile(r"No matching distribution found for (.+?)(?: \(from .*)?$", re.MULTILINE),
)
_CONFLICT = (
    re.compile(r"Cannot install (.+?) because these package versions have conflict"),
    re.compile(rf"Because you require ({_SAID} and {_SAID}), we can conclude"),
    re.compile(rf"you require ({_SAID}), we can conclude that your requirements are unsat"),
)
_UNREADABLE = (
    re.compile(r"Failed to parse: `([^`]+)`"),
    re.compile(r"Invalid requirement: ['\"](.+?)['\"]"),
)
_NOT_BUILT = (
    re.compile(r"Failed to (?:build|download and build|fetch|download)(?: and \w+)?:? `([^`]+)`"),
    re.compile(
        r"Failed to build installable wheels for some pyproject.toml based projects \(?(.+?)\)?$",
        re.M,
    ),
    re.compile(r"Failed to build ['\"](.+?)['\"] when"),
    re.compile(r"Failed building wheel for (\S+)"),
    re.compile(r"Could not build wheels for (\S+?),"),
)
_METADATA = re.compile(r"metadata-generation-failed|subprocess-exited-with-error")
_COLLECTING = re.compile(r"^Collecting (\S+)", re.MULTILINE)
# What shows it, why it failed, and what to do.
_PLATFORM = (
    (
        _FOREIGN_PROGRAM,
        "this engine cannot run programs of the image's platform",
        "Leave --platform out, or give the engine's machine qemu-user-static.",
    ),
    (
        _NO_PLATFORM,
        "this engine has no such platform",
        'Leave --platform out, or name one as in "linux/arm64".',
    ),
)
_UNREACHABLE = (
    (
        _CERTIFICATE,
        "the build does not trust the certificate of a server it loads from",
        "Name your network's authority in build.ca_certificates, or set SSL_CERT_FILE.",
    ),
    (
        _NO_NETWORK,
        "the build has no way to a server it loads from",
        "Set http_proxy and https_proxy, or PIP_INDEX_URL, as your network needs.",
    ),
)


def shown(line: str) -> Detail:
    """Return a builder's line as it is worth showing, "" when it is not."""
    text = _STEP.sub("", _ANSI.sub("", line)).rstrip()
    return Detail("" if _NOISE.match(text) else text)


def lines_of(pieces: Iterable[str]) -> Iterator[str]:
    """Cut pieces of output, which may end anywhere, into lines."""
    rest = ""
    for piece in pieces:
        *lines, rest = (rest + piece).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        yield from lines
    if rest:
        yield rest


def failure(output: Sequence[str], words: str, *, tag: Tag) -> BuildError:
    """Return the error that a failed build means.

    Args:
        output: what was shown, oldest first.
        words: the builder's own last words.
        tag: what was to be built.
    """
    text = "\n".join(output)
    return (
        _our_own(output)
        or _known(text + "\n" + words, tag, _PLATFORM)
        or _known(text, tag, _UNREACHABLE)
        or _package(text)
        or _base(text + "\n" + words)
        or BuildError(
            "\n  ".join([f"The image {tag} could not be built: {words}", *output[-_TAIL:]]),
            hint="The step above failed; `devkit package --print-dockerfile` shows all steps.",
        )
    )


def base_image_missing(
    name: str, words: str, *, wanted: str | None = None, here: str = ""
) -> BaseImageMissing:
    """Return the error for a base image that cannot be had; `here` is for another platform."""
    words = words.rstrip(".")
    if here:
        return BaseImageMissing(
            f"The base image {name} is on this engine for {here}, not for {wanted}, and cannot "
            f"be pulled: {words}.",
            hint="Leave --platform out, or name a base image for that platform: --base IMAGE.",
        )
    return BaseImageMissing(
        f"The base image {name} is not on this engine and cannot be pulled: {words}.",
        hint="`devkit base bootstrap` makes one from Debian packages; or set image.base.",
    )


def _our_own(output: Sequence[str]) -> BuildError | None:
    sentence = next((match[1] for line in output if (match := _OURS.match(line))), None)
    hint = next((match[1] for line in output if (match := _OUR_HINT.match(line))), None)
    return None if sentence is None else BuildError(sentence, hint=hint)


def _known(
    text: str, tag: Tag, reasons: Sequence[tuple[re.Pattern[str], str, str]]
) -> BuildError | None:
    """Return the error for the first of these reasons that the text shows."""
    for pattern, why, hint in reasons:
        if match := pattern.search(text):
            line = _line_around(text, match)
            return BuildError(f"The image {tag} could not be built: {why} ({line}).", hint=hint)
    return None


def _package(text: str) -> PackageInstallFailed | None:
    joined = re.sub(r"\s+", " ", text)
    if found := _last(_CONFLICT[:2], text, joined):
        return PackageInstallFailed(
            f"{found} cannot be installed together.{_reason(joined)}",
            hint="Loosen one of them in the environment file.",
        )
    if found := _last(_NOT_THERE, text, joined):
        return PackageInstallFailed(
            f"{found} could not be installed: the package index has none for this Python.",
            hint="Correct it in the environment file; `pip index versions NAME` lists all.",
        )
    if found := _last(_CONFLICT[2:], text, joined):
        return PackageInstallFailed(
            f"{found} could not be installed.{_reason(joined)}",
            hint="Loosen it, or what contradicts it, in the environment file.",
        )
    if found := _last(_UNREADABLE, text, joined):
        return PackageInstallFailed(
            f"{found!r} is not a requirement.", hint="Correct that line of the environment file."
        )
    found = _last(_NOT_BUILT, text, joined)
    if found is None and _METADATA.search(text):
        found = (_COLLECTING.findall(text) or [None])[-1]
    if found:
        return PackageInstallFailed(
            "\n  ".join(
                [
                    f"{found} could not be installed: it had to be built, and that failed.",
                    *text.splitlines()[-_TAIL:],
                ]
            ),
            hint="Take a version with a wheel for this Python, or put what it needs in image.apt.",
        )
    return None


def _base(text: str) -> BaseImageMissing | None:
    match = _BASE.search(text)
    return None if match is None else base_image_missing(match[1], _line_around(text, match))


def _last(patterns: Sequence[re.Pattern[str]], text: str, joined: str) -> str | None:
    """Find the last match in the text, or in the text as one line, since uv and pip wrap theirs."""
    for pattern in patterns:
        for where in (text, joined):
            if found := pattern.findall(where):
                return str(found[-1]).strip()
    return None


def _reason(joined: str) -> str:
    match = re.search(
        r"Because .+?we can conclude that your requirements are unsatisfiable", joined
    )
    return f" {match[0]}." if match else ""


def _line_around(text: str, match: re.Match[str]) -> str:
    start = text.rfind("\n", 0, match.start()) + 1
    return text[start:].partition("\n")[0].strip()[:200]
