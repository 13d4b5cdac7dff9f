"""Step 0, configure: what is wrong with a value, where, and what is allowed, in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from devkit.config.file import Place
from devkit.errors import BadValue, ConfigError, UnknownKey

# What a pattern means, in words.
_PATTERNS = {
    "service": "lower-case letters, digits and hyphens, a letter first, 2 to 32 of them",
    "name": "letters, digits, hyphens, dots and underscores, a letter or digit first",
    "memory": 'a number with b, k, m or g, as in "2g"',
}
# Fewer letters begin too much.
_SHORTEST = 3
# By pydantic's kind of error, or its first word.
_ALLOWED = {
    "greater_than_equal": "a number from {ge} on",
    "greater_than": "a number greater than {gt}",
    "less_than_equal": "a number up to {le}",
    "tuple": 'a list, as in "[a, b]"',
    "model": 'lines of "key: value"',
    "dict": 'lines of "key: value"',
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
}


def problem(
    error: ValidationError,
    model: type[BaseModel],
    values: Mapping[str, Any],
    origin: Callable[[Place], str],
) -> ConfigError:
    """Return the first thing wrong in `values`; `origin` says where a place's value is from."""
    details = error.errors(include_url=False)
    places = [_trimmed(values, tuple(detail["loc"])) for detail in details]
    unknown = [i for i, detail in enumerate(details) if detail["type"] == "extra_forbidden"]
    first = places[unknown[0] if unknown else 0]
    if unknown:
        return _unknown(first, model, origin)
    # A union complains once per member: all of them are what is allowed.
    same = [detail for detail, place in zip(details, places, strict=True) if place == first]
    if same[0]["type"] == "missing":
        *around, key = first
        where = _dotted(tuple(around)) or "the configuration"
        return BadValue(f'{origin(first)}: {where} has no "{key}".', hint=f'Add "{key}: ...".')
    allowed = " or ".join(dict.fromkeys(_allowed(detail, first) for detail in same))
    value = _shown(same[0]["input"])
    return BadValue(f"{origin(first)}: {_dotted(first)} is {value}.", hint=f"Allowed: {allowed}.")


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that `word` was probably meant to be."""
    words = list(known)
    # "source" is short for source_directory, and no misspelt "service".
    begun = [name for name in words if len(word) >= _SHORTEST and name.startswith(word)]
    return next(iter(begun or get_close_matches(word, words, n=1, cutoff=0.6)), None)


def _unknown(place: Place, model: type[BaseModel], origin: Callable[[Place], str]) -> ConfigError:
    siblings = _fields(model, place[:-1])
    guess = nearest(str(place[-1]), siblings)
    where = f" in {_dotted(place[:-1])}" if place[:-1] else ""
    hint = f'Did you mean "{guess}"?' if guess else f"Known{where}: {', '.join(sorted(siblings))}."
    return UnknownKey(f'{origin(place)}: the key "{place[-1]}"{where} is not known.', hint=hint)


def _trimmed(values: object, place: Place) -> Place:
    """Leave out what pydantic adds to a place: the name of a union's member."""
    depth = 0
    for step in place:
        if isinstance(values, Mapping):
            values = values.get(step)
        elif isinstance(values, list | tuple) and isinstance(step, int):
            values = values[step]
        else:
            break
        depth += 1
    return place[:depth]


def _fields(model: type[BaseModel], place: Place) -> Mapping[str, Any]:
    """Return the fields of the section at a place; none where there is no section."""
    current: type[BaseModel] | None = model
    for step in place:
        if isinstance(step, int):
            continue
        field = current.model_fields.get(step) if current else None
        current = _section(field.annotation) if field else None
    return current.model_fields if current else {}


def _section(annotation: Any) -> type[BaseModel] | None:
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _allowed(detail: Mapping[str, Any], place: Place) -> str:
    kind, context = str(detail["type"]), detail.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(place[-1]), f"text that matches {context['pattern']}")
    if kind == "literal_error":
        return str(context["expected"]).replace("'", '"')
    said = _ALLOWED.get(kind) or _ALLOWED.get(kind.split("_")[0])
    return said.format(**context) if said else str(detail["msg"])


def _dotted(place: Place) -> str:
    text = ".".join(f"[{step}]" if isinstance(step, int) else step for step in place)
    return text.replace(".[", "[")


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a group of keys"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f'"{text[:60]}..."' if len(text) > 60 else f'"{text}"'
