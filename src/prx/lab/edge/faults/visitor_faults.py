"""Faults of an edge that visitors meet: Cloudflare's own refusals, and what DNS says.

lab.inject(RefuseVisitors("challenge"))                          # bot rules: no program comes through
lab.inject(RefuseVisitors("1015", retry_after=5, times=3))       # a rate limit
lab.inject(RefuseVisitors("1020", agent="prx/"))                 # a firewall rule that stops prx's own probe alone
lab.inject(Dns("web", ("fd10:aec2:5dae::1",)))                   # the name leads elsewhere
lab.inject(DohError("page"))                                     # a portal answers in the place of the resolver
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import dns.rcode

from prx.lab.edge.names import full_name
from prx.lab.edge.public.error_pages import BY_CODE, Challenge, Problem

_CHALLENGE: Final = "challenge"
_CODES: Final = tuple(str(code) for code in sorted(BY_CODE))
_AFTER_ACCESS: Final = frozenset((1000, 1016, 1033, 1101, 1102, *range(500, 600)))


@dataclass(frozen=True, slots=True)
class RefuseVisitors:
    """Refuse visitors at the edge, as Cloudflare's own rules do: all of them or the next `times`.

    `kind` is `challenge`, or the number on Cloudflare's page: `1015`, `1020`, `522`. `status` replaces the one that goes with
    it (a challenge is 403; 503 before 2022, 429 for some bots). `retry_after`: whole seconds. `hostname`: one name only.
    `agent`: only those whose User-Agent has this in it. The firewall answers before Access does; what routing and
    Workers say, behind.
    """

    kind: str
    status: int | None = None
    retry_after: int | None = None
    hostname: str | None = None
    agent: str | None = None
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind != _CHALLENGE and self.kind not in _CODES:
            raise ValueError(f"unknown kind {self.kind!r}; expected challenge or one of {', '.join(_CODES)}")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"RefuseVisitors: the status is {self.status}; expected 400 to 599")
        if self.hostname is not None:
            full_name(self.hostname)

    @property
    def before_access(self) -> bool:
        """Return whether it comes from the firewall, which checks a request before Access does."""
        return self.kind == _CHALLENGE or int(self.kind) not in _AFTER_ACCESS

    def concerns(self, hostname: str, agent: bytes) -> bool:
        """Return whether a visitor with this User-Agent who asks for this name is meant."""
        named = self.hostname is None or full_name(self.hostname) == hostname
        return named and (self.agent is None or self.agent.encode() in agent)

    @property
    def problem(self) -> Problem | Challenge:
        """What the visitor is shown."""
        if self.kind == _CHALLENGE:
            return Challenge() if self.status is None else Challenge(self.status)
        problem = BY_CODE[int(self.kind)]
        wait = problem.retry_after if self.retry_after is None else self.retry_after
        return replace(problem, status=self.status or problem.status, retry_after=wait)


@dataclass(frozen=True, slots=True)
class Dns:
    """Answer for a name with these addresses, of any owner, and for a family that has none among them with none.

    Without an address the name exists and has none. `*` means every name.
    """

    hostname: str
    addresses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.hostname != "*":
            full_name(self.hostname)
        for address in self.addresses:
            try:
                ipaddress.ip_address(address)
            except ValueError:
                raise ValueError(f"{address!r} is no address; expected such as 192.0.2.1 or fd10:aec2:5dae::1") from None

    def concerns(self, hostname: str) -> bool:
        """Return whether this name is meant."""
        return self.hostname == "*" or full_name(self.hostname) == hostname

    def of(self, version: int) -> list[str]:
        """Return the addresses of one family, 4 or 6."""
        return [address for address in self.addresses if ipaddress.ip_address(address).version == version]


DohKind: TypeAlias = Literal["status", "page", "garbage", "servfail", "refused", "drop", "silence"]
RCODES: Final = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED}
_DOH_KINDS: Final[tuple[DohKind, ...]] = ("status", "page", "garbage", "servfail", "refused", "drop", "silence")


@dataclass(frozen=True, slots=True)
class DohError:
    """Break DNS over HTTPS: each question, or the next `times`.

    `kind`: `status` is an HTTP error (`status`), `page` HTML with status 200 as a portal sends, `garbage` no DNS message,
    `servfail` and `refused` what a resolver says, `drop` a connection closed without an answer, `silence` none at all.
    """

    kind: DohKind = "status"
    status: int = 503
    times: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in _DOH_KINDS:
            raise ValueError(f"unknown kind {self.kind!r}; expected one of {', '.join(_DOH_KINDS)}")
        if not 200 <= self.status <= 599:
            raise ValueError(f"DohError: the status is {self.status}; expected 200 to 599")
