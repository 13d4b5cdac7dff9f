"""Doctor: secrets and names of this user taken out of what goes into a bug report. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from devkit.runtime.secret_names import MASK, is_secret

# Below such a key all values are whatever somebody chose to hand in.
_VALUES_OF = {"env", "environment", "args", "envvars", "build-args"}
# A short one is in many words.
_SHORTEST_SECRET = 4
_SHORTEST_NUMBER = 6
_PLAIN = {"true", "false", "none", "null"}

_PASSWORD_IN_URL = re.compile(r"(?<=://)[^\s/@\"']+(?=@)")
_QUERY = re.compile(r"(?i)([?&](?:sig|token|key|password|secret|code)=)[^&\s\"']+")
_HEADER = re.compile(
    r"(?i)\b((?:proxy-)?authorization|cookie|set-cookie|x-[\w-]*(?:auth|token|key)[\w-]*)"
    r"([\"']?\s*[:=]\s*)([\"'])?(?(3)(?:(?!\3).)*|[^\r\n,}]*)"
)
_NAMED = re.compile(
    r"(?P<name>[A-Za-z_][\w.-]{0,100})(?P<sign>\\?[\"']?\s*[:=]\s*)"
    # JSON within JSON has its quotes escaped.
    r"(?P<value>\\\"(?:(?!\\\").)*\\\"|\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s,;&\"'}\])]+)"
)
_OPTION = re.compile(r"(?P<name>--?[A-Za-z][\w-]*)(?P<sign>\s+)(?P<value>[^\s-]\S*)")
_KNOWN = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}|\bgh[pousr]_\w{20,}|\bgithub_pat_\w+|\bAKIA[A-Z0-9]{16}\b"
    r"|\bxox[abp]-[\w-]+|\beyJ[\w-]+\.eyJ[\w-]+(?:\.[\w-]*)?"
    r"|(?<=AccountKey=)[^;\s\"']+|(?<=SharedAccessKey=)[^;\s\"']+",
    re.DOTALL,
)


class Masker:
    """Masks texts and JSON values; `secrets` are values that are known not to be shown."""

    def __init__(self, secrets: Collection[str] = (), *, home: Path | None = None) -> None:
        wanted = filter(_is_telling, secrets)
        # The longest first: another may be a part of it.
        found = sorted(map(re.escape, wanted), key=len, reverse=True)
        self._secrets = re.compile("|".join(found)) if found else None
        folder = str(home or Path.home())
        self._home = re.compile(rf"{re.escape(folder)}(?![\w.-])") if len(folder) > 1 else None

    def text(self, text: str) -> str:
        """Mask a text; what is none comes back as it was."""
        if self._secrets:
            text = self._secrets.sub(MASK, text)
        text = _KNOWN.sub(MASK, text)
        text = _PASSWORD_IN_URL.sub(MASK, text)
        text = _QUERY.sub(rf"\g<1>{MASK}", text)
        text = _HEADER.sub(lambda m: f"{m[1]}{m[2]}{m[3] or ''}{MASK}", text)
        text = _NAMED.sub(_named, text)
        text = _OPTION.sub(_named, text)
        return self._home.sub("~", text) if self._home else text

    def value(self, value: Any, *, hides: bool = False) -> Any:
        """Mask a JSON value; `hides`: all texts in it, but for the names of "NAME=value"."""
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASK
                if is_secret(str(key)) and inner not in (None, "", [], {})
                else self.value(inner, hides=hides or _is_handed_in(str(key), inner))
                for key, inner in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(inner, hides=hides) for inner in value]
        if not isinstance(value, str):
            return MASK if hides and value is not None else value
        if hides:
            name, equals, _ = value.partition("=")
            return f"{name}={MASK}" if equals else MASK
        return self.text(value)


def handed_in(value: Any) -> Iterator[str]:
    """Find what somebody chose to hand in: the values of variables, and of options named so."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, Mapping) and _is_handed_in(str(key), inner):
                yield from (text for text in inner.values() if isinstance(text, str))
            else:
                yield from handed_in(inner)
    elif isinstance(value, list | tuple):
        for option, text in pairwise(value):
            if isinstance(option, str) and isinstance(text, str) and is_secret(option):
                yield text
        for inner in value:
            yield from handed_in(inner)


def _is_handed_in(key: str, inner: Any) -> bool:
    """Whether these are values of variables; `environment` of devkit.yaml is a file's name."""
    return key.lower() in _VALUES_OF and isinstance(inner, Mapping | list | tuple)


def _is_telling(secret: str) -> bool:
    """Whether a value stands for itself only; "true" and 8000 are in many lines that matter."""
    is_plain = secret.lower() in _PLAIN or (secret.isdigit() and len(secret) < _SHORTEST_NUMBER)
    return len(secret) >= _SHORTEST_SECRET and not is_plain and not secret.startswith("${")


def _named(match: re.Match[str]) -> str:
    if not is_secret(match["name"]) or match["value"] == MASK:
        return match[0]
    opened = re.match(r"\\?[\"']", match["value"])
    quote = opened[0] if opened else ""
    return f"{match['name']}{match['sign']}{quote}{MASK}{quote}"
