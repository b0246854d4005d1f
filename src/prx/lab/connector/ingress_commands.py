"""Do `tunnel ingress validate` and `tunnel ingress rule URL`: check the rules of a configuration file without a tunnel.

Words and exit codes as observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from prx.lab.connector.command_line import Values
from prx.lab.connector.config_file import ConfigFileError, load_config_file
from prx.lab.connector.errors import StartError
from prx.lab.connector.origin.ingress import IngressError, Rule, match, parse_rules

_NO_FILE: Final = (
    "No configuration file was found. Please create one, or use the --config flag to specify its filepath. "
    "You can use the help command to learn more about configuration files"
)
_NO_RULES: Final = "Validation failed: The config file doesn't contain any ingress rules"


def run(values: Values, words: Sequence[str]) -> str:
    """Return what goes to stdout; raise StartError for rules, words or a file that cannot be used."""
    match list(words):
        case ["validate"]:
            _rules(values)
            return f"Validating rules from {values.text('config')}\nOK\n"
        case ["rule", url]:
            return f"Using rules from {values.text('config')}\n{_matched(_rules(values), url)}"
        case ["rule", *_]:
            raise StartError("cloudflared tunnel rule expects a single argument, the URL to test")
        case _:
            raise StartError("expected `tunnel ingress validate` or `tunnel ingress rule URL`")


def _rules(values: Values) -> tuple[Rule, ...]:
    if "config" not in values:
        raise StartError(_NO_FILE)
    try:
        rules = parse_rules(load_config_file(values) or {})
    except ConfigFileError as error:
        raise StartError(str(error)) from None
    except IngressError as error:
        raise StartError(f"Validation failed: {error}") from None
    if not rules:
        raise StartError(_NO_RULES)
    return rules


def _matched(rules: tuple[Rule, ...], url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise StartError(f"{url} is not a valid URL") from None
    if not host and not parts.scheme:
        raise StartError(f"{url} doesn't have a hostname, consider adding a scheme")
    number, rule = match(rules, host, parts.path)
    hostname = f"\thostname: {rule.hostname}\n" if rule.hostname else ""
    path = f"\tpath: {rule.path.pattern}\n" if rule.path else ""
    return f"Matched rule #{number}\n{hostname}{path}\tservice: {rule.service}\n\n"
