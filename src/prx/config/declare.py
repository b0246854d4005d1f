"""How a key of the configuration is declared: a field of a frozen dataclass, its facts in the field's metadata.

The type of the field says what a value must be (str, int, float, bool, Secret, a Literal of texts, a tuple of texts, or
another table); `Facts` holds the rest. `prx.config.checker` holds values against both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from prx.core.value import Value, value_class
from prx.secrets.value import Secret

_FACTS: Final = "facts"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Facts(Value):
    """What is declared about one key beside its type and default.

    env: the variable that overrides it. unit, minimum, maximum: of a number; they go into messages and the reference. check:
    returns a text as it is used, or raises ValueError, whose text says what is expected; it is asked for each text of a list.
    also: values of this type are taken too, as the text that they are written as. also_in_schema: every value of it fits.
    """

    description: str = ""
    env: str = ""
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    check: Callable[[str], str] | None = None
    also: type | None = None
    also_in_schema: bool = True


def key(default: Any, description: str, **facts: Any) -> Any:
    """Declare a key; `facts` are those of `Facts`."""
    return dataclasses.field(default=default, metadata={_FACTS: Facts(description, **facts)})


def secret_key(description: str, *, env: str) -> Any:
    """Declare a key that holds a secret or a reference to one; its default is an empty secret."""
    return key(Secret(""), description, env=env)


def list_key(description: str, check: Callable[[str], str]) -> Any:
    """Declare a key that holds a list of texts, by default an empty one. TOML has lists, a frozen table holds tuples."""
    return key((), description, check=check)


def named_tables(default: Mapping[str, Any], check: Callable[[str], str] | None = None) -> Any:
    """Declare tables by name; `check` is asked for each name."""
    return dataclasses.field(default_factory=lambda: dict(default), metadata={_FACTS: Facts(check=check)})


def facts_of(field: dataclasses.Field[Any]) -> Facts:
    """Return what was declared about a field; nothing for one that holds a table."""
    found: Facts = field.metadata.get(_FACTS, _NOTHING)
    return found


_NOTHING: Final = Facts()
