"""Texts as uv 0.13, pip 23 to 26, BuildKit and the engine's own builder printed them."""

from __future__ import annotations

import pytest

from devkit.engine import Tag
from devkit.engines.build_output import failure, lines_of, shown
from devkit.errors import BaseImageMissing, BuildError, PackageInstallFailed
from devkit.output import Detail

TAG = Tag("debug", "1")


def failed(text: str, words: str = "the step returned a non-zero code: 1") -> BuildError:
    lines = [shown(line) for line in text.splitlines()]
    return failure([line for line in lines if line], words, tag=TAG)


PACKAGES = [
    (
        "uv: no such version",
        """error: No solution found when resolving dependencies
  cause: Because there is no version of numpy==99.9 and you require numpy==99.9, we can conclude \
that your requirements are unsatisfiable.""",
        "numpy==99.9 could not be installed",
    ),
    (
        "uv 0.5: the same, wrapped",
        """  × No solution found when resolving dependencies:
  ╰─▶ Because there is no version of numpy==99.9 and you require
      numpy==99.9, we can conclude that your requirements are
      unsatisfiable.""",
        "numpy==99.9 could not be installed",
    ),
    (
        "uv: no such package",
        """error: No solution found when resolving dependencies
  cause: Because nonsense was not found in the package registry and you require nonsense, \
we can conclude that your requirements are unsatisfiable.""",
        "nonsense could not be installed",
    ),
    (
        "uv: two of one",
        """error: No solution found when resolving dependencies
  cause: Because you require numpy==1.26.4 and numpy==2.0, we can conclude that your \
requirements are unsatisfiable.""",
        "numpy==1.26.4 and numpy==2.0 cannot be installed together",
    ),
    (
        "uv: a conflict further down",
        """  × No solution found when resolving dependencies:
  ╰─▶ Because pandas==1.1.0 depends on numpy<1.20 and you require numpy==2.0, we can
      conclude that pandas==1.1.0 cannot be used. And because you require pandas==1.1.0, we can
      conclude that your requirements are unsatisfiable.""",
        "pandas==1.1.0 could not be installed. Because pandas==1.1.0 depends on numpy<1.20",
    ),
    (
        "uv: not a requirement",
        """error: Failed to parse: `foo==`
  cause: Unexpected end of version specifier, expected version
         foo==
            ^^""",
        "'foo==' is not a requirement",
    ),
    (
        "uv: no wheel, and building fails",
        """error: Failed to build `pycurl==7.43.0.6`
  cause: The build backend returned an error
         FileNotFoundError: [Errno 2] No such file or directory: 'curl-config'""",
        "pycurl==7.43.0.6 could not be installed: it had to be built",
    ),
    (
        "pip: no such version",
        """ERROR: Could not find a version that satisfies the requirement numpy==99.9 (from: 1)
ERROR: No matching distribution found for numpy==99.9""",
        "numpy==99.9 could not be installed",
    ),
    (
        "pip: out of a file",
        "ERROR: No matching distribution found for numpy==99.9 (from -r requirements.txt (line 3))",
        "numpy==99.9 could not be installed",
    ),
    (
        "pip: a conflict",
        """ERROR: Cannot install numpy==1.26.4 and numpy==2.0 because these package versions have \
conflicting dependencies.
ERROR: ResolutionImpossible: for help visit ...""",
        "numpy==1.26.4 and numpy==2.0 cannot be installed together",
    ),
    (
        "pip: building its metadata fails",
        """Collecting wheel
Collecting numpy==1.19.0
      ModuleNotFoundError: No module named 'distutils.msvccompiler'
error: metadata-generation-failed""",
        "numpy==1.19.0 could not be installed: it had to be built",
    ),
    (
        "pip: building a wheel fails",
        """  ERROR: Failed building wheel for pycurl
ERROR: Failed to build installable wheels for some pyproject.toml based projects (pycurl)""",
        "pycurl could not be installed: it had to be built",
    ),
]


@pytest.mark.parametrize(
    ("text", "sentence"), [row[1:] for row in PACKAGES], ids=[r[0] for r in PACKAGES]
)
def test_the_failing_requirement_is_named_first(text: str, sentence: str) -> None:
    error = failed(text)
    assert isinstance(error, PackageInstallFailed)
    assert error.message.startswith(sentence)
    assert error.hint


def test_a_certificate_that_is_not_trusted_is_not_taken_for_a_missing_package() -> None:
    error = failed(
        """WARNING: Retrying ... SSLError(... CERTIFICATE_VERIFY_FAILED] certificate verify failed
ERROR: No matching distribution found for numpy"""
    )
    assert type(error) is BuildError
    assert "build.ca_certificates" in (error.hint or "")


def test_no_way_to_the_index_is_not_taken_for_a_missing_package() -> None:
    error = failed(
        """WARNING: Retrying ... Failed to establish a new connection: [Errno 111] refused
ERROR: No matching distribution found for numpy"""
    )
    assert type(error) is BuildError
    assert "proxy" in (error.hint or "")


@pytest.mark.parametrize(
    "words",
    [
        "pull access denied for nobody/base, repository does not exist or may require login",
        "nobody/base: failed to resolve source metadata for docker.io/nobody/base: dial: no host",
        "manifest for nobody/base not found: manifest unknown",
    ],
)
def test_a_base_image_that_the_builder_cannot_have_is_named(words: str) -> None:
    error = failed("", words)
    assert isinstance(error, BaseImageMissing)
    assert "The base image nobody/base " in error.message


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("operating system is not supported", "no such platform"),
        ("no match for platform in manifest sha256:0: not found", "no such platform"),
        ("exec /bin/sh: exec format error", "cannot run programs of the image's platform"),
    ],
)
def test_a_platform_that_the_engine_has_not_is_said(words: str, sentence: str) -> None:
    error = failed("Step 1/2 : FROM scratch", words)
    assert type(error) is BuildError
    assert sentence in error.message
    assert words in error.message
    assert "--platform" in (error.hint or "")


def test_devkits_own_sentences_in_the_output_are_the_message() -> None:
    error = failed("devkit-error: Vim is not to be had.\ndevkit-error-hint: Leave it out.\nnoise")
    assert (error.message, error.hint) == ("Vim is not to be had.", "Leave it out.")


def test_another_failure_shows_the_last_lines_and_no_more() -> None:
    error = failed("\n".join(f"line {number}" for number in range(100)), "code: 4")
    assert error.message.splitlines()[0] == "The image debug:1 could not be built: code: 4"
    assert [line.strip() for line in error.message.splitlines()[1:]] == [
        f"line {number}" for number in range(85, 100)
    ]


def test_a_builders_line_is_told_from_devkits_own() -> None:
    assert isinstance(shown("#7 [2/5] RUN pip install"), Detail)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("#7 1.234 Collecting numpy", "Collecting numpy"),
        ("#7 [2/5] RUN pip install", "[2/5] RUN pip install"),
        ("#7 DONE 0.5s", ""),
        ("#7 CACHED", ""),
        ("#7 ...", ""),
        ("#1 transferring context: 12B 0.1s done", ""),
        (" ---> 1234abcd", ""),
        (" ---> Running in 1234abcd", ""),
        ("Removing intermediate container 1234abcd", ""),
        ("\x1b[91merror: red\x1b[0m", "error: red"),
        ("    indented", "    indented"),
        ("", ""),
    ],
)
def test_lines_are_shown_without_the_builders_trappings(line: str, text: str) -> None:
    assert shown(line) == text


def test_pieces_become_lines_wherever_they_were_cut() -> None:
    assert list(lines_of(["on", "e\ntw", "o\r\n", "\n", "three\rfour"])) == [
        "one",
        "two",
        "",
        "three",
        "four",
    ]
