"""Choose the protocol of each connection, and leave QUIC for HTTP/2 if QUIC does not get through.

Theory of operation. A tunnel begins with one protocol and may have another to fall back to. The first connection begins
with the former, the others with what the first one came to. A connection falls back when nothing was heard in so
many dials (`--max-edge-addr-retries`), or when other failures have raised its backoff to its longest wait. It
never does once any connection of the tunnel was registered over the protocol that the tunnel begins with. A connection
that fell back, was registered and is lost once more begins again with the first protocol. Observed with cloudflared 2026.8.2.

Which protocols those are follows from the command line: `http2` and `quic` mean themselves alone. `auto` means QUIC with
HTTP/2 to fall back to if the token came as flag or environment; else it hangs on a DNS record of Cloudflare's, and
without an answer it means HTTP/2. This connector never asks, so there it always does. A quick tunnel without
`--protocol` means QUIC alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prx.lab.connector.command_line import Values
from prx.lab.connector.edge.backoff import Backoff
from prx.lab.connector.edge.transport import DialError, DuplicateError, EdgeConnectionError, SilentError
from prx.lab.connector.errors import StartError
from prx.lab.connector.log import Field, Log

_PROTOCOLS: Final = (
    "Available protocols: 'auto' - automatically chooses the best protocol over time (the default; and also the "
    "recommended one); 'quic' - based on QUIC, relying on UDP egress to Cloudflare edge; 'http2' - using Go's HTTP2 "
    "library, relying on TCP egress to Cloudflare edge"
)
_H2MUX: Final = (
    "h2mux is no longer a supported protocol: upgrading edge connection to http2. Please remove '--protocol h2mux' from "
    "runtime arguments to remove this warning."
)
_BLOCKED: Final = (
    "If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with `quic` protocol, then "
    "most likely your machine/network is getting its egress UDP to port 7844 (or others) blocked or dropped. Make sure to "
    "allow egress connectivity as per https://developers.cloudflare.com/cloudflare-one/connections/connect-apps/"
    "configuration/ports-and-ips/\n"
    "If you are using private routing to this Tunnel, then ICMP, UDP (and Private DNS Resolution) will not work unless your "
    "cloudflared can connect with Cloudflare Network with `quic`."
)


@dataclass(frozen=True, slots=True)
class Protocols:
    """The protocol to begin with and the one to fall back to (empty: none); `dials` fail before that."""

    first: str = "http2"
    fallback: str = ""
    dials: int = 8

    @property
    def all(self) -> tuple[str, ...]:
        """Return the protocols that may be needed."""
        return (self.first, self.fallback) if self.fallback else (self.first,)


def read_protocols(values: Values, *, quick: bool, log: Log) -> Protocols:
    """Return the protocols that the flags ask for; raise StartError for one that does not exist."""
    wanted = values.text("protocol")
    dials = max(0, int(values.number("max-edge-addr-retries")))
    if quick and "protocol" not in values:
        wanted = "quic"
    match wanted:
        case "quic":
            return Protocols("quic", dials=dials)
        case "auto" if "token" in values:
            return Protocols("quic", "http2", dials)
        case "auto" | "http2":
            return Protocols("http2", dials=dials)
        case "h2mux":
            log.warn(_H2MUX)
            return Protocols("http2", dials=dials)
        case _:
            raise StartError(f"unknown protocol {wanted}, {_PROTOCOLS}")


@dataclass(slots=True)
class Choice:
    """The protocol of one connection; `proven` is shared by all and holds what any was registered with."""

    protocols: Protocols
    proven: set[str]
    current: str
    fell_back: bool = False
    failed_dials: int = 0

    def registered(self) -> None:
        """Take note that the connection was registered."""
        self.proven.add(self.current)
        self.fell_back = False

    def failed(self, failure: EdgeConnectionError) -> bool:
        """Take note of a failure; return whether `reconsider` is due after the wait that follows."""
        match failure:
            case DialError():
                due = self.failed_dials >= self.protocols.dials
                self.failed_dials = 0 if due else self.failed_dials + 1
                return due
            case DuplicateError():
                return False
            case _:
                return True

    def reconsider(self, failure: EdgeConnectionError, backoff: Backoff, log: Log, **fields: Field) -> None:
        """Change the protocol if it is time to, and say so."""
        first, fallback = self.protocols.first, self.protocols.fallback
        if first in self.proven:
            return
        silent = isinstance(failure, SilentError)
        if backoff.exhausted or (fallback and silent):
            if silent:
                log.warn(_BLOCKED, **fields)
            if fallback and self.current != fallback:
                log.info(f"Switching to fallback protocol {fallback}", **fields)
                backoff.succeeded()
                self.current, self.fell_back = fallback, True
        elif not self.fell_back and self.current != first:
            self.current = first
            log.info(f"Changing protocol to {first}", **fields)
