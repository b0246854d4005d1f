"""Who may pass a protected quick tunnel: the rules of `--allowed-mail`, which never leave this process.

A rule is one address, or `*@DOMAIN` for every address of exactly that domain, not of those below it; a value may hold
several with commas between them. Rules are compared in lower case; domains of other scripts are written as DNS has them
(xn--…). At most 100 rules of 320 bytes (cloudflared's published source, 2026.9.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

_MOST_RULES: Final = 100
_LONGEST_RULE: Final = 320  # bytes
_LOCAL: Final = re.compile(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")  # RFC 5322, 3.2.3, without quoted ones
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class GuestList:
    """Addresses and domains; `read` makes one."""

    addresses: frozenset[str]
    domains: frozenset[str]

    @classmethod
    def read(cls, values: Iterable[str]) -> GuestList:
        """Return the rules of the flag's values; ValueError says which rule is wrong by its number, never what it holds."""
        addresses, domains = set[str](), set[str]()
        for number, rule in enumerate(_rules(values), 1):
            if number > _MOST_RULES:
                raise ValueError(f"allowed mail rules exceed the {_MOST_RULES}-entry limit")
            if not rule:
                raise ValueError(f"allowed mail rule {number} is empty")
            if len(rule.encode()) > _LONGEST_RULE:
                raise ValueError(f"allowed mail rule {number} exceeds the {_LONGEST_RULE}-byte limit")
            name, _, domain = rule.rpartition("@")
            if not _is_domain(domain) or (name != "*" and not _LOCAL.fullmatch(name)):
                what = "has an invalid wildcard domain" if name == "*" else "is not a valid email address"
                raise ValueError(f"allowed mail rule {number} {what}")
            (domains if name == "*" else addresses).add(domain if name == "*" else rule)
        return cls(frozenset(addresses), frozenset(domains))

    def allows(self, address: str) -> bool:
        """Return whether a person with this address may pass."""
        address = address.strip().lower()
        name, _, domain = address.rpartition("@")
        return bool(_LOCAL.fullmatch(name)) and (address in self.addresses or domain in self.domains)

    def counted(self) -> str:
        """Return how many there are, without saying who."""
        counts = ((len(self.addresses), "address", "addresses"), (len(self.domains), "domain rule", "domain rules"))
        return ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts if count) or "none"


def _rules(values: Iterable[str]) -> Iterator[str]:
    return (rule.strip().lower() for rule in ",".join(values).split(","))


def _is_domain(text: str) -> bool:
    return len(text) <= 253 and all(_LABEL.fullmatch(label) for label in text.split("."))
