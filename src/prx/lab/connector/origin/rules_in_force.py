"""Hold the configuration in force: the rules, their version, and what the edge pushes.

The configuration of the start has version -1. A push replaces all rules when its version is higher; an equal or lower one
is acknowledged and ignored; one that cannot be used leaves everything as it was. Every connection receives the same push.
Observed with cloudflared 2026.8.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prx.core.parsing import parse_json
from prx.lab.connector.log import Log
from prx.lab.connector.origin.hello import STARTING
from prx.lab.connector.origin.ingress import (
    UNCONFIGURED,
    HelloService,
    IngressError,
    OriginOptions,
    Rule,
    match,
    options_to_json,
    parse_rules,
)


@dataclass(frozen=True, slots=True)
class Applied:
    """The answer to a push: the version now in force, and why the push failed, if it did."""

    version: int
    error: str = ""

    def to_json(self) -> bytes:
        """Return the answer as the edge expects it over HTTP/2; the cause of a failure is lost on the way."""
        return _dump({"lastAppliedVersion": self.version, "err": {} if self.error else None})


class Configuration:
    """The rules in force; `flags` are those settings that the edge may see."""

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        defaults: OriginOptions,
        flags: Mapping[str, str],
        log: Log,
    ) -> None:
        self.version = -1
        self._rules = tuple(rules) or UNCONFIGURED
        self._defaults = defaults
        self._flags = dict(flags)
        self._log = log
        self._announce()

    def match(self, authority: str, path: str) -> tuple[int, Rule]:
        """Return the rule for a request, and its index."""
        return match(self._rules, authority, path)

    def apply(self, version: int, text: str) -> Applied:
        """Put a pushed configuration (JSON text) into force if it is newer and can be used."""
        if version <= self.version:
            self._log.debug(
                "Current version is equal or newer than received version",
                current_version=self.version,
                received_version=version,
            )
            return Applied(self.version)
        try:
            config = parse_json(text)
            if not isinstance(config, dict):
                raise IngressError("the configuration is not an object")
            rules = parse_rules(config)
        except ValueError as error:
            self._log.error("Failed to deserialize new configuration", version=version, config=text, error=str(error))
            return Applied(self.version, str(error))
        self._rules = rules or UNCONFIGURED
        self.version = version
        self._announce()
        self._log.info("Updated to new configuration", version=version, config=text)
        return Applied(version)

    def _announce(self) -> None:
        """Say for each rule with the built-in page that it is served."""
        for rule in self._rules:
            if isinstance(rule.service, HelloService):
                self._log.info(STARTING)

    def apply_push(self, body: bytes) -> Applied:
        """Apply the body of a push over HTTP/2, `{"version": n, "config": {…}}`; raise ValueError if it is none."""
        values = _raw_values(body.decode("utf-8"))
        return self.apply(int(values.get("version", "0")), values.get("config", "null"))

    def for_edge(self) -> bytes:
        """Return what is sent to the edge when it does not manage this tunnel's configuration."""
        rules = [_edge_rule(rule) for rule in self._rules]
        flags = {"__configuration_flags": self._flags} if self._flags else {}
        return _dump({**flags, "ingress": rules, "warp-routing": {}})

    def for_operator(self) -> bytes:
        """Return what `/config` shows."""
        rules = [
            {
                "hostname": rule.hostname,
                "path": rule.path.pattern if rule.path else None,
                "service": str(rule.service),
                "Handlers": None,
                "originRequest": options_to_json(rule.options),
            }
            for rule in self._rules
        ]
        config = {"ingress": rules, "warp-routing": {}, "originRequest": options_to_json(self._defaults)}
        return _dump({"version": self.version, "config": config})


def _edge_rule(rule: Rule) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if rule.hostname:
        entry["hostname"] = rule.hostname
    if rule.path:
        entry["path"] = rule.path.pattern
    default = options_to_json(OriginOptions())
    changed = {name: value for name, value in options_to_json(rule.options).items() if value != default[name]}
    return {**entry, "service": str(rule.service), "originRequest": changed}


def _raw_values(text: str) -> dict[str, str]:
    """Return each member of a JSON object as the text it was written as; the log shows a push unchanged."""
    decoder = json.JSONDecoder()
    members: dict[str, str] = {}
    position = _expect(text, 0, "{")
    while not text.startswith("}", position):
        key, position = decoder.raw_decode(text, position)
        start = _expect(text, position, ":")
        _, end = decoder.raw_decode(text, start)
        members[str(key)] = text[start:end]
        position = _skip(text, end)
        if text.startswith(",", position):
            position = _skip(text, position + 1)
        elif not text.startswith("}", position):
            raise ValueError("expected ',' or '}' in the pushed configuration")
    return members


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if not text.startswith(character, position):
        raise ValueError(f"expected {character!r} in the pushed configuration")
    return _skip(text, position + 1)


def _dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
