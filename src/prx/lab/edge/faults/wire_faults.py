"""Faults of the wire: what happens to the bytes or datagrams of connections, live and later ones.

`slot`: only those at the edge address of that number.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DropAfter:
    """Drop each connection some seconds after it came (live ones: from now), or once so many bytes have passed on it.

    Bytes are those inside TLS, over QUIC those of datagrams. Over QUIC the connector gets no notice: no datagram passes any
    more.
    """

    seconds: float | None = None
    bytes: int | None = None
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.seconds is None and self.bytes is None:
            raise ValueError("DropAfter needs seconds or bytes")


@dataclass(frozen=True, slots=True)
class Delay:
    """Delay bytes or datagrams in both directions, in their order; `jitter` is the most that chance adds."""

    seconds: float
    jitter: float = 0.0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class SlowRead:
    """Read so many bytes per second from each connection and no more, so that what a connector sends is held back.

    Over QUIC these are the bytes of streams; what a connection's windows hold already is taken, and credit is withheld.
    """

    rate: int
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ValueError(f"SlowRead: the rate is {self.rate}; expected bytes per second, 1 or more")


@dataclass(frozen=True, slots=True)
class Garble:
    """Change one byte in about `every`, in both directions, inside TLS: what arrives is no HTTP/2 any more.

    Over QUIC the frames of packets are changed before they are protected; outside of that it would be mere loss (`Lose`).
    """

    every: int = 1000
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"Garble: every is {self.every}; expected 1 or more bytes")


@dataclass(frozen=True, slots=True)
class Lose:
    """Lose one UDP datagram in about `every`, in both directions; HTTP/2 is not touched, for TCP would only be slower."""

    every: int = 20
    slot: int | None = None

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"Lose: every is {self.every}; expected 1 or more datagrams")
