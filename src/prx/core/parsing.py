"""JSON and TOML of others: whatever is wrong with it, a ValueError; json and tomllib raise RecursionError for deep nesting.

tomllib takes one nesting of any depth, that of dotted keys, which it reads in a loop; a walk of the tables meets it later.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

# Tables and lists within one another that TOML may have. prx.toml has six; a lower limit would find no other mistake sooner.
DEEPEST: Final = 100

_TOO_DEEP = "it is nested too deeply"


def too_many_digits() -> str:
    """Return what was found if Python refuses to make a number of a text."""
    return f"found a number of more than {sys.get_int_max_str_digits()} digits"


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON document holds; raise ValueError if it is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a TOML document holds; raise ValueError (TOMLDecodeError) if it is none, or is nested too deeply."""
    import tomllib  # noqa: PLC0415 - a command that only asks a running prx reads JSON alone

    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise tomllib.TOMLDecodeError(_TOO_DEEP) from error
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # Python's own limit of digits
        raise tomllib.TOMLDecodeError(too_many_digits()) from error
    if _is_too_deep(found):
        raise tomllib.TOMLDecodeError(_TOO_DEEP)
    return found


def _is_too_deep(found: dict[str, Any]) -> bool:
    layer: list[Any] = [found]
    for _ in range(DEEPEST):
        inner = (item.values() if isinstance(item, dict) else item for item in layer)
        layer = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not layer:
            return False
    return True
