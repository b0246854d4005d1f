"""Find out whether a redirect of the service leads visitors in a circle, by following it on this machine.

The public URL is asked once and never followed (a service token goes to no other URL, and no rule of the edge is asked twice).
But a redirect within the public name comes back to the same service, which can be asked here as the connector asks it. A circle
counts only if the service sends the first redirect here as it does in public, sets no cookie on the way (with it a visitor may
come out), and leads back to a URL that was asked.

What leads somewhere is not followed again for `REST` seconds, so that a page behind a login costs a request more now and then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from prx.config.schema import TunnelSettings
from prx.core.deadline import Deadline
from prx.core.evidence import Public
from prx.core.redirects import REDIRECTS, dead_end, is_same, next_url
from prx.runtime.probes.connect import FailureKind, ProbeError
from prx.runtime.probes.origin import ask_service

REST: Final = 600.0  # seconds
WITHIN: Final = 1.0  # seconds for all questions
HOPS: Final = 5  # of the circles that people report none has more than three URLs; browsers give up after 20


class RedirectCircle:
    """The redirects of one tunnel's service. `now` returns monotonic seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._leads_on: tuple[str, str] | None = None  # asked, and where to
        self._until = 0.0

    async def find(self, settings: TunnelSettings, asked: str, public: Public) -> tuple[str, ...]:
        """Return the URLs of the circle into which the redirect `public` of the URL `asked` leads; empty if none is proven."""
        if (
            public.status not in REDIRECTS
            or public.sets_cookie
            or public.access
            or not (first := next_url(asked, public.location))
        ):
            return ()
        if is_same(asked, first) or ((asked, first) == self._leads_on and self._now() < self._until):
            return ()
        try:
            circle = await _follow(settings, asked, first, Deadline(self._now, WITHIN))
        except ProbeError:  # prx itself could not ask: that is no reason to rest
            return ()
        if not circle:
            self._leads_on, self._until = (asked, first), self._now() + REST
        return circle


async def _follow(settings: TunnelSettings, asked: str, first: str, deadline: Deadline) -> tuple[str, ...]:
    """Return the URLs of a circle, none if there is none; ProbeError if this machine has nothing left to ask with."""
    urls, wanted = [asked], first
    for _ in range(HOPS):
        target = await _next(settings, urls[-1], deadline)
        if not target or (wanted and not is_same(target, wanted)):
            return ()
        if any(is_same(target, url) for url in urls):
            return (*urls, target)
        urls.append(target)
        wanted = ""
    return ()


async def _next(settings: TunnelSettings, url: str, deadline: Deadline) -> str:
    """Return where the service sends a visitor of `url`; empty if it does not, or if that leads elsewhere."""
    parts = urlsplit(url)
    if deadline.is_over:
        return ""
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        answer = await ask_service(settings, target, host=parts.netloc, scheme=parts.scheme, timeout=deadline.left)
    except ProbeError as error:
        if error.trouble is FailureKind.SHORT:
            raise
        return ""
    if answer.status not in REDIRECTS or "set-cookie" in answer.headers or dead_end(url, answer.location, sets_cookie=True):
        return ""
    return next_url(url, answer.location)
