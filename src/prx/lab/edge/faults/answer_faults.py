"""Faults of what the edge answers to a connector: to its registration, and to its request for a quick tunnel."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from prx.lab.protocol.rpc.registration import Rejected

_TIMEOUT_SECONDS: Final = 20.0
_TOO_LARGE: Final = (1 << 20) + 1  # bytes; cloudflared reads a MiB (2026.9.3)

RejectKind: TypeAlias = Literal["permanent", "retryable", "unauthorized", "duplicate"]


@dataclass(frozen=True, slots=True)
class RejectRegistration:
    """Refuse registrations: all of them or the next `times`, of any connection or of `index`."""

    kind: RejectKind = "permanent"
    times: int | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        _check_word(self.kind, _REJECTIONS)

    def answer(self) -> Rejected:
        """Return the reason sent to the connector; its reaction depends on the text alone (see `Rejected`)."""
        return _REJECTIONS[self.kind]


_REJECTIONS: Final[dict[RejectKind, Rejected]] = {
    "permanent": Rejected("Tunnel not found", should_retry=False),
    "retryable": Rejected("Edge is draining, try again later", retry_after=1.0, should_retry=True),
    "unauthorized": Rejected("Unauthorized: Invalid tunnel secret", should_retry=False),
    "duplicate": Rejected("EDUPCONN", should_retry=True),
}


@dataclass(frozen=True, slots=True)
class DelayRegistration:
    """Answer registrations only after `seconds`; cloudflared waits 5 s (`--rpc-timeout`)."""

    seconds: float


QuickKind: TypeAlias = Literal["error", "page", "no_id", "timeout", "json", "empty", "too_large", "unprotected"]


@dataclass(frozen=True, slots=True)
class QuickService:
    """Answer requests for quick tunnels wrongly, all of them or the next `times`, each after `delay` seconds.

    `kind`: `error` is what the real service sends with `status` (429: plain text, else a page); `page` is HTML with any
    status; `json` is an error of its API with any status; `no_id` is JSON without a tunnel in it, as with an error that
    comes as 200; `empty` is no body, `too_large` more than the MiB that cloudflared reads; `unprotected` is a tunnel, but
    without the protection that was asked for; `timeout` is no answer within the 15 s that cloudflared waits. `body`, if
    given, is sent as it is.
    """

    status: int = 429
    kind: QuickKind = "error"
    body: str | None = None
    content_type: str = "text/plain; charset=UTF-8"
    delay: float = 0.0
    times: int | None = None

    def __post_init__(self) -> None:
        _check_word(self.kind, get_args(QuickKind))

    @property
    def waits(self) -> float:
        """Seconds until the answer."""
        return self.delay or (_TIMEOUT_SECONDS if self.kind == "timeout" else 0.0)

    def answer(self) -> tuple[int, str, str]:
        """Return status, content type and body."""
        if self.body is not None:
            return self.status, self.content_type, self.body
        if self.kind in ("json", "no_id"):
            code = 1015 if self.status == 429 and self.kind == "json" else 1101
            body = f'{{"success":false,"result":null,"errors":[{{"code":{code},"message":"error"}}]}}'
            return self.status, "application/json", body
        if self.kind in ("empty", "too_large"):
            return self.status, "application/json", " " * (_TOO_LARGE if self.kind == "too_large" else 0)
        if self.kind == "error" and self.status == 429:
            return self.status, "text/plain; charset=UTF-8", "error code: 1015"
        page = f"<!DOCTYPE html><html><head><title>{self.status}</title></head><body>{self.status}</body></html>"
        return self.status, "text/html; charset=UTF-8", page


def _check_word(word: str, known: Collection[str]) -> None:
    if word not in known:
        raise ValueError(f"unknown kind {word!r}; expected one of {', '.join(known)}")
