"""What was found, what is expected, and what may have been meant: the words for a mistake in a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from prx.config.checker import Mistake
from prx.config.expand import holds_reference
from prx.config.keys import Key, closest, dotted, find_key, suggestion
from prx.config.toml_text import string_text, value_text
from prx.logs.redact import Redactor

_MAX_SHOWN: Final = 60
# Tokens, keys and audience tags are long words without a break; nothing that a user can misspell in a message is.
_SECRET_LOOKING: Final = re.compile(r"[A-Za-z0-9+/_=-]{32,}")
_PLACES: Final = Redactor()  # passwords in URLs, header values …


def shown(value: Any) -> str:
    """Return a value as messages show it: short, on one line, and without anything that resembles a secret."""
    match value:
        case str():
            text = _SECRET_LOOKING.sub("***", _PLACES.text(value))
            return string_text(text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…")
        case bool():
            return value_text(value)
        case int() | float():
            return f"the number {value_text(value)}" if abs(value) < 1e15 else "a number"
        case _:
            return kind_of(value)


def kind_of(value: Any) -> str:
    """Return the kind of a value alone."""
    match value:
        case str():
            return "text"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a table"
        case _:
            return "a date or time"


def explain(mistake: Mistake, written: Any) -> str:
    """Return what is wrong; `written` is the value as it stands in its source."""
    path = mistake.path
    if mistake.kind == "unknown":
        meant = suggestion(path)
        return f"unknown {'table' if isinstance(written, Mapping) else 'key'}" + (f"; {meant}" if meant else "")
    if mistake.kind == "name":
        return f"found {shown(path[-1])}, expected {mistake.expected}"
    key = find_key(path)
    if key is None:
        name = ".NAME" if path == ("tunnels",) else ""
        return f"found {shown(written)}, expected a table: [{dotted(path)}{name}]"
    found = kind_of(written) if key.is_secret else shown(written)
    return f"found {found}, expected {_expected(mistake, key, len(path) > len(key.path), written)}"


def _expected(mistake: Mistake, key: Key, in_list: bool, written: Any) -> str:
    if mistake.expected:
        return mistake.expected
    expected = "a string" if in_list else key.expected
    wants_text = in_list or bool(key.choices) or key.expected == "a string"
    if wants_text and isinstance(written, int | float):
        return f"{expected}, in quotes"
    if not wants_text and isinstance(written, str) and key.is_plain:
        if holds_reference(written):
            return f"a variable with {expected}"
        return f"{expected}, without quotes"
    near = closest(written, key.choices) if isinstance(written, str) else ""
    return f'{expected}; did you mean "{near}"?' if near else expected
