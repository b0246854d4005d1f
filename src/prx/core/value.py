"""What the data classes of the start have in common: equality, hash and repr, written once.

`dataclass` compiles each method of each class when its module is imported: a frozen class costs half a millisecond, and
`prx start` imports 140 of them before a connector starts. With `eq=False, repr=False` it compiles three methods fewer, and
these take their place. They mean the same, `compare=False` and `repr=False` of a field included.
"""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, ClassVar

_compared: dict[type[Value], tuple[str, ...]] = {}


class Value:
    """The base of a `@dataclass(frozen=True, eq=False, repr=False)` that is equal to another one with the same values."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        """Return whether `other` is of the same class and has equal values."""
        if self.__class__ is not other.__class__:
            return NotImplemented
        return isinstance(other, Value) and _values(self) == _values(other)

    def __hash__(self) -> int:
        """Return the hash of the values; TypeError if one of them has none."""
        return hash(_values(self))

    def __repr__(self) -> str:
        """Return the class and its values as a call that makes the same."""
        values = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{self.__class__.__qualname__}({values})"


def _values(value: Value) -> tuple[object, ...]:
    kind = value.__class__
    if kind not in _compared:
        _compared[kind] = tuple(field.name for field in fields(kind) if field.compare)
    return tuple([getattr(value, name) for name in _compared[kind]])
