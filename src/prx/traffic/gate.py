"""Who may pass a relay: visitors who know a password or a token, or who come from an address that is allowed.

It is asked for each request, before the service sees a byte of it. Secrets are compared in constant time; an address that has
guessed wrong `TRIES` times within `PERIOD` is not asked any more until that is over. The visitor's address is what the edge
says (`CF-Connecting-IP`; Cloudflare sets it and a visitor cannot): one that is not named once and clearly is not allowed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from prx.traffic.framing import Head
from prx.traffic.own import is_own

TRIES: Final = 10
PERIOD: Final = 60.0  # seconds
_REMEMBERED: Final = 10_000  # addresses
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a visitor gets instead of the service's answer."""

    status: int
    reason: str
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    def answer(self) -> bytes:
        """Return the whole answer."""
        body = f"{self.text}\n".encode()
        fixed = (
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
        )
        lines = [
            f"HTTP/1.1 {self.status} {self.reason}",
            *(f"{n}: {v}" for n, v in (*self.headers, *fixed)),
            "Connection: close",
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


UNCLEAR: Final = Refusal(400, "Bad Request", "prx cannot tell where this request ends")
_AGAIN: Final = Refusal(
    429, "Too Many Requests", "too many wrong passwords; wait a minute", (("Retry-After", str(int(PERIOD))),)
)
_ELSEWHERE: Final = Refusal(403, "Forbidden", "your address may not visit this")


class Gate:
    """Judges requests. `basic`: "USER:PASSWORD" pairs; `bearer`: tokens; any of both lets in. `networks`: only from there.

    `own`: the word that prx's own checks carry. `now` returns monotonic seconds.
    """

    def __init__(
        self,
        *,
        basic: Sequence[str] = (),
        bearer: Sequence[str] = (),
        networks: Sequence[str] = (),
        own: str = "",
        now: Callable[[], float],
    ) -> None:
        self._basic = [_digest(pair.encode()) for pair in basic]
        self._bearer = [_digest(token.encode()) for token in bearer]
        self._networks: list[Network] = [ipaddress.ip_network(text, strict=False) for text in networks]
        self._own = own.encode()
        self._now = now
        self._wrong: OrderedDict[bytes, tuple[float, int]] = OrderedDict()  # address: when it began, how many

    def judge(self, head: Head) -> Refusal | None:
        """Return what to answer instead of asking the service; None if the visitor may pass."""
        if head.doubts or head.method == b"CONNECT":
            return UNCLEAR
        if is_own(head, self._own):
            return None
        addresses = head.values(b"cf-connecting-ip")
        if self._networks and not self._is_allowed(addresses):
            return _ELSEWHERE
        return self._credentials(head, b",".join(addresses)) if self._basic or self._bearer else None

    def _is_allowed(self, addresses: list[bytes]) -> bool:
        try:
            (text,) = addresses
            address = ipaddress.ip_address(text.decode("ascii"))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    def _credentials(self, head: Head, address: bytes) -> Refusal | None:
        began, count = self._wrong.get(address, (self._now(), 0))
        if self._now() - began >= PERIOD:
            began, count = self._now(), 0
        if count >= TRIES:
            return _AGAIN
        given = head.values(b"authorization")
        if len(given) == 1 and self._knows(given[0]):
            self._wrong.pop(address, None)
            return None
        if given:  # a visitor who has not tried yet has not guessed
            self._wrong[address] = (began, count + 1)
            self._wrong.move_to_end(address)
            while len(self._wrong) > _REMEMBERED:
                self._wrong.popitem(last=False)
        return self._asks()

    def _knows(self, given: bytes) -> bool:
        scheme, _, rest = given.partition(b" ")
        match scheme.lower():
            case b"basic":
                try:
                    pair = base64.b64decode(rest.strip(), validate=True)
                except binascii.Error:
                    return False
                return _is_one_of(pair, self._basic)
            case b"bearer":
                return _is_one_of(rest.strip(), self._bearer)
            case _:
                return False

    def _asks(self) -> Refusal:
        schemes = [("WWW-Authenticate", 'Basic realm="prx", charset="UTF-8"')] if self._basic else []
        schemes += [("WWW-Authenticate", 'Bearer realm="prx"')] if self._bearer else []
        return Refusal(401, "Unauthorized", "a password or a token is needed", tuple(schemes))


def _digest(data: bytes) -> bytes:
    """Return what stands for a secret in comparisons: of the same length for all."""
    return hashlib.sha256(data).digest()


def _is_one_of(given: bytes, known: list[bytes]) -> bool:
    found = [hmac.compare_digest(_digest(given), item) for item in known]  # all of them, also after one that fits
    return any(found)
