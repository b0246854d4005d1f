"""What the checks examine, as arguments: nothing reads a global."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prx.backends.base import CLOUDFLARE, EdgeSite
from prx.config.schema import Config
from prx.core.evidence import Dns
from prx.runtime.host.clock import Clock, SystemClock
from prx.runtime.probes.resolver import Resolver, by_system

# Where cloudflared looks for a configuration when it is given none (observed with cloudflared 2026.8.2).
STRAY_FOLDERS = ("~/.cloudflared", "~/.cloudflare-warp", "~/cloudflare-warp", "/etc/cloudflared", "/usr/local/etc/cloudflared")


@dataclass(frozen=True, slots=True)
class Context:
    """The configuration, the environment, the edge, and where the system keeps what the checks read.

    root: `/` but in tests. lab: the tunnels use the local edge, which needs neither the Internet nor an account.
    by_system: asks the machine's own resolver for a name that exists. own_mark: returns the word by which a prx that runs here
    knows a check of a URL as its own, empty if there is none; blocking.
    """

    config: Config
    environ: Mapping[str, str]
    site: EdgeSite = CLOUDFLARE
    clock: Clock = field(default_factory=SystemClock)
    root: Path = Path("/")
    lab: bool = False
    by_system: Callable[[str], Awaitable[Dns]] = by_system
    own_mark: Callable[[str], str] = lambda _url: ""

    @property
    def doh(self) -> tuple[str, ...]:
        """The DNS-over-HTTPS servers: those of the configuration, else those of the site."""
        chosen = (url for settings in self.config.tunnels.values() for url in settings.doh)
        return tuple(dict.fromkeys(chosen)) or self.site.doh

    @property
    def resolver(self) -> Resolver:
        """A resolver of public names."""
        return Resolver(self.doh, clock=self.clock)

    def endpoint(self, path: str) -> Path:
        """Return a path of the system; `~` is the user's home."""
        home = self.environ.get("HOME", "/root")
        return self.root / path.replace("~", home, 1).lstrip("/")
