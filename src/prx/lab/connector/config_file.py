"""Read `--config`: YAML, which JSON is too, with ingress rules, the tunnel's id, and values for flags that were not given.

Read is what cloudflared reads: a mapping whose keys are `tunnel`, `ingress`, `originRequest`, `warp-routing`, and the names
of flags. A flag on the command line or in the environment beats the file. A key that stands twice is an error, for one of
them would silently win, be it that of an `access` rule. Dates stay text. The places in which cloudflared searches for a stray
configuration on its own are not read. Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from prx.lab.connector.command_line import Value, Values, convert
from prx.lab.connector.flags import FLAGS, Flag, Kind
from prx.lab.connector.go_errors import errno_text

_MAX_BYTES: Final = 4 << 20


class ConfigFileError(ValueError):
    """The file cannot be used; the text is the whole line for the user."""


class _Loader(yaml.SafeLoader):
    """A loader of plain values only."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the shape that the base class has
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, and refuse a key that stands twice."""
        seen: dict[object, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            line = key.start_mark.line + 1
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f'mapping key "{key.value}" already defined at line {seen[key.value]}', problem_mark=key.start_mark
                )
            seen[key.value] = line
        return super().construct_mapping(node, deep)


def load_config_file(values: Values) -> dict[str, Any] | None:
    """Return the content of `--config`, None for a file that holds nothing; empty if the flag is not given."""
    if "config" not in values:
        return {}
    path = values.text("config")
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigFileError(f"open {path}: {errno_text(error)}") from None
    prefix = f"error parsing YAML in config file at {path}: yaml: "
    if len(content) > _MAX_BYTES:
        raise ConfigFileError(f"{prefix}more than {_MAX_BYTES} bytes")
    try:
        config = yaml.load(content.decode("utf-8"), _Loader)  # noqa: S506 - a safe loader, narrowed further
    except UnicodeDecodeError:
        raise ConfigFileError(f"{prefix}not UTF-8") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigFileError(f"{prefix}{f'line {mark.line + 1}: ' if mark else ''}{error.problem or error.context}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ConfigFileError(f"{prefix}{error}") from None
    if config is None:
        return None
    if not isinstance(config, dict):
        raise ConfigFileError(f"{prefix}unmarshal errors:\n  line 1: cannot unmarshal {type(config).__name__} into a mapping")
    return {str(key): value for key, value in config.items()}


def with_file(values: Values, config: dict[str, Any], *, named: bool) -> Values:
    """Return the flags with those of a file, if neither the command line nor the environment has them."""
    found: dict[str, Value] = {}
    for flag in FLAGS:
        for name in (flag.name, *flag.aliases):
            if flag.name not in values and flag.name not in found and name != "config" and config.get(name) is not None:
                found[flag.name] = _value(flag, name, config[name])
    return replace(values, given={**found, **values.given}) if found else values


def _value(flag: Flag, name: str, value: object) -> Value:
    """Return what a file says of a flag, in the flag's type."""
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) for each in texts) or (isinstance(value, list) != (flag.kind is Kind.LIST)):
        raise ConfigFileError(f"expected {flag.kind.value}, found {value!r} for {name}")
    if isinstance(value, list):
        return [str(each) for each in texts]
    if isinstance(value, bool) != (flag.kind is Kind.BOOL):
        raise ConfigFileError(f"expected {flag.kind.value}, found {value!r} for {name}")
    try:
        return convert(flag, str(value).lower() if isinstance(value, bool) else str(value))
    except ValueError:
        raise ConfigFileError(f"expected {flag.kind.value}, found {value!r} for {name}") from None
