"""Host names of the lab: all end in `.localhost`."""

from __future__ import annotations

SUFFIX = ".localhost"  # resolves to this machine everywhere (RFC 6761, 6.3)


def full_name(name: str) -> str:
    """Complete a bare name with `.localhost`; ValueError if it cannot be a host name under it."""
    hostname = name.lower().removesuffix(".")
    if not hostname.endswith(SUFFIX):
        hostname += SUFFIX
    labels = hostname.split(".")
    good = all(label and len(label) <= 63 and label.isascii() and label.replace("-", "a").isalnum() for label in labels)
    if not good or len(hostname) > 253:
        raise ValueError(f"{name!r} is no host name; expected letters, digits and '-', such as 'web{SUFFIX}'")
    return hostname
