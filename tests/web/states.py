"""The states of the dashboard that are photographed: scripted prx, a day of history, a log."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.web.conftest import ScriptedPrx

from prx.core.states import State
from prx.core.status import Connection, ConnectorStatus, ProbeStatus
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import Verdict
from prx.history.latency import bucket
from prx.logs.records import LogRecord

NOW = datetime.now(tz=UTC).timestamp()
URL = "https://mighty-mountain-ghgk.trycloudflare.com"
CHILD = ConnectorStatus(
    24576,
    "2026.8.2",
    "quic",
    tuple(Connection(index, place, "quic") for index, place in enumerate(("fra08", "fra15", "ams01", "ams07"))),
)

UP: dict[str, Any] = {
    "state": State.READY,
    "verdict": Verdict.HEALTHY,
    "reason": "the public URL answers 200",
    "url": URL,
    "proven": True,
    "told": True,
    "since": NOW - 7300,
    "connectors": (CHILD,),
    "last_probe": ProbeStatus(200, 41.0, NOW - 12),
}

STATES: dict[str, dict[str, Any]] = {
    "starting": {
        "state": State.STARTING,
        "verdict": Verdict.STARTING,
        "reason": "no connection to the edge yet",
        "since": NOW - 3,
        "connectors": (ConnectorStatus(24576, "2026.8.2"),),
    },
    "healthy": UP,
    "protected": UP
    | {
        "verdict": Verdict.PROTECTED,
        "reason": "Cloudflare Access answers in place of the service",
        "mode": "named",
        "url": "https://agent.example.com",
    },
    "origin-down": UP
    | {
        "state": State.DEGRADED,
        "verdict": Verdict.ORIGIN_DOWN,
        "reason": "connection refused by 127.0.0.1:8080 (the tunnel is fine)",
        "hint": "start the service on 127.0.0.1:8080, or correct local_addr",
        "since": NOW - 95,
        "last_probe": ProbeStatus(502, 38.0, NOW - 4),
    },
    "edge-lost": UP
    | {
        "state": State.DEGRADED,
        "verdict": Verdict.EDGE_LOST,
        "reason": "no connection to the edge for 42 s",
        "hint": "nothing to do: cloudflared dials again by itself",
        "connectors": (ConnectorStatus(24576, "2026.8.2", "quic"),),
        "attempt": 2,
        "restarts": 1,
        "retry_at": NOW + 3600,
        "since": NOW - 42,
        "last_probe": ProbeStatus(None, None, NOW - 4),
    },
    "failed": {
        "state": State.FAILED,
        "mode": "named",
        "verdict": Verdict.AUTH_REJECTED,
        "reason": "the edge has refused the token for 60 s: Unauthorized: Tunnel not found",
        "hint": "the token may have been rotated: copy it again, and run prx reload",
        "since": NOW - 600,
    },
}


def one(state: str, **about: Any) -> ScriptedPrx:
    """Return a prx with one tunnel in a state."""
    prx = ScriptedPrx(**about)
    prx.track("default", **STATES[state])
    return prx


def many(count: int, **about: Any) -> ScriptedPrx:
    """Return a prx with `count` tunnels in all states."""
    prx = ScriptedPrx(config="/home/me/prx.toml", **about)
    kinds = [
        "healthy",
        "healthy",
        "protected",
        "healthy",
        "origin-down",
        "healthy",
        "edge-lost",
        "healthy",
        "starting",
        "failed",
    ]
    for number in range(count):
        fields = STATES[kinds[number % len(kinds)]]
        url = {"url": f"https://service-{number}.example.com"} if "url" in fields else {}
        prx.track(f"service-{number}", **(fields | url | {"local_addr": f"127.0.0.1:{8080 + number}", "mode": "named"}))
    return prx


def showcase(**about: Any) -> ScriptedPrx:
    """Return a prx as it may be in use: four tunnels, one of them with a fault."""
    prx = ScriptedPrx(config="/home/me/prx.toml", **about)
    shop = {"url": "https://shop.example.com", "mode": "named", "traffic": TrafficStatus(412, 3, 86)}
    prx.track("shop", **UP | shop | {"local_addr": "127.0.0.1:8080", "since": NOW - 260_000})
    hooks = STATES["origin-down"] | {"url": "https://hooks.example.com", "mode": "named", "local_addr": "127.0.0.1:9000"}
    prx.track("webhooks", **hooks | {"reason": "connection refused by 127.0.0.1:9000 (the tunnel is fine)", "hint": ""})
    agent = {"local_addr": "127.0.0.1:7860", "since": NOW - 51_000, "traffic": TrafficStatus(27, 0, 4)}
    prx.track("agent", **STATES["protected"] | agent)
    prx.track("demo", **UP | {"local_addr": "127.0.0.1:5173", "since": NOW - 1_900, "traffic": TrafficStatus(9, 0, 1)})
    return prx


SHOWCASE_OUTAGES = {
    "shop": {"edge_lost"},
    "webhooks": {"origin_down"},
    "agent": {"offline", "origin_down"},
    "demo": {"crashed"},
}


def write_log(path: Path) -> Path:
    """Write a story with a hostile line in it."""
    rows = [
        ("info", "prx", "connector to Cloudflare: cloudflared at /usr/local/bin/cloudflared"),
        ("info", "prx", "spawned after 0.03 s (pid 24576)"),
        ("info", "cloudflared", "Requesting new quick Tunnel on trycloudflare.com..."),
        ("info", "prx", "connected after 2.4 s"),
        ("info", "cloudflared", "Registered tunnel connection connIndex=0 location=fra08 protocol=quic"),
        ("error", "cloudflared", 'GET /<script>alert(1)</script><img src=x onerror="alert(2)"> \x1b[2J\x1b]0;owned\x07 502'),
        ("warn", "prx", "origin_down: connection refused by 127.0.0.1:8080 (the tunnel is fine)"),
        ("info", "prx", f"public at {URL}"),
        ("info", "prx", "healthy: the public URL answers 200"),
    ]
    texts = [
        LogRecord(f"2026-11-28T22:0{number}:10.123Z", "", level, text, source).to_json()
        for number, (level, source, text) in enumerate(rows)
    ]
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


def write_history(
    folder: Path, key: str, tunnels: list[str], now: float = NOW, only: Mapping[str, Collection[str]] | None = None
) -> None:
    """Write a day: up, with an outage of the service, one of the edge and one of the network in it, and probes.

    `only`: by tunnel, the causes that it had; without it, all of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begin = now - 86400 * 0.8
    records: list[dict[str, Any]] = [
        {"at": begin, "event": "prx_started", "pid": 1, "tunnels": dict.fromkeys(tunnels, "127.0.0.1:8080")}
    ]
    changes = [
        (0, "starting"),
        (20, "healthy"),
        (9000, "origin_down"),
        (10800, "healthy"),
        (30000, "edge_lost"),
        (30300, "healthy"),
        (44000, "offline"),
        (46000, "edge_lost"),
        (46100, "healthy"),
        (60000, "crashed"),
        (60030, "healthy"),
    ]
    for name in tunnels:
        records += [
            {
                "at": begin + at,
                "event": "verdict_changed",
                "tunnel": name,
                "new": verdict,
                "old": "",
                "reason": verdict.replace("_", " ") + ", as seen",
            }
            for at, verdict in changes
            if only is None or verdict in {"starting", "healthy", *only[name]}
        ]
        for window in range(int(86400 * 0.8 // 300)):
            at = begin + window * 300
            failed = 9000 <= window * 300 < 10800 and (only is None or "origin_down" in only[name])
            buckets = {} if failed else {str(bucket(35 + window % 7 * 3)): 9, str(bucket(90 + window % 11 * 20)): 1}
            records.append(
                {"at": at, "event": "probes", "tunnel": name, "count": 10, "failed": 10 if failed else 0, "buckets": buckets}
            )
    records += [{"at": begin + at, "event": "alive"} for at in range(0, int(86400 * 0.8), 60)]
    records += [{"at": begin + 60001, "event": "child_started"}]
    records.sort(key=lambda item: item["at"])
    for day, lines in _by_day(records):
        (folder / f"{key}.{day}.jsonl").write_text("".join(lines))


def _by_day(records: list[dict[str, Any]]) -> Iterator[tuple[str, list[str]]]:
    days: dict[str, list[str]] = {}
    for record in records:
        day = datetime.fromtimestamp(record["at"], tz=UTC).strftime("%Y%m%d")
        days.setdefault(day, []).append(json.dumps(record) + "\n")
    yield from days.items()


Scripted = Callable[..., ScriptedPrx]
