"""The address of the local service (`local_addr`), in the notations that people use for it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from prx.config.hostname import reachable_host
from prx.config.this_machine import is_this_machine
from prx.core.value import Value, value_class

EXPECTED = "PORT, HOST:PORT, [IPV6]:PORT or http(s)://HOST:PORT, such as 8080 or 127.0.0.1:8080"

_DEFAULT_HOST = "127.0.0.1"  # not "localhost": that may resolve to ::1, on which most services do not listen
_STANDARD_PORTS = {"http": 80, "https": 443}
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?")
_HOST_PORT = re.compile(r"(?:\[(?P<ipv6>[^\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[^:\[\]]*)")


@value_class(frozen=True, slots=True, eq=False, repr=False)
class LocalAddr(Value):
    """The origin: `scheme` is http or https, `host` a name or an address without brackets, `port` 1 to 65535."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> LocalAddr:
        """Read one of the notations; raise ValueError, whose text says what is expected (not what was found)."""
        if any(character <= " " or character == "\x7f" for character in text):  # urlsplit drops some of them
            raise ValueError(f"{EXPECTED}, without spaces, line breaks and other control characters")
        if text.startswith("unix:"):
            raise ValueError(f"{EXPECTED}: a Unix socket cannot be probed as the public URL is, so it is not supported")
        if "://" in text:
            return _parse_url(text)
        if text.isascii() and text.isdigit():
            return cls("http", _DEFAULT_HOST, _port(text))
        if text.startswith(":"):
            return _parse_host_port("http", _DEFAULT_HOST + text)
        if _stands_alone(text):  # other words without a port are rather mistakes than hosts
            return _parse_host_port("http", f"{text}:{_STANDARD_PORTS['http']}")
        return _parse_host_port("http", text)

    @property
    def authority(self) -> str:
        """Return HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Return whether it is on this machine, by its name or address."""
        return is_this_machine(self.host)

    @property
    def url(self) -> str:
        """Return SCHEME://HOST:PORT, without a trailing slash; the zone of an address follows %25 (RFC 6874)."""
        return f"{self.scheme}://{self.authority.replace('%', '%25')}"

    def __str__(self) -> str:
        return self.authority if self.scheme == "http" else f"{self.scheme}://{self.authority}"


def _stands_alone(text: str) -> bool:
    """Return whether `text` is a host that needs no port to be taken for one: localhost, or an IP address."""
    if text.lower() == "localhost" or text.lower().endswith(".localhost"):
        return True
    if text.startswith("["):
        return text.endswith("]") and _is_ipv6(text[1:-1])
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    if not _IPV6.fullmatch(text):  # a zone that Python takes may be anything
        return False
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


def _parse_url(text: str) -> LocalAddr:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(EXPECTED) from error
    if parts.scheme not in _STANDARD_PORTS:
        raise ValueError(f"{EXPECTED}: the scheme must be http or https")
    if "@" in parts.netloc:
        raise ValueError(f"{EXPECTED}, without a user name")
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise ValueError(f"{EXPECTED}, without a path (health_check_path is the path that is watched)")
    if parts.netloc.startswith(":"):
        return _parse_host_port(parts.scheme, _DEFAULT_HOST + parts.netloc)
    has_port = re.search(r":\d+$", parts.netloc) is not None
    authority = parts.netloc if has_port else f"{parts.netloc}:{_STANDARD_PORTS[parts.scheme]}"
    return _parse_host_port(parts.scheme, authority)


def _parse_host_port(scheme: str, text: str) -> LocalAddr:
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    if match["ipv6"] is None:
        return LocalAddr(scheme, _name(match["host"]), _port(match["port"]))
    host = match["ipv6"].replace("%25", "%")  # as a zone is written in a URL, RFC 6874
    if not _is_ipv6(host):
        raise ValueError(EXPECTED)
    return LocalAddr(scheme, _name(host), _port(match["port"]))


def _name(text: str) -> str:
    if not text:
        raise ValueError(EXPECTED)
    try:
        return reachable_host(text)
    except ValueError as error:
        raise ValueError(f"{EXPECTED}, and as HOST one {error}") from None


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"{EXPECTED}, with a port from 1 to 65535")
    return int(text)
