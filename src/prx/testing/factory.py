"""From what a test has — a port, a URL, an application — to a tunnel that leads there."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, TypeAlias

from prx.config.checker import fields_of
from prx.config.checks import BUILTIN
from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.errors import UsageError
from prx.install.programs import NAME, find_client
from prx.testing.application import serving
from prx.testing.hosted import noted, refuse_on_loop
from prx.testing.lab import LabInThread
from prx.testing.tunnels import PATIENCE, Json, Tunnel, Tunnels

Target: TypeAlias = int | str | Callable[..., Any]

_TUNNEL_KEYS = frozenset(fields_of(TunnelSettings)) - {"cloudflare", "local_addr"}
_CLOUDFLARE_KEYS = frozenset(fields_of(CloudflareSettings)) - {"mode", "token", "hostname"}
# A test's server is to see the test and as little else as can be: a receiver that has nothing for GET / is as good as any.
_DEFAULTS: Json = {"health_check_interval_secs": 3600.0, "health_check_expect": "100-499"}
_CLOUDFLARE_DEFAULTS: Json = {"protocol": "http2", "grace_period_secs": 2.0}


class TunnelFactory:
    """`tunnel(target)`: start a connector that leads to `target` and return when its public URL is verified.

    `target`: a port of this machine, `"HOST:PORT"`, a URL, or a WSGI or ASGI application, which is served for the length of the
    test. `hostname`: a named tunnel with that name instead of a quick one. `cloudflared_path`: which connector; by default
    `cloudflared` if that is on PATH, else the one that comes with prx. Further keywords are keys of `[tunnel]` and
    `[tunnel.cloudflare]` in docs/reference/configuration.md, such as `protocol="quic"` or `health_check_path="/health"`.

    Raises UsageError if the arguments cannot work, NotReadyError if no URL is verified within `within` seconds.
    """

    def __init__(self, lab: LabInThread, tunnels: Tunnels, stack: ExitStack) -> None:
        self._lab = lab
        self._tunnels = tunnels
        self._stack = stack

    def __call__(self, target: Target, *, hostname: str = "", within: float = PATIENCE, **settings: Any) -> Tunnel:
        """Start a tunnel and wait for its verified URL."""
        refuse_on_loop("tunnel")
        address = self._address(target)
        # what passes is kept, unless the service may speak HTTP/2 over TLS, which no relay reads
        kept = {"enabled": not address.startswith("https:")}
        written = {"inspect": kept, **self._settings(hostname, settings), "local_addr": address}
        tunnel = self._tunnels.start(self._lab, written)
        self._stack.callback(tunnel.stop)
        tunnel.wait_for_url(within=within)
        return tunnel

    def _address(self, target: Target) -> str:
        if callable(target):
            return f"127.0.0.1:{self._stack.enter_context(serving(target))}"
        return f"127.0.0.1:{target}" if isinstance(target, int) else target

    def _settings(self, hostname: str, given: Json) -> Json:
        if unknown := sorted(given.keys() - _TUNNEL_KEYS - _CLOUDFLARE_KEYS):
            message = f"tunnel() got {', '.join(unknown)}, which is no key of [tunnel] or [tunnel.cloudflare]"
            raise noted(UsageError(message, hint="docs/reference/configuration.md lists the keys"))
        cloudflare = _CLOUDFLARE_DEFAULTS | {key: value for key, value in given.items() if key in _CLOUDFLARE_KEYS}
        cloudflare.setdefault("cloudflared_path", find_client(NAME) or BUILTIN)
        if hostname:
            name = self._lab.lab.full_name(hostname)
            cloudflare |= {"mode": "named", "hostname": name, "token": self._lab.token(name)}
        return _DEFAULTS | {key: value for key, value in given.items() if key in _TUNNEL_KEYS} | {"cloudflare": cloudflare}
