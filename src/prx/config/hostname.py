"""Host names as people write them, and as DNS knows them: checked, with one sentence for each kind of mistake.

A name outside of ASCII (`bücher.example`) becomes its A-label form (RFC 5890), which is what DNS, TLS and cloudflared take;
`shown` turns it back for people. IDNA 2008 with the mapping of UTS 46 is tried first, and IDNA 2003 after it, because names
with symbols that only the older rules allow are in use.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_EXAMPLE: Final = "such as app.example.com"
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")  # RFC 1123, and the underscore that DNS allows
_LONGEST_LABEL: Final = 63  # characters
_LONGEST: Final = 253
_A_LABEL: Final = "xn--"


def hostname(text: str) -> str:
    """Return a public host name as DNS knows it, in lower case; raise ValueError with what is expected. Empty stays empty."""
    if not text:
        return text
    if mistake := _not_a_name_alone(text):
        raise ValueError(mistake)
    name = to_ascii(text.removesuffix(".")).lower()
    if mistake := _no_name(name):
        raise ValueError(mistake)
    return name


def to_ascii(name: str) -> str:
    """Return `name` with every label outside of ASCII as an A-label; raise ValueError if a label has none."""
    if name.isascii():
        return name
    import idna  # noqa: PLC0415 - 20 ms, and rarely needed

    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except idna.IDNAError:
        pass
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError:
        raise ValueError(f"a host name, {_EXAMPLE}, of letters that DNS can hold (IDNA)") from None


def shown(name: str) -> str:
    """Return `name` for people: `bücher.example` for `xn--bcher-kva.example`, unchanged if it holds no A-label."""
    if _A_LABEL not in name.lower():
        return name
    import idna  # noqa: PLC0415 - as above

    try:
        return idna.decode(name)
    except idna.IDNAError:
        return name


def _not_a_name_alone(text: str) -> str:
    """Return what the text holds beside the name, or instead of it; empty if nothing."""
    alone = f"a host name alone, {_EXAMPLE}"
    if any(character.isspace() for character in text):
        return f"{alone}, without spaces"
    if "://" in text:
        return f"{alone}, without {text.partition('://')[0][:12]}:// and path"
    if "@" in text:
        return f"{alone}, without a user name"
    if "/" in text or "?" in text or "#" in text:
        return f"{alone}, without a path"
    if _is_address(text):
        return f"a host name, {_EXAMPLE}: an address has no DNS record and no certificate at Cloudflare"
    if ":" in text:
        return f"{alone}, without a port: the public side is always https on 443"
    if "*" in text:
        return f"one name, {_EXAMPLE}: a wildcard cannot be checked, so name one below it (the tunnel may serve them all)"
    return ""


def _no_name(name: str) -> str:
    """Return why DNS cannot hold `name`; empty if it can."""
    labels = name.split(".")
    if not all(labels):
        return f"a host name, {_EXAMPLE}, with something before, behind and between its dots"
    if any(len(label) > _LONGEST_LABEL for label in labels):
        return f"a host name, {_EXAMPLE}, of at most {_LONGEST_LABEL} characters between two dots"
    if len(name) > _LONGEST:
        return f"a host name, {_EXAMPLE}, of at most {_LONGEST} characters"
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return f"a host name, {_EXAMPLE}, without a dash beside a dot or at an end"
    if not all(_LABEL.fullmatch(label) for label in labels):
        return f"a host name, {_EXAMPLE}, of letters, digits and dashes"
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
