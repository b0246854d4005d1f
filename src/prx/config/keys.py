"""The schema as a list: which keys there are, what each expects, and where a misplaced one belongs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Literal, get_args, get_origin

from prx.config.checker import Table, fields_of, table_in
from prx.config.declare import Facts, facts_of
from prx.config.positions import KeyPath
from prx.config.schema import ConfigFile, TunnelSettings
from prx.config.toml_text import key_text
from prx.core.value import Value, value_class
from prx.secrets.value import Secret


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Key(Value):
    """One key that holds a value: its path in the file, and the declaration in the schema."""

    path: tuple[str, ...]
    field: dataclasses.Field[Any]

    @property
    def name(self) -> str:
        """Return the dotted name, such as `tunnel.cloudflare.protocol`."""
        return dotted(self.path)

    @property
    def type(self) -> Any:
        """Return the type of the value: str, int, float, bool, Secret, a Literal, or a tuple of texts."""
        return self.field.type

    @property
    def facts(self) -> Facts:
        """Return what else is declared."""
        return facts_of(self.field)

    @property
    def default(self) -> Any:
        """Return the default value, a list for a list."""
        value = self.field.default
        return list(value) if isinstance(value, tuple) else value

    @property
    def description(self) -> str:
        """Return what the key is for."""
        return self.facts.description

    @property
    def env(self) -> str:
        """Return the environment variable that overrides the key, or an empty string."""
        return self.facts.env

    @property
    def choices(self) -> tuple[str, ...]:
        """Return the allowed texts, or nothing if any will do."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()

    @property
    def is_secret(self) -> bool:
        """Return whether the value must never be shown."""
        return self.type is Secret

    @property
    def expected(self) -> str:
        """Return the type and range, as they complete "expected …"."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        nouns = {int: "a whole number", float: "a number", bool: "true or false"}
        noun = "a list of strings" if get_origin(self.type) is tuple else nouns.get(self.type, "")
        if not noun:
            return "a string"
        unit = f" of {self.facts.unit}" if self.facts.unit else ""
        return noun + unit + self._range()

    @property
    def is_plain(self) -> bool:
        """Return whether the value is a number, or true or false: it stands in a file without quotes."""
        return self.type in {int, float, bool}

    def _range(self) -> str:
        low, high = self.facts.minimum, self.facts.maximum
        return "" if low is None or high is None else f" from {low:g} to {high:g}"


def keys_of(table: type[Table] = ConfigFile, prefix: tuple[str, ...] = ()) -> Iterator[Key]:
    """Yield the keys of a table and of the tables in it, in the order of their declaration; `tunnels` is left out."""
    for name, field in fields_of(table).items():
        inner = table_in(field.type)
        if inner is not None:
            yield from keys_of(inner, (*prefix, name))
        elif name != "tunnels":
            yield Key((*prefix, name), field)


def find_key(path: KeyPath) -> Key | None:
    """Return the key that a path in the file leads to, or to an element of; None if it is a table or unknown."""
    kind = (*path[:1], "", *path[2:]) if path[0:1] == ("tunnels",) and len(path) > 1 else path
    end, field = _declared(tuple(map(str, kind)))
    return None if field is None else Key(tuple(map(str, path[:end])), field)


@cache
def _declared(path: tuple[str, ...]) -> tuple[int, dataclasses.Field[Any] | None]:
    """Return how many parts of a path lead to a key, and its declaration; the name of a tunnel is left empty."""
    for end in range(1, len(path) + 1):
        table = table_at(path[: end - 1])
        field = fields_of(table).get(path[end - 1]) if table else None
        if field is not None and table_in(field.type) is None and path[:end] != ("tunnels",):
            return end, field
    return 0, None


def table_at(path: KeyPath) -> type[Table] | None:
    """Return the class of the table that a path in the file leads to."""
    table: type[Table] | None = ConfigFile
    rest = list(path)
    while rest and table is not None:
        name = rest.pop(0)
        if table is ConfigFile and name == "tunnels":
            table = TunnelSettings if rest and rest.pop(0) is not None else None
        else:
            table = table_in(fields_of(table)[str(name)].type) if name in fields_of(table) else None
    return table


def suggestion(path: KeyPath) -> str:
    """Return the keys that this unknown one may have been meant to be; empty if none is similar."""
    *parent, name = map(str, path)
    table = table_at(tuple(parent))
    siblings = list(fields_of(table)) if table else []
    if near := closest(name, siblings):
        return f"did you mean {near}?"
    elsewhere = [key.path for key in keys_of() if key.path[-1] == name]
    if not elsewhere:
        return ""
    home = elsewhere[0][:-1]
    if home[:1] == ("tunnel",) and parent[:1] == ["tunnels"]:
        home = ("tunnels", parent[1], *home[1:])
    return f"it belongs in [{dotted(home)}]" if home else "it belongs at the top, before the first table"


def closest(word: str, known: Sequence[str]) -> str:
    """Return the known word that is nearest to a misspelt one, or an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415 - for mistakes alone

    lowered = {item.lower(): item for item in known}
    near = get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    return lowered[near[0]] if near else ""


def dotted(path: KeyPath) -> str:
    """Write a path as TOML would, with indexes in brackets: `tunnel.on_url[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + key_text(part)
    return text
