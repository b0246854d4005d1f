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
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_BROADCAST: Final = ipaddress.IPv4Address("255.255.255.255")


def hostname(text: str) -> str:
    """Return a public host name as DNS knows it, in lower case; raise ValueError with what is expected. Empty stays empty."""
    if not text:
        return text
    if mistake := _not_a_name_alone(text):
        raise ValueError(mistake)
    name = to_ascii(text.removesuffix(".")).lower()
    if mistake := _no_name(name):
        raise ValueError(f"a host name, {_EXAMPLE}, {mistake}")
    return name


def reachable_host(text: str) -> str:
    """Return a name or an address (without brackets) that a connection can be made to, on any network, as DNS knows it.

    A final dot is dropped. Raise ValueError, whose text goes on after "a host …", for what no resolver can find and no socket
    connect to. Names of one word and names with underscores are in use in private networks (compose files, hosts files).
    """
    if ":" in text:
        _require_connectable(text)
        return text
    name = text.removesuffix(".")
    if mistake := _beside_a_dot(name):
        raise ValueError(mistake)
    try:
        name = to_ascii(name)
    except ValueError:
        raise ValueError("of letters that DNS can hold (IDNA)") from None
    if mistake := _no_name(name):
        raise ValueError(mistake)
    if all(_NUMBER.fullmatch(label) for label in name.split(".")):
        _require_connectable(name)
    return name


def _require_connectable(text: str) -> None:
    """Raise ValueError if this is no address, or one that no service listens on.

    Shortened and octal notations (`127.1`, `0127.0.0.1`) are read by some resolvers; Go's, and so cloudflared's, knows none.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("of letters, or an IPv4 address of four numbers from 0 to 255, without leading zeros") from None
    if address.is_multicast or address == _BROADCAST:
        raise ValueError("that takes connections, and no multicast or broadcast address does")
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and not address.scope_id:
        raise ValueError(f"with its network interface, as a link-local address needs it, such as [{address}%eth0]")


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
    """Return what DNS asks of a name and `name` does not have; empty if it can hold it."""
    labels = name.split(".")
    if not all(labels):
        return "with something before, behind and between its dots"
    if any(len(label) > _LONGEST_LABEL for label in labels):
        return f"of at most {_LONGEST_LABEL} characters between two dots"
    if len(name) > _LONGEST:
        return f"of at most {_LONGEST} characters"
    if mistake := _beside_a_dot(name):
        return mistake
    if not all(_LABEL.fullmatch(label) for label in labels):
        return "of letters, digits and dashes"
    return ""


def _beside_a_dot(name: str) -> str:
    """Return what is wrong with dashes; asked before IDNA as well, for an A-label hides them."""
    found = any(label.startswith("-") or label.endswith("-") for label in name.split("."))
    return "without a dash beside a dot or at an end" if found else ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
