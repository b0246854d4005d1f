"""Hold values against the schema: every mistake is found at once, and nothing is converted that a user did not mean.

A number is no text and `"30"` no number; an integer is taken for a float, true and false for no number, a list for a tuple.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from functools import cache
from types import UnionType
from typing import Any, Final, Literal, Self, TypeVar, get_args, get_origin

from prx.config.declare import Facts, facts_of
from prx.config.positions import KeyPath
from prx.core.value import Value, value_class
from prx.secrets.value import Secret


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Mistake(Value):
    """What the schema does not allow at `path`.

    found: the value. kind: it has a wrong value, is a key that is not known, or is a name that no table can have.
    expected: what the key's own check says; empty: what its type and range say.
    """

    path: KeyPath
    found: Any
    kind: Literal["value", "unknown", "name"] = "value"
    expected: str = ""


class SchemaError(ValueError):
    """Values that the schema does not allow: `mistakes` has them all. The text names the keys, never a value."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{'.'.join(map(str, item.path))}: expected {_expected(item)}" for item in self.mistakes))


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class Table(Value):
    """What all tables have in common: they cannot change, and hold only what the schema allows (else SchemaError)."""

    def __post_init__(self) -> None:
        mistakes: list[Mistake] = []
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _read_field(field, getattr(self, field.name), (field.name,), mistakes))
        if mistakes:
            raise SchemaError(mistakes)

    def changed(self, **values: Any) -> Self:
        """Return a copy with other values, which are not checked: prx made them, and they may be what no file may hold."""
        copy = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(copy, field.name, values.get(field.name, getattr(self, field.name)))
        assert values.keys() <= fields_of(type(self)).keys()
        return copy


AnyTable = TypeVar("AnyTable", bound=Table)


def read(table: type[AnyTable], values: Mapping[str, Any]) -> AnyTable:
    """Return the table that `values`, with tables in tables, stand for; SchemaError with every mistake."""
    mistakes: list[Mistake] = []
    found = _read_table(table, values, (), mistakes)
    if found is None:
        raise SchemaError(mistakes)
    return found


def table_in(kind: Any) -> type[Table] | None:
    """Return the table that a field of this type holds, also if it may be missing; None for any other type."""
    return _table_in(kind)


@cache
def _table_in(kind: Any) -> type[Table] | None:
    candidates = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return next((item for item in candidates if isinstance(item, type) and issubclass(item, Table)), None)


def fields_of(table: type[Table]) -> Mapping[str, dataclasses.Field[Any]]:
    """Return the fields of a table by name, in the order of their declaration."""
    if (found := _fields.get(table)) is None:
        found = _fields[table] = {field.name: field for field in dataclasses.fields(table)}
    return found


_fields: dict[type[Table], Mapping[str, dataclasses.Field[Any]]] = {}


def tables_by_name(kind: Any) -> type[Table] | None:
    """Return the table that a field of this type holds by name (`[tunnels.NAME]`); None for any other type."""
    return _tables_by_name(kind)


@cache
def _tables_by_name(kind: Any) -> type[Table] | None:
    origin = get_origin(kind)
    return table_in(get_args(kind)[1]) if isinstance(origin, type) and issubclass(origin, Mapping) else None


def _expected(mistake: Mistake) -> str:
    return mistake.expected or ("no such key" if mistake.kind == "unknown" else "another value")


def _read_table(kind: type[AnyTable], values: Any, path: KeyPath, mistakes: list[Mistake]) -> AnyTable | None:
    if isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        mistakes.append(Mistake(path, values))
        return None
    before, known = len(mistakes), fields_of(kind)
    fitting = {
        name: _read_field(field, values[name], (*path, name), mistakes) for name, field in known.items() if name in values
    }
    mistakes += [Mistake((*path, name), value, "unknown") for name, value in values.items() if name not in known]
    return _made(kind, fitting) if len(mistakes) == before else None


def _made(kind: type[AnyTable], fitting: Mapping[str, Any]) -> AnyTable:
    """Return the table of values that were checked just now; its own check of all fields would find nothing."""
    table = object.__new__(kind)
    for name, value in _defaults_of(kind).items():
        object.__setattr__(table, name, fitting.get(name, value))
    return table


def _defaults_of(kind: type[Table]) -> Mapping[str, Any]:
    """Return what each field of a table holds if nothing is said; all are declared with a default."""
    if (found := _defaults.get(kind)) is None:
        table = kind()
        found = _defaults[kind] = {name: getattr(table, name) for name in fields_of(kind)}
    return found


_defaults: dict[type[Table], Mapping[str, Any]] = {}


def _read_field(field: dataclasses.Field[Any], value: Any, path: KeyPath, mistakes: list[Mistake]) -> Any:
    kind: Any = field.type
    if (table := table_in(kind)) is not None:
        return None if value is None and isinstance(kind, UnionType) else _read_table(table, value, path, mistakes)
    if (table := tables_by_name(kind)) is not None:
        return _read_tables(table, facts_of(field), value, path, mistakes)
    if get_origin(kind) is not tuple:
        return _read_value(kind, facts_of(field), value, path, mistakes)
    if isinstance(value, list | tuple):
        (item, _) = get_args(kind)
        return tuple(_read_value(item, facts_of(field), each, (*path, at), mistakes) for at, each in enumerate(value))
    mistakes.append(Mistake(path, value))
    return None


def _read_tables(kind: type[Table], facts: Facts, value: Any, path: KeyPath, mistakes: list[Mistake]) -> Any:
    if not isinstance(value, Mapping):
        mistakes.append(Mistake(path, value))
        return None
    found = {}
    for name, inner in value.items():
        try:
            _text(name, facts)
        except ValueError as error:
            mistakes.append(Mistake((*path, name), name, "name", str(error)))
        found[name] = _read_table(kind, inner, (*path, name), mistakes)
    return found


def _read_value(kind: Any, facts: Facts, value: Any, path: KeyPath, mistakes: list[Mistake]) -> Any:
    try:
        return _fitting(kind, facts, _spelled(value) if type(value) is facts.also else value)
    except ValueError as error:
        mistakes.append(Mistake(path, value, expected=str(error)))
        return None


def _spelled(value: Any) -> str:
    """Return a number, or true or false, as it is written; a long one in hexadecimal: Python writes no 4301 decimal digits."""
    return str(value).lower() if value.bit_length() < _SHORT else hex(value)


def _fitting(kind: Any, facts: Facts, value: Any) -> Any:
    """Return a value as the table holds it; ValueError with what is expected, without a text if type and range say it."""
    if kind is Secret:
        return _secret(value)
    if kind is str:
        return _text(value, facts)
    if kind is float:
        return _number(value, facts)
    if kind is int:
        return _in_range(_only(type(value) is int, value), facts)
    if kind is bool:
        return _only(type(value) is bool, value)
    return _only(isinstance(value, str) and value in get_args(kind), value)


def _only(fits: bool, value: Any) -> Any:
    if not fits:
        raise ValueError
    return value


def _text(value: Any, facts: Facts) -> str:
    text: str = _only(isinstance(value, str), value)
    return text if facts.check is None else facts.check(text)


def _number(value: Any, facts: Facts) -> float:
    try:
        number = float(_only(type(value) in _NUMBERS, value))
    except OverflowError:  # an integer of hundreds of digits
        raise ValueError from None
    return float(_in_range(_only(math.isfinite(number), number), facts))


_NUMBERS: Final = (int, float)  # and not bool, which is an int
_SHORT: Final = 64  # bits


def _in_range(number: Any, facts: Facts) -> Any:
    low = facts.minimum is None or number >= facts.minimum
    high = facts.maximum is None or number <= facts.maximum
    return _only(low and high, number)


def _secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("a string")  # noqa: TRY004 - a mistake in the value, as any other
    try:
        return Secret(value)
    except ValueError:
        raise ValueError("UTF-8 text") from None
