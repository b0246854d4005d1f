"""What `prx status` prints: one line for each tunnel, and one more only for what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from prx.core.protocols import PROTOCOL_NAMES
from prx.core.states import UP, State
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import WELL, summary
from prx.logs.text import printable
from prx.ui.text import whole_seconds, wrapped


def status_lines(
    tunnels: Sequence[Mapping[str, Any]],
    *,
    width: int,
    now: float,
    more: Mapping[int, Sequence[str]] = MappingProxyType({}),
) -> list[str]:
    """Return the lines for tunnels as `prx status --json` has them, `width` columns wide; `now` is seconds since 1970.

    `more`: further lines, by a tunnel's place in the list. A URL is never broken: what does not fit beside it is left out or
    goes to a line of its own.
    """
    names = max((len(tunnel["name"]) for tunnel in tunnels), default=0)
    states = max((len(tunnel["state"]) for tunnel in tunnels), default=0)
    lines = []
    for number, tunnel in enumerate(tunnels):
        lines += _tunnel(tunnel, f"{tunnel['name']:<{names}}  {tunnel['state']:<{states}}", width, now)
        lines += more.get(number, ())
    return [printable(line).rstrip() for line in lines]


def dashboard_lines(tunnels: Sequence[Mapping[str, Any]], *, width: int) -> list[str]:
    """Return the lines for the dashboards that these prx are to run, and cannot: the address, why, and what helps."""
    by_prx = {tunnel["prx"]["pid"]: tunnel["prx"].get("dashboard") for tunnel in tunnels if "prx" in tunnel}
    lines = []
    for found in by_prx.values():
        if found and found["reason"]:
            helps = [f"hint: {found['hint']}"] if found["hint"] else []
            lines += [f"dashboard  {found['state']}  {found['listen']}", *_wrapped([found["reason"], *helps], width)]
    return [printable(line).rstrip() for line in lines]


def _tunnel(tunnel: Mapping[str, Any], head: str, width: int, now: float) -> list[str]:
    url = _url(tunnel)
    if len(f"{head}  {url}") > width:
        lines = [head, *([f"  {url}"] if url else [])]
    else:
        line = f"{head}  {url}" if url else head
        for extra in _extras(tunnel, now):
            if len(line) + 2 + len(extra) <= width:
                line += f"  {extra}"
        lines = [line]
    return lines + _wrapped(_trouble(tunnel), width)


def _url(tunnel: Mapping[str, Any]) -> str:
    if not tunnel["url"]:
        return ""
    return str(tunnel["url"]) + ("" if tunnel["proven"] and tunnel["state"] in UP else " (not verified)")


def _extras(tunnel: Mapping[str, Any], now: float) -> list[str]:
    protocols = dict.fromkeys(item["protocol"] for item in tunnel["connectors"] if item["protocol"])
    traffic = tunnel.get("traffic")
    since = (
        ""
        if tunnel["since"] is None
        else f"for {whole_seconds(max(0.0, now - datetime.fromisoformat(tunnel['since']).timestamp()))}"
    )
    return [
        *([f"→ {tunnel['local_addr']}"] if tunnel["local_addr"] else []),
        *([since] if since else []),
        *([" and ".join(PROTOCOL_NAMES.get(protocol, protocol) for protocol in protocols)] if protocols else []),
        *([TrafficStatus(traffic["requests"], traffic["errors"]).words() + " in 5 min"] if traffic else []),
    ]


def _trouble(tunnel: Mapping[str, Any]) -> list[str]:
    """Return what is wrong, when it is tried again and what helps; nothing if all is well, each of its connectors included."""
    if (
        tunnel["verdict"] in WELL
        and tunnel["state"] in UP
        and not (_lacks_connectors(tunnel) or tunnel["state"] == State.DEGRADED)
    ):
        return []
    texts = [why] if (why := summary(tunnel["verdict"], tunnel["reason"])) else []
    if tunnel["next_retry_in"] is not None:
        texts.append(f"next try in {tunnel['next_retry_in']:.0f} s")
    hint = tunnel["hint"] or (f"prx restart {tunnel['name']} starts it again" if tunnel["state"] == State.IDLE else "")
    return [*texts, *([f"hint: {hint}"] if hint else [])]


def _lacks_connectors(tunnel: Mapping[str, Any]) -> bool:
    """Return whether fewer of several connectors serve than are wanted; a prx of an earlier release does not say it."""
    replicas = int(tunnel.get("replicas", 1))
    return replicas > max(1, int(tunnel.get("serving", 0)))


def _wrapped(texts: list[str], width: int) -> list[str]:
    return [line for text in texts for line in wrapped(text, width, "  ")]
