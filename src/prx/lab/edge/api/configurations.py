"""Remote configurations: `/accounts/{account}/cfd_tunnel/{tunnel}/configurations`, checked, kept, and pushed to connectors."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from prx.lab.edge.api import errors
from prx.lab.edge.api.call import Call, Route
from prx.lab.edge.api.permissions import TUNNEL, read, write
from prx.lab.edge.api.times import rfc3339
from prx.lab.edge.api.tunnels import BASE, Tunnels, source
from prx.lab.edge.registry import ACCOUNT_TAG, Tunnel

_PATH: Final = f"{BASE}/{{tunnel}}/configurations"
_SERVICE: Final = re.compile(
    r"(https?|tcp|ssh|rdp|smb)://\S+|unix(\+tls)?:\S+|bastion|hello_world|hello-world|http_status:[1-5]\d\d|socks-proxy"
)
_TIMES: Final = ("connectTimeout", "tlsTimeout", "tcpKeepAlive", "keepAliveTimeout")  # whole seconds


class Configurations:
    """The calls about configurations; `push(tunnel)` sends it to the connectors, `wall` is seconds since 1970."""

    def __init__(self, tunnels: Tunnels, push: Callable[[Tunnel], None], wall: Callable[[], float]) -> None:
        self._tunnels = tunnels
        self._push = push
        self._wall = wall

    def routes(self) -> list[Route]:
        """Return the calls."""
        return [Route("GET", _PATH, read(TUNNEL), self._get), Route("PUT", _PATH, write(TUNNEL), self._put)]

    def _get(self, call: Call) -> Any:
        return describe(self._tunnels.find(call.params["tunnel"]))

    def _put(self, call: Call) -> Any:
        tunnel = self._tunnels.find(call.params["tunnel"])
        if source(tunnel) == "local" and call.habits.configure_local == "refuse":
            raise _bad("this tunnel is configured locally")
        config = call.body().get("config")
        check(config)
        tunnel.config = json.dumps(config).encode()
        tunnel.config_version += 1
        tunnel.configured_at = self._wall()
        self._push(tunnel)
        return describe(tunnel)


def describe(tunnel: Tunnel) -> dict[str, Any]:
    """Write a tunnel's configuration; null until one is put."""
    changed = tunnel.created_at if tunnel.configured_at is None else tunnel.configured_at
    return {
        "account_id": ACCOUNT_TAG,
        "tunnel_id": str(tunnel.id),
        "version": tunnel.config_version,
        "config": None if tunnel.config is None else json.loads(tunnel.config),
        "source": source(tunnel),
        "created_at": rfc3339(changed),
    }


def check(config: Any) -> None:
    """Raise ApiError if a configuration is not good."""
    if not isinstance(config, dict):
        raise _bad("config: expected an object")
    rules = config.get("ingress")
    if rules is not None:
        if not isinstance(rules, list) or not rules or not all(isinstance(rule, dict) for rule in rules):
            raise _bad("ingress: expected a list of rules")
        for number, rule in enumerate(rules, 1):
            _check_rule(number, rule, last=number == len(rules))
    _check_options("originRequest", config.get("originRequest"))


def _check_rule(number: int, rule: dict[str, Any], *, last: bool) -> None:
    where = f"ingress rule {number}"
    service = rule.get("service")
    if not isinstance(service, str) or not _SERVICE.fullmatch(service):
        raise _bad(f"{where}: {service!r} is not a valid service")
    catches_all = rule.get("hostname") in (None, "", "*") and not rule.get("path")
    if str(rule.get("hostname") or "").rfind("*") > 0:  # as cloudflared itself says of such a rule
        raise _bad(
            'Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains, '
            'e.g. "*.example.com"'
        )
    if last and not catches_all:
        raise _bad("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)")
    if catches_all and not last:
        raise _bad(f"{where} matches all URLs, so the rules behind it would never be reached")
    try:
        re.compile(str(rule.get("path") or ""))
    except re.error:
        raise _bad(f"{where}: the path is not a valid regular expression") from None
    _check_options(f"{where}: originRequest", rule.get("originRequest"))


def _check_options(where: str, options: Any) -> None:
    if options is None:
        return
    if not isinstance(options, dict):
        raise _bad(f"{where}: expected an object")
    for name in _TIMES:
        value = options.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _bad(f"{where}: {name}: expected an integer, found {value!r}")
    access = options.get("access")
    if isinstance(access, dict) and access.get("required") and not access.get("teamName"):
        raise _bad(f"{where}: access.teamName cannot be blank")


def _bad(message: str) -> errors.ApiError:
    return errors.ApiError(400, 1056, f"Bad Configuration: {message}")
