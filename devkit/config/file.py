"""Step 0, configure: devkit.yaml as plain values, each with the line it stands on.

What is in the file is not trusted: plain scalars only, every size bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from devkit.errors import BadValue

Place = tuple[str | int, ...]

_MAX_BYTES = 256 * 1024
# Aliases are followed by copying, so that ten lines can stand for billions of values.
_MAX_VALUES = 10_000
_MAX_DEPTH = 20


@dataclass(frozen=True)
class Written:
    """What a configuration file says; `lines` has the line of each value, by its place."""

    name: str
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)

    def origin(self, place: Place) -> str:
        """Return "file:line" of a place, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return f"{self.name}:{self.lines.get(place, 1)}"


def read(path: Path) -> Written:
    """Read a configuration file.

    Raises:
        BadValue: it is not there, is not UTF-8, is not YAML, says a key twice, or is hostile.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        hint = "Name an existing file with -f, or write one with `devkit init`."
        raise BadValue(f"The configuration file {path} is not there.", hint=hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadValue(f"{path} cannot be read: {error}.", hint="Save it as UTF-8 text.") from error
    if len(data) > _MAX_BYTES:
        raise BadValue(f"{path.name} is larger than {_MAX_BYTES // 1024} KiB.", hint="Is it YAML?")
    return _Reader(path.name).read(text)


class _Loader(yaml.SafeLoader):
    """YAML's core schema: `off` is a word (a value of `reload`), not the boolean of YAML 1.1."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own attribute


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.lines: dict[Place, int] = {}

    def read(self, text: str) -> Written:
        try:
            value = self._root(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise self._bad(line, str(error.problem or error)) from error
        except RecursionError as error:
            raise self._bad(1, "it is nested too deeply") from error
        except (yaml.YAMLError, ValueError) as error:
            raise self._bad(1, str(error).splitlines()[0]) from error
        if not isinstance(value, dict):
            raise self._bad(1, 'it has to be a list of "key: value" lines')
        return Written(self.name, value, self.lines)

    def _root(self, text: str) -> Any:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            value = None if node is None else self._value(loader, node, ())
        finally:
            loader.dispose()
        return {} if value is None else value

    def _value(self, loader: _Loader, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        if len(self.lines) > _MAX_VALUES:
            raise self._bad(line, "it stands for too many values")
        if len(place) > _MAX_DEPTH:
            raise self._bad(line, "it is nested too deeply")
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(loader, node, place)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self._value(loader, item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return loader.construct_object(node)
        raise self._bad(line, f"the tag {node.tag} is not allowed")

    def _mapping(self, loader: _Loader, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._bad(line, "a key has to be a word")
            key = key_node.value
            if key in found:
                first = self.lines[(*place, key)]
                raise self._bad(line, f'"{key}" is there twice (first on line {first})')
            self.lines[(*place, key)] = line
            found[key] = self._value(loader, value_node, (*place, key))
        return found

    def _bad(self, line: int, problem: str) -> BadValue:
        return BadValue(
            f"{self.name}:{line}: {problem}.",
            hint="`devkit config schema` prints what the file may say.",
        )
