"""Faults as JSON (`{"fault": "Drop", "count": 1}`) and as words of a script (`random drop one`).

In words a fault's name is written with hyphens (`reject-registration`). Behind it stand its values, either in the order of
its fields or as `name=value`; seconds may have a unit (`500ms`, `2m`). A field that is a list takes every value that follows.
A fault that acts on connections takes `all`, `one` or a number first, and the word `random` before its name.
"""

from __future__ import annotations

import json
import re
from dataclasses import MISSING, asdict, fields
from typing import Any, Final

from prx.lab.faults import KINDS, SELECT, Fault

_UNITS: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|)")
_CLASSES: Final = {"int": (int,), "float": (int, float), "bool": (bool,), "None": (type(None),), "tuple[str, ...]": (list,)}
_LIST: Final = "tuple[str, ...]"


def describe(fault: Fault) -> dict[str, Any]:
    """Write a fault as `from_json` reads it."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(fault)))
    return {"fault": type(fault).__name__, **document}


def from_json(document: dict[str, Any]) -> Fault:
    """Read a fault from `{"fault": NAME, FIELD: value, …}`; ValueError says what is wrong and what would be right."""
    values = dict(document)
    name = values.pop("fault", None)
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"unknown fault {name!r}; expected one of {', '.join(KINDS)}")
    allowed = {field.name for field in fields(kind)}
    if unknown := set(values) - allowed:
        raise ValueError(f"{name} has no field {min(unknown)!r}; it has {', '.join(sorted(allowed)) or 'none'}")
    for field in fields(kind):
        if field.name in values and not isinstance(values[field.name], _json_types(str(field.type))):
            raise ValueError(f"{name}: {field.name!r} is {values[field.name]!r}; expected {field.type}")
        if isinstance(values.get(field.name), list):
            values[field.name] = tuple(str(item) for item in values[field.name])
    try:
        fault: Fault = kind(**values)
    except TypeError:
        needed = ", ".join(field.name for field in fields(kind) if field.default is MISSING)
        raise ValueError(f"{name} needs {needed}") from None
    return fault


def _json_types(annotation: str) -> tuple[type, ...]:
    """Return the classes that a field's value may have when it comes from JSON."""
    return tuple(kind for part in annotation.split(" | ") for kind in _CLASSES.get(part, (str,)))


def seconds(text: str) -> float:
    """Read a length of time such as `5s`, `500ms`, `2m`, `1h` or `5`; ValueError if it is none."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no length of time; expected such as 5s, 500ms or 2m")
    return float(match[1]) * _UNITS[match[2]]


def kind_of(name: str) -> type[Fault]:
    """Find a fault's class by its name, with hyphens or as in Python; ValueError if there is none."""
    plain = name.replace("-", "").lower()
    for known, kind in KINDS.items():
        if known.lower() == plain:
            return kind
    raise ValueError(f"unknown fault {name!r}; expected one of {', '.join(_hyphened(known) for known in KINDS)}")


def from_words(words: list[str]) -> Fault:
    """Read a fault from the words of a script; ValueError says what is wrong and what would be right."""
    chosen = words[:1] == ["random"]
    name, *values = words[1:] if chosen else words
    kind = kind_of(name)
    document: dict[str, Any] = {"fault": kind.__name__}
    if issubclass(kind, SELECT):
        document["random"] = chosen
        if values and "=" not in values[0]:
            document["count"] = _count(values.pop(0))
    elif chosen:
        raise ValueError(f"{name} leaves nothing to chance; expected it without 'random'")
    return from_json({**document, **_fields(kind, values)})


def _fields(kind: type[Any], words: list[str]) -> dict[str, Any]:
    types = {field.name: str(field.type) for field in fields(kind)}
    unnamed = iter(types)
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            listed = next((known for known in found if types[known] == _LIST), None)
            name, text = listed or next(unnamed, ""), word
        if name not in types:
            what = f"no field {name!r}" if name else f"no place for {word!r}"
            raise ValueError(f"{_hyphened(kind.__name__)} has {what}; it has {', '.join(types) or 'none'}")
        if types[name] == _LIST:
            found[name] = [*found.get(name, []), *(part for part in text.split(",") if part)]
        else:
            found[name] = _value(text, types[name])
    return found


def _value(text: str, annotation: str) -> Any:
    allowed = {kind for part in annotation.split(" | ") for kind in _CLASSES.get(part, (str,))}
    if float in allowed:
        return seconds(text)
    if int in allowed and text.isdecimal():
        return int(text)
    if bool in allowed and text in ("yes", "no"):
        return text == "yes"
    return text


def _count(word: str) -> int | None:
    if word in ("all", "one"):
        return 1 if word == "one" else None
    if not word.isdecimal():
        raise ValueError(f"{word!r} is no number of connections; expected all, one or a number")
    return int(word)


def _hyphened(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
