"""Faults of Cloudflare's API, as the lab serves it.

lab.inject(Api("forbidden", permission="DNS Write"))         # a token without that permission; "DNS": without the row
lab.inject(Api("rate_limited", retry_after=3, times=2))      # 429, twice
lab.inject(Api("lost", calls="writes", skip=2, times=1))     # the third write takes effect, and its answer is lost
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal, TypeAlias, get_args

from prx.lab.edge.api.permissions import named

ApiKind: TypeAlias = Literal[
    "forbidden", "rate_limited", "page", "error", "lost", "cut", "conflict", "delay", "unsuccessful", "not_enabled", "silence"
]
Calls: TypeAlias = Literal["any", "reads", "writes"]
ZoneIs: TypeAlias = Literal["pending", "initializing", "moved", "paused", "partial"]
_READS: Final = frozenset(("GET", "HEAD"))


@dataclass(frozen=True)
class Api:
    """Answer calls of the API wrongly: those that are meant, after the first `skip` of them, all or the next `times`.

    `kind`: `forbidden` is 403 with code 10000; `rate_limited` 429 with `code` (971; 0: none), and `retry_after` seconds if
    given; `page` an HTML page with `status` (502); `error` JSON with `status` (500) and `code`; `unsuccessful` 200 with
    `success: false`; `conflict` what the call answers if the name is taken (409 with 1013 for tunnels, 400 with 81053 for DNS,
    409 with 12136 for Access); `not_enabled` Access that is not switched on; `cut` closes the connection before anything is
    done, `lost` after it is done, `silence` never answers, `delay` answers `seconds` later, when it is done.

    Meant are the calls with this `method`, whose path below /client/v4 matches `path` (`*` stands for anything), which need
    this `permission` (`DNS_Write`, or `DNS` for all calls of the row), and which read or write as `calls` says; what is not
    given does not matter.
    """

    kind: ApiKind
    status: int | None = None
    code: int | None = None
    retry_after: int | None = None
    seconds: float = 5.0
    method: str | None = None
    path: str | None = None
    permission: str | None = None
    calls: Calls = "any"
    skip: int = 0
    times: int | None = None

    def __post_init__(self) -> None:
        for name, word, known in (("kind", self.kind, get_args(ApiKind)), ("calls", self.calls, get_args(Calls))):
            if word not in known:
                raise ValueError(f"Api: unknown {name} {word!r}; expected one of {', '.join(known)}")
        if self.permission is not None:
            named(self.permission)
        if self.skip < 0 or self.seconds < 0:
            raise ValueError("Api: skip and seconds are 0 or more")
        if self.status is not None and not 200 <= self.status <= 599:
            raise ValueError(f"Api: the status is {self.status}; expected 200 to 599")

    def concerns(self, method: str, path: str, lacking: frozenset[str]) -> bool:
        """Return whether a call is meant; `lacking`: what a token may lack for it, as `Need` says."""
        return (
            self.method in (None, method)
            and (self.path is None or fnmatchcase(path, self.path))
            and (self.permission is None or named(self.permission) in lacking)
            and (self.kind != "not_enabled" or "/access/" in path)
            and (self.calls == "any" or (method in _READS) == (self.calls == "reads"))
        )


@dataclass(frozen=True)
class ApiHides:
    """Leave tunnels out that the caller may not see, as a granular role does: those whose name begins so, or all.

    They are in no list, and not found by id; their names are taken all the same.
    """

    prefix: str = ""


@dataclass(frozen=True)
class ZoneState:
    """Have the account's zone not serve its names, as the API says and as DNS shows.

    `pending`, `initializing` (not yet) and `moved` (no more): the domain's name servers are not Cloudflare's, so no name of it
    resolves. `partial`: names resolve where their own DNS provider leads them here, which it does not. `paused`: names resolve,
    but to what the records say, and not through Cloudflare.
    """

    is_now: ZoneIs

    def __post_init__(self) -> None:
        if self.is_now not in get_args(ZoneIs):
            raise ValueError(f"ZoneState: unknown {self.is_now!r}; expected one of {', '.join(get_args(ZoneIs))}")


@dataclass(frozen=True)
class SlowDns:
    """Publish a new record in DNS only after so many seconds."""

    seconds: float
