"""The configuration as text: what is in force (`prx config show`), a file to begin with (`init`), and the JSON Schema."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import Field
from itertools import groupby
from typing import Any, Final, get_origin
from urllib.parse import urlsplit

from prx.config.checker import Table, fields_of, table_in, tables_by_name
from prx.config.checks import TUNNEL_NAME
from prx.config.hostname import shown
from prx.config.keys import Key, keys_of
from prx.config.load import Loaded
from prx.config.schema import DEFAULT_TUNNEL, ConfigFile
from prx.config.toml_text import value_text
from prx.logs.redact import Redactor
from prx.secrets.sources import describe, split_reference
from prx.secrets.value import Secret

_USER_INFO: Final = re.compile(r"(?<=://)[^/@\s]+@")
_PLACES: Final = Redactor()
_LONG_SEGMENT: Final = re.compile(r"(?<=/)[^/]{16,}")  # of a path; Slack's and Discord's hooks have their secret there
_WIDTH: Final = 100


def show(loaded: Loaded, *, origins: bool = False) -> str:
    """Return what is in force as TOML. Secrets are "***" with a fingerprint, references to secrets stand as they are.

    With `origins` a comment behind each value says where it came from.
    """
    lines: list[str] = []
    for table, names in groupby(loaded.origins, key=lambda name: name.rpartition(".")[0]):
        lines += ["", f"[{table}]"] if table else []
        lines += [_shown_line(loaded, name, origins) for name in names]
    return "\n".join(lines).lstrip("\n") + "\n"


def template() -> str:
    """Return a configuration file in which every key is explained and commented out with its default."""
    lines = ["# The configuration of prx. Each key is shown with its default: remove the # before a line to change it."]
    keys_in_order = sorted(keys_of(), key=lambda key: _MOST_WANTED.get(key.path[:-1][:1], len(_MOST_WANTED)))
    for table, keys in groupby(keys_in_order, key=lambda key: key.path[:-1]):
        lines += ["", f"[{'.'.join(table)}]"] if table else []
        for key in keys:
            lines += ["", *_comment(key), f"#{key.path[-1]} = {default_text(key)}"]
    lines += ["", *textwrap.wrap(_MORE_TUNNELS, _WIDTH, initial_indent="# ", subsequent_indent="# ")]
    return "\n".join(lines) + "\n"


_MOST_WANTED: Final[dict[tuple[str, ...], int]] = {(): 0, ("tunnel",): 1}  # keys of no table have to come first

_MORE_TUNNELS: Final = (
    "More tunnels, each with the same keys as [tunnel]: write a table [tunnels.NAME], and [tunnels.NAME.cloudflare]."
)


def default_text(key: Key) -> str:
    """Return the default of a key as TOML."""
    return '""' if isinstance(key.default, Secret) else value_text(key.default)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file, for editors."""
    definitions = {
        table.__name__: _table_schema(table, table.__name__) for table in sorted(_tables(), key=lambda it: it.__name__)
    }
    whole = _table_schema(ConfigFile, "The configuration of prx")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": definitions, **whole}


def _tables(table: type[Table] = ConfigFile) -> set[type[Table]]:
    """Return the tables within a table, and those within them."""
    inner = {found for field in fields_of(table).values() if (found := table_in(field.type) or tables_by_name(field.type))}
    return inner.union(*(_tables(item) for item in inner))


def _table_schema(table: type[Table], title: str) -> dict[str, Any]:
    return {
        "additionalProperties": False,
        "description": inspect.getdoc(table),
        "properties": {name: _field_schema(name, field) for name, field in fields_of(table).items()},
        "title": title,
        "type": "object",
    }


def _field_schema(name: str, field: Field[Any]) -> dict[str, Any]:
    if inner := table_in(field.type):  # the defaults stand with the keys of that table
        return {"$ref": f"#/$defs/{inner.__name__}"}
    title = name.replace("_", " ").title()
    if inner := tables_by_name(field.type):
        each = {"$ref": f"#/$defs/{inner.__name__}"}
        names = {"pattern": f"^{TUNNEL_NAME}$"}
        return {"additionalProperties": each, "default": {}, "title": title, "type": "object", "propertyNames": names}
    key = Key((name,), field)
    limits = {
        "minimum": key.facts.minimum,
        "maximum": key.facts.maximum,
        "unit": key.facts.unit or None,
        "env": key.env or None,
    }
    facts = {name: value for name, value in limits.items() if value is not None}
    default = "" if key.is_secret else key.default
    about = {"default": default, "description": key.description, "title": title, **facts, **_value_schema(key)}
    return dict(sorted(about.items()))


def _value_schema(key: Key) -> dict[str, Any]:
    """Return what a value must be; a type that is taken beside the proper one only if each of its values fits."""
    if get_origin(key.type) is tuple:
        return {"items": {"type": "string"}, "type": "array"}
    usual: dict[str, Any] = {"type": _JSON_TYPES.get(key.type, "string")}
    if key.choices:
        usual = {"enum": list(key.choices), **usual}
    if key.facts.also is None or not key.facts.also_in_schema:
        return usual
    return {"anyOf": [usual, {"type": _JSON_TYPES[key.facts.also]}]}


_JSON_TYPES: Final = {int: "integer", float: "number", bool: "boolean"}


def _shown_line(loaded: Loaded, name: str, origins: bool) -> str:
    value = _value(loaded, name)
    remarks = [str(loaded.origins[name])] if origins else []
    if isinstance(value, Secret):
        text = value.reveal()
        if split_reference(text)[0]:
            value = describe(text)
        elif value:
            remarks.append(f"fingerprint {value.fingerprint}")
            value = "***"
        else:
            value = ""
    if name.endswith((".on_url", ".on_change")):
        value = [_shown_hook(hook) for hook in value]
    if isinstance(value, str) and (people := shown(value)) != value:
        remarks.insert(0, people)
    text = _USER_INFO.sub("***@", value_text(value))
    return f"{name.rpartition('.')[2]} = {text}" + (f"  # {', '.join(remarks)}" if remarks else "")


def _shown_hook(hook: str) -> str:
    """Return a hook without what opens it: the query of a URL and the long words in its path, secrets in a command."""
    scheme, separator, _ = hook.partition("://")
    if separator and scheme not in {"http", "https"} and scheme.isalnum():
        return f"{scheme}://***"  # an address of apprise is a secret as a whole
    if not hook.startswith(("http://", "https://")):
        return _PLACES.line(hook)
    parts = urlsplit(hook)
    return parts._replace(path=_LONG_SEGMENT.sub("***", parts.path), query="***" if parts.query else "", fragment="").geturl()


def _value(loaded: Loaded, name: str) -> Any:
    if name in loaded.written:
        return loaded.written[name]
    parts = name.split(".")  # every name in a sound configuration is made of bare keys
    value: Any = loaded.config
    if parts[0] == "tunnel":
        value, parts = loaded.config.tunnels[DEFAULT_TUNNEL], parts[1:]
    elif parts[0] == "tunnels":
        value, parts = loaded.config.tunnels[parts[1]], parts[2:]
    for part in parts:
        value = getattr(value, part)
    return value


def _comment(key: Key) -> Iterator[str]:
    facts = [
        key.description,
        f"{key.expected.capitalize()}." if key.choices else "",
        f"Variable: {key.env}." if key.env else "",
    ]
    yield from textwrap.wrap(" ".join(filter(None, facts)), _WIDTH, initial_indent="# ", subsequent_indent="# ")
