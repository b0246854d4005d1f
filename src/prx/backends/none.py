"""The backend without a child: somebody else keeps the public URL up, and prx only watches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prx.backends.base import Counters, EdgeSite, LaunchContext, LineKind, LogLine, Readiness
from prx.core.errors import PermanentError
from prx.core.evidence import ChildExit, ExitCause
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings


class NoneBackend:
    """A `Backend` that has a URL and nothing to launch."""

    def __init__(self, settings: TunnelSettings) -> None:
        self.settings = settings
        self.name = "none"
        self.mode = "none"
        self.secrets: tuple[str, ...] = ()

    @property
    def tunnel_id(self) -> str:
        """Return nothing: there are no connectors."""
        return ""

    def check(self) -> None:
        """Raise PermanentError when there is no URL to watch."""
        if not self.settings.public_url:
            raise PermanentError(
                'backend = "none" has no URL to watch',
                hint="set PRX_TUNNEL_URL or public_url to the URL that somebody else keeps up",
            )

    def launch(self, context: LaunchContext) -> Launch:
        """Raise: there is nothing to run, and nobody should ask."""
        raise PermanentError('backend = "none" runs no client', hint='set backend = "cloudflare" to have one run')

    def fixed_url(self, site: EdgeSite) -> str:
        """Return the URL that is watched, whatever the site."""
        return self.settings.public_url.rstrip("/")

    def parse_line(self, stream: str, line: bytes) -> LogLine:
        """Return the line as it is."""
        return LogLine("info", line.decode("utf-8", "replace"), LineKind.OTHER)

    def longest_wait(self, rounds: int) -> float:
        """Return no wait: nothing connects."""
        return 0.0

    def classify_exit(self, end: ExitStatus, tail: Sequence[LogLine], *, age: float) -> ChildExit:
        """Name a crash, as there is nothing to know of."""
        return ChildExit(end.code, end.signal, ExitCause.CRASH)

    def parse_ready(self, status: int, body: bytes) -> Readiness | None:
        """Return None: there is no client to be ready."""
        return None

    def parse_quick_hostname(self, status: int, body: bytes) -> str:
        """Return no name."""
        return ""

    def parse_counters(self, body: bytes) -> Counters:
        """Return no counts."""
        return Counters()

    def route_mismatch(self, status: int, body: bytes) -> str:
        """Return no mismatch: there are no rules to compare."""
        return ""
