"""Where the dashboard listens, and under which names it may be asked for."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Self

from prx.core.errors import UsageError
from prx.core.hosts import is_loopback

DEFAULT: Final = "127.0.0.1:4141"
_PORT: Final = re.compile(r":([0-9]{1,5})$")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on; `names` are those that it is reached under beside localhost and IP addresses."""

    host: str
    port: int
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str, names: tuple[str, ...] = ()) -> Self:
        """Read HOST:PORT as `prx.config.checks.listen_address` returns it."""
        host, _, port = text.rpartition(":")
        return cls(host.removeprefix("[").removesuffix("]"), int(port), frozenset(map(str.lower, names)))

    @property
    def is_local(self) -> bool:
        """Return whether only this machine reaches it."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """Return HOST:PORT, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Return the URL of the page for a browser on this machine."""
        host = self.host
        if not is_loopback(host) and ipaddress.ip_address(host).is_unspecified:
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}/" if ":" in host else f"http://{host}:{self.port}/"

    def allows(self, host: str) -> bool:
        """Return whether a request's Host header names this server: its port, and a name that no foreign DNS can lead here.

        That is localhost, 127.0.0.1 or [::1]; beyond loopback also every IP address, as an attack by DNS rebinding has to come
        with a name. One of `names` may come with any port: a proxy in front has one of its own.
        """
        name, port = split_host(host)
        if name in self.names:
            return True
        if (port or _DEFAULT_PORTS["http"]) != self.port:
            return False
        return name in {"localhost", "127.0.0.1", "[::1]"} or (not self.is_local and _is_address(name))

    def is_origin(self, origin: str, host: str) -> bool:
        """Return whether a page of `origin` is one of this server, which was asked for as `host`.

        Under one of `names` it may have come over https: a proxy in front speaks it, and this server does not.
        """
        scheme, _, rest = origin.lower().partition("://")
        name, port = split_host(host)
        default = _DEFAULT_PORTS.get(scheme)
        if default is None or not (scheme == "http" or name in self.names):
            return False
        its_name, its_port = split_host(rest)
        return bool(name) and (its_name, its_port or default) == (name, port or default)

    def require_guard(self, *, password: bool) -> None:
        """Raise UsageError if others reach it and nothing guards it."""
        if not self.is_local and not password:
            raise UsageError(
                f"the dashboard would be open to others on {self.authority}, without a password",
                hint="set `[web] password`, or listen on 127.0.0.1",
            )


def split_host(host: str) -> tuple[str, int]:
    """Return name, in lower case, and port of a Host header; port 0 if it has none."""
    found = _PORT.search(host)
    return (host[: found.start()] if found else host).lower(), int(found[1]) if found else 0


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
