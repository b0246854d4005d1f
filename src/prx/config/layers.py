"""The sources of values, in rising order: file, environment, command line. Each knows the place of each of its values.

A value is known by its path in a file. The environment and the command line speak of one tunnel without naming it: they mean
`[tunnel]`, or if the file has no such table, its only `[tunnels.NAME]`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prx.config.checker import SchemaError, read
from prx.config.checks import TUNNEL_NAME
from prx.config.expand import expand, holds_reference, map_strings, strings
from prx.config.keys import dotted, find_key, keys_of
from prx.config.messages import explain, kind_of, shown
from prx.config.origins import COMMAND_LINE, Origin, Problem
from prx.config.positions import KeyPath
from prx.config.schema import ConfigFile
from prx.config.source import Source
from prx.config.toml_text import key_text
from prx.core.parsing import parse_toml

STORE_PREFIX: Final = "secret:"
_DEBUG: Final = "DEBUG_INVOCATION"  # systemd sets it for a start after a failure, if the unit asks for that (systemd.exec(5))


@dataclass(slots=True)
class Layer:
    """Values by path, and where each stands.

    written: the values as they stand in the source, for messages. tables: those that are opened, which may be empty, in
    the order of the source.
    problems: the mistakes so far; bad: the keys and tables that they are about, whose values are dropped. sound: what all
    values together stand for, if they were checked as they are.
    """

    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    values: dict[KeyPath, Any] = field(default_factory=dict)
    written: dict[KeyPath, Any] = field(default_factory=dict)
    tables: dict[KeyPath, None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bad: set[KeyPath] = field(default_factory=set)
    sound: ConfigFile | None = None

    def add(self, path: KeyPath, value: Any, origin: Origin) -> None:
        """Set a value."""
        self.values[path] = self.written[path] = value
        self.origins[path] = origin
        self.sound = None

    def origin_of(self, path: KeyPath) -> Origin:
        """Return the place of a value or table, or of the nearest table around it."""
        return next(self.origins[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.origins)

    def reject(self, path: KeyPath, text: str) -> None:
        """Note a mistake, and drop the value that holds it."""
        self.problems.append(Problem(self.origin_of(path), dotted(path), text))
        self.drop(path)

    def drop(self, path: KeyPath) -> None:
        """Forget a value (also that around an element of a list), or a whole table."""
        key = find_key(path)
        path = key.path if key else path
        self.sound = None
        self.bad.add(path)
        if path in self.values:  # nothing else is in it, and a file may hold thousands of mistakes
            del self.values[path]
            return
        for known in [known for known in self.values if known[: len(path)] == path]:
            del self.values[known]
        self.tables = {known: None for known in self.tables if known[: len(path)] != path}

    def check(self, waiting: Mapping[KeyPath, Any]) -> None:
        """Reject every value that the schema does not allow; those in `waiting` are not known yet and are passed over."""
        settled = {path: value for path, value in self.values.items() if path not in waiting}
        try:
            found = read(ConfigFile, nested(settled, self.tables))
        except SchemaError as error:
            for mistake in error.mistakes:
                self.reject(mistake.path, explain(mistake, self._written_at(mistake.path, mistake.found)))
        else:
            self.sound = None if waiting else found

    def forget(self, path: KeyPath) -> None:
        """Leave out a value, as if nothing had been said."""
        del self.values[path]
        self.sound = None

    def change(self, path: KeyPath, value: Any) -> None:
        """Put another value in the place of one."""
        self.values[path], self.sound = value, None

    def references(self) -> dict[KeyPath, Any]:
        """Return the values that hold `secret:NAME` in a key that is not a secret itself, as they stand in the source."""
        return {path: self.written[path] for path, value in self.values.items() if _is_waiting(path, value)}

    def _written_at(self, path: KeyPath, found: Any) -> Any:
        for end in range(len(path), 0, -1):
            if path[:end] in self.written:
                value = self.written[path[:end]]
                for part in path[end:]:
                    value = value[part]
                return value
        return found


def file_layer(source: Source, environ: Mapping[str, str]) -> Layer:
    """Return the values of a file with `${VAR}` replaced."""
    place = str(source.path)
    layer = Layer({(): Origin("file", place), **{path: Origin("file", place, line) for path, line in source.lines.items()}})
    for path, value in _leaves(source.data, layer.tables):
        layer.values[path] = layer.written[path] = value
    for path in list(layer.values):
        _expand(layer, path, environ)
    return layer


def environment_layer(environ: Mapping[str, str], source: Source) -> Layer:
    """Return the values of the variables that the schema names; an empty variable counts as not set."""
    layer = Layer()
    for key in keys_of():
        value = environ.get(key.env, "") if key.env else ""
        if not value:
            continue
        origin = Origin("environment", key.env)
        path = _target(layer, key.path, source, origin)
        if path:
            layer.add(path, value.strip().lower() if key.choices else value, origin)
    if environ.get(_DEBUG) == "1" and ("log_level",) not in layer.values:
        layer.add(("log_level",), "debug", Origin("environment", _DEBUG))
    _watch_only(layer)
    return layer


def command_line_layer(overrides: Mapping[str, Any], source: Source) -> Layer:
    """Return the values given on the command line, by dotted name such as `tunnel.local_addr`."""
    layer = Layer()
    for name, value in overrides.items():
        path = _target(layer, tuple(name.split(".")), source, COMMAND_LINE)
        if path:
            layer.add(path, value, COMMAND_LINE)
    return layer


def merge(layers: Sequence[Layer]) -> Layer:
    """Return the values of all layers; a later one wins."""
    merged = Layer()
    saying = [layer for layer in layers if layer.values or layer.tables]
    merged.sound = saying[0].sound if len(saying) == 1 else None
    for layer in layers:
        merged.origins |= layer.origins
        merged.values |= layer.values
        merged.written |= layer.written
        merged.tables |= layer.tables
        merged.problems += layer.problems
        merged.bad |= layer.bad
    return merged


def nested(values: Mapping[KeyPath, Any], tables: Iterable[KeyPath]) -> dict[str, Any]:
    """Return values by path as tables in tables."""
    tree: dict[str, Any] = {}
    for path in tables:
        _table(tree, path)
    for path, value in values.items():
        _table(tree, path[:-1])[str(path[-1])] = value
    return tree


def _table(tree: dict[str, Any], path: KeyPath) -> dict[str, Any]:
    for part in path:
        tree = tree.setdefault(str(part), {})
    return tree


def _leaves(table: Mapping[str, Any], tables: dict[KeyPath, None], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    for name, value in table.items():
        path = (*prefix, name)
        if isinstance(value, Mapping) and find_key(path) is None:
            tables[path] = None
            yield from _leaves(value, tables, path)
        else:
            yield path, value


def _expand(layer: Layer, path: KeyPath, environ: Mapping[str, str]) -> None:
    mistakes: list[tuple[KeyPath, str]] = []

    def replace(inner: KeyPath, text: str) -> str:
        try:
            return expand(text, environ)
        except ValueError as error:
            key = find_key(path)
            found = kind_of(text) if key and key.is_secret else shown(text)
            mistakes.append((inner, f"found {found}, expected {error}"))
            return text

    written = layer.values[path]
    expanded = map_strings(written, replace, path)
    layer.values[path] = _as_number(path, expanded) if isinstance(written, str) and holds_reference(written) else expanded
    for inner, text in mistakes:
        layer.reject(inner, text)


def _as_number(path: KeyPath, text: str) -> Any:
    """Return the number, or true or false, that stands in a variable, for a key that wants one; else the text itself."""
    key = find_key(path)
    if key is None or not key.is_plain:
        return text
    try:
        parsed = parse_toml(f"value = {text.strip()}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 and isinstance(parsed["value"], int | float) else text


def _is_waiting(path: KeyPath, value: Any) -> bool:
    key = find_key(path)
    return key is not None and not key.is_secret and any(text.startswith(STORE_PREFIX) for _, text in strings(value))


def _target(layer: Layer, path: tuple[str, ...], source: Source, origin: Origin) -> KeyPath:
    """Return the path in the file's own terms; empty, with a problem noted, if it is not clear which tunnel is meant."""
    named = source.data.get("tunnels")
    if path[0] != "tunnel" or "tunnel" in source.data or not isinstance(named, Mapping) or not named:
        return path
    if len(named) == 1:
        (name,) = named
        return ("tunnels", name, *path[1:]) if re.fullmatch(TUNNEL_NAME, name) else ()
    if path[-1] != "token":  # one token in the environment is no mistake if each tunnel has its own; a missing one is reported
        found = f"{source.path} declares {len(named)} tunnels ({', '.join(map(key_text, named))}), and this is meant for one"
        text = f"{found}; expected a file that declares one, or a table [tunnel] (-c FILE names another file)"
        layer.problems.append(Problem(origin, dotted(path), text))
    return ()


def _watch_only(layer: Layer) -> None:
    """Apply PRX_TUNNEL_URL, which chooses `backend = "none"`: there is already a public URL, so no child is run."""
    for path in [path for path in layer.values if path[-1] == "public_url"]:
        backend = (*path[:-1], "backend")
        if backend not in layer.values:
            layer.add(backend, "none", layer.origins[path])
