"""`${VAR}` in the strings of a configuration file becomes the value of that environment variable.

`$${` stands for the characters `${` themselves. A variable that is not set is a mistake, an empty one is not. What a variable
holds is not expanded again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prx.config.positions import KeyPath

_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its variables replaced; raise ValueError, which says what was expected."""

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        name = match["name"]
        if name is None:
            raise ValueError("${NAME} with the name of an environment variable, or $${ for the characters ${ themselves")
        if name not in environ:
            raise ValueError(f"the environment variable {name} to be set, or $${{{name}}} for these characters themselves")
        return environ[name]

    return _REFERENCE.sub(replacement, text)


def holds_reference(text: str) -> bool:
    """Return whether `expand` would change `text`."""
    return _REFERENCE.search(text) is not None


def strings(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Yield every string in a nested value with its path."""
    if isinstance(value, str):
        yield path, value
        return
    children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, child in children:
        yield from strings(child, (*path, key))


def map_strings(value: Any, change: Callable[[KeyPath, str], str], path: KeyPath = ()) -> Any:
    """Return a copy of a nested value in which `change(path, text)` stands for each string."""
    if isinstance(value, str):
        return change(path, value)
    if isinstance(value, Mapping):
        return {key: map_strings(child, change, (*path, key)) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [map_strings(child, change, (*path, index)) for index, child in enumerate(value)]
    return value
