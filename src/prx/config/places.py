"""The places where prx and its children listen on this machine: each its own, and none that of the service.

`[web] probes` may be the service itself: a tunnel to prx's own health is a use of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prx.config.positions import KeyPath
from prx.config.schema import TunnelSettings, WebSettings
from prx.core.value import Value, value_class

_ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
_LOOPBACK = "127.0.0.1"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Finding(Value):
    """What is wrong with `key`; `about` names the keys that it follows from, the one whose place is reported first."""

    key: KeyPath
    about: tuple[KeyPath, ...]
    text: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _Place(Value):
    key: KeyPath
    host: str
    port: int

    def meets(self, other: _Place) -> bool:
        """Return whether both cannot be had: the same port, on the same address or on all."""
        same = self.host == other.host or self.host in _ANY or other.host in _ANY
        return same and self.port == other.port


def mistakes(web: WebSettings, tunnels: Mapping[KeyPath, TunnelSettings]) -> Iterator[Finding]:
    """Yield each place that is taken twice; two ports of cloudflared's own metrics are another check's."""
    listening: list[_Place] = []
    for place in [*_of_web(web), *(place for path, tunnel in tunnels.items() for place in _of_tunnel(path, tunnel))]:
        first = next((item for item in listening if place.meets(item)), None)
        if first is not None and not (first.key[-1] == place.key[-1] == "metrics_port"):
            text = f"{place.port} is already used by {'.'.join(map(str, first.key))}; expected another"
            yield Finding(place.key, (place.key, first.key), text)
        listening.append(place)
    untouched = TunnelSettings()
    for path, tunnel in tunnels.items():
        if tunnel == untouched or not tunnel.origin.is_local:
            continue
        key = (*path, "local_addr")
        for place in listening:
            if place.key != ("web", "probes") and place.meets(_Place(key, _address(tunnel.origin_host), tunnel.origin_port)):
                yield Finding(
                    place.key, (place.key, key), f"{place.port} is where the service is (local_addr); expected another port"
                )


def _of_web(web: WebSettings) -> Iterator[_Place]:
    for name in ("listen", "probes"):
        if text := getattr(web, name):
            host, _, port = text.rpartition(":")
            yield _Place(("web", name), _address(host.strip("[]")), int(port))


def _of_tunnel(path: KeyPath, tunnel: TunnelSettings) -> Iterator[_Place]:
    if tunnel.is_relayed and tunnel.inspect.port:
        yield _Place((*path, "inspect", "port"), _LOOPBACK, tunnel.inspect.port)
    if tunnel.backend == "cloudflare" and tunnel.cloudflare.metrics_port:
        yield _Place((*path, "cloudflare", "metrics_port"), _LOOPBACK, tunnel.cloudflare.metrics_port)


def _address(host: str) -> str:
    return _LOOPBACK if host == "localhost" else host
