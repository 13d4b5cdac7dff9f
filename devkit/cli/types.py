"""What an option's words are read as: a port, a variable, a platform, a time."""

from __future__ import annotations

import os
import re
from typing import Any

import click

# What Docker's official images and Debian have. Neither side can be asked: an engine takes any
# "linux/WORD" until it pulls the base (20.10), and buildx lists only what can run here (0.13).
_ARCHITECTURES = (
    *("386", "amd64", "arm", "arm64", "loong64"),
    *("mips64le", "ppc64le", "riscv64", "s390x"),
)
_OTHER_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


class Pair(click.ParamType[tuple[str, str]]):
    """Reads "NAME=value"; "NAME" alone takes the value that this shell has."""

    name = "NAME=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first "="."""
        name, equals, text = str(value).partition("=")
        if not name or (not equals and name not in os.environ):
            self.fail(f'{value!r} is not "NAME=value".', param, ctx)
        return name, text if equals else os.environ[name]


class Platform(click.ParamType[str]):
    """A platform as Docker names it: "linux/arm64", "linux/arm/v7"."""

    name = "OS/ARCH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that a Linux image can be for it, and say it in Docker's words."""
        if not re.fullmatch(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?", str(value)):
            self.fail(f'{value!r} is not a platform like "linux/arm64".', param, ctx)
        system, architecture, *variant = str(value).split("/")
        architecture = _OTHER_NAMES.get(architecture, architecture)
        if system != "linux" or architecture not in _ARCHITECTURES:
            known = ", ".join(f"linux/{name}" for name in _ARCHITECTURES)
            self.fail(f"{value!r} is no platform that an image can be for: {known}.", param, ctx)
        return "/".join([system, architecture, *variant])


class PortNumber(click.ParamType[int | str]):
    """A port number, or "auto" for a free one."""

    name = "PORT|auto"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Check the range."""
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or not 1 <= int(value) <= 65535:
            self.fail(f'{value!r} is neither a port (1 to 65535) nor "auto".', param, ctx)
        return int(value)


class Duration(click.ParamType[float]):
    """Reads "90s", "10m", "2h" or plain seconds, as seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Read a number and its unit."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", str(value))
        if not found:
            self.fail(f'{value!r} is not a time like "90s", "10m" or "2h".', param, ctx)
        return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
