"""Values written as TOML, with nothing in them that a terminal would act on."""

from __future__ import annotations

import re
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def string_text(text: str) -> str:
    """Write a basic string; what cannot be printed is escaped, so that no control sequence reaches a terminal."""
    return '"' + "".join(_character(character) for character in text) + '"'


def key_text(key: str) -> str:
    """Write a key, with quotes if it needs them."""
    return key if _BARE_KEY.fullmatch(key) else string_text(key)


def value_text(value: Any) -> str:
    """Write a string, number, truth value or list; a whole float is written as an integer."""
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() else repr(value)
        case int():
            return str(value)
        case list() | tuple():
            return "[" + ", ".join(value_text(item) for item in value) + "]"
        case _:
            return string_text(str(value))


def _character(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"
