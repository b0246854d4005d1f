"""What frozen data classes have in common, written once: how they are made, compared, hashed, shown, copied, and never changed.

`dataclass` compiles each method of each class when its module is imported: half a millisecond and 10 KiB for a frozen one, and
`prx start` imports 140 of them before a connector starts. `value_class` has `dataclass` collect the fields, and nothing else;
the methods are those of `Value`. They mean the same, including what `field` and `kw_only` say. To make a value takes up to a
microsecond longer.
"""

from __future__ import annotations

import inspect  # `dataclasses` has loaded it
import threading
from contextlib import contextmanager
from dataclasses import MISSING, Field, FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

__all__ = ["Value", "value_class"]

_making = threading.Lock()

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from dataclasses import dataclass as value_class
else:

    def value_class(*, frozen: bool, eq: bool, repr: bool, **given: bool) -> Callable[[type], type]:  # noqa: A002 - its words
        """Return the decorator of a class that is derived from `Value`; type checkers see that of `dataclass` instead."""
        if not frozen or eq or repr:
            raise TypeError("expected frozen=True, eq=False, repr=False: these are the methods of Value")

        def make(kind: type[Value]) -> type[Value]:
            with _thawed(kind):  # else `dataclass` insists on its own methods below a frozen class
                made = dataclass(init=False, eq=False, repr=False, **given)(kind)
            made.__dataclass_params__.frozen = True
            made.__prx_parts__ = _Parts.of(made)
            return made

        return make

    @contextmanager
    def _thawed(kind: type[Value]) -> Iterator[None]:
        """Have `dataclass` believe, within the block, that the bases of a class can change."""
        bases = [base.__dataclass_params__ for base in kind.__mro__ if "__prx_parts__" in vars(base)]
        with _making:
            for params in bases:
                params.frozen = False
            try:
                yield
            finally:
                for params in bases:
                    params.frozen = True


_set = object.__setattr__


class _Parts(NamedTuple):
    """The fields of a class: how many may be given by position, and each with its default and with what makes one."""

    by_position: int
    fields: tuple[tuple[str, object, Any], ...]
    is_completed: bool  # by a __post_init__

    @classmethod
    def of(cls, kind: type[Value]) -> Self:
        if not all(item.init for item in fields(kind)):
            raise TypeError(f"{kind.__qualname__}: a field of a value is always given, init=False cannot be")
        ordered = _as_given(kind)
        by_position = sum(item.kw_only is not True for item in ordered)
        parts = tuple((item.name, item.default, item.default_factory) for item in ordered)
        return cls(by_position, parts, hasattr(kind, "__post_init__"))


def _as_given(kind: type[Value]) -> list[Field[Any]]:
    """Return the fields in the order in which they are given: those by name alone come last."""
    return sorted(fields(kind), key=lambda item: item.kw_only is True)


class _Signature:
    """What `help` and `inspect.signature` show of a class: what is given to make a value, with the defaults."""

    def __get__(self, value: Value | None, kind: type[Value]) -> inspect.Signature:
        if value is not None or kind.__init__ is not Value.__init__ or not hasattr(kind, "__dataclass_fields__"):
            raise AttributeError("__signature__")
        return inspect.Signature([_parameter(item) for item in _as_given(kind)], return_annotation=None)


class _Made:
    """Shown in place of a default that is made for each value."""

    def __repr__(self) -> str:
        return "<factory>"


def _parameter(item: Field[Any]) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY if item.kw_only else inspect.Parameter.POSITIONAL_OR_KEYWORD
    default = item.default if item.default is not MISSING else inspect.Parameter.empty
    if item.default_factory is not MISSING:
        default = _Made()
    return inspect.Parameter(item.name, kind, default=default, annotation=item.type)


_compared: dict[type[Value], tuple[str, ...]] = {}


class Value:
    """The base of a `@value_class(frozen=True, eq=False, repr=False)` that is equal to another one with the same values."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    __prx_parts__: ClassVar[_Parts]

    if not TYPE_CHECKING:  # a checker knows what each class takes
        __signature__ = _Signature()

        def __init__(self, *given: object, **named: object) -> None:
            """Take the values of the fields; TypeError if one is missing, or given twice, or if there is no such field."""
            by_position, parts, is_completed = self.__prx_parts__
            if len(given) > by_position:
                raise TypeError(f"{type(self).__qualname__} takes {by_position} values by position, not {len(given)}")
            for (name, _, _), item in zip(parts, given):  # noqa: B905 - the others follow
                _set(self, name, item)
            for name, default, make in parts[len(given) :]:
                if name in named:
                    _set(self, name, named.pop(name))
                elif default is not MISSING:
                    _set(self, name, default)
                elif make is not MISSING:
                    _set(self, name, make())
                else:
                    raise TypeError(f"{type(self).__qualname__} is made without {name!r}")
            if named:
                raise TypeError(f"{type(self).__qualname__} has no field {next(iter(named))!r}, or it was given twice")
            if is_completed:
                self.__post_init__()

        def __setattr__(self, name: str, item: object) -> None:
            """Refuse to change."""
            raise FrozenInstanceError(f"cannot assign to field {name!r}")

        def __delattr__(self, name: str) -> None:
            """Refuse to change."""
            raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __setstate__(self, state: Any) -> None:
        """Take what the one has that this becomes a copy of: its values, and what it has worked out from them."""
        parts = state if isinstance(state, tuple) else (state,)  # as object.__getstate__ gives it: with slots, and without
        for found in parts:
            for name, item in (found or {}).items():
                _set(self, name, item)

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
