"""`prx status` for people: one line per tunnel, the URL never broken, more only for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from prx.ui.status_lines import status_lines

URL = "https://gentle-hills-wander-slowly.trycloudflare.com"
NOW = 1767225780.0  # 2026-01-01T00:03:00Z


def tunnel(**changes: Any) -> dict[str, Any]:
    """Return a healthy tunnel as `prx status --json` has it, with changes."""
    return {
        "name": "web",
        "state": "ready",
        "verdict": "healthy",
        "reason": "the public URL answers 200",
        "hint": "",
        "url": URL,
        "proven": True,
        "local_addr": "127.0.0.1:8080",
        "since": "2026-01-01T00:00:00.000Z",
        "next_retry_in": None,
        "connectors": [{"protocol": "quic"}],
    } | changes


DOWN = tunnel(
    name="api",
    state="degraded",
    verdict="origin_down",
    reason="connection refused by 127.0.0.1:9000 (the tunnel is fine)",
    hint="start the service on 127.0.0.1:9000",
)
WAITING = tunnel(
    name="hooks", state="backoff", verdict="crashed", reason="exit code 1", url="", next_retry_in=12.4, connectors=[]
)


def test_a_healthy_tunnel_is_one_line() -> None:
    """Name, state, URL, where it leads, since when, over what; no sentence, as nothing is wrong."""
    assert status_lines([tunnel()], width=140, now=NOW) == [f"web  ready  {URL}  → 127.0.0.1:8080  for 3 min  QUIC"]


def test_what_is_wrong_follows_on_lines_of_its_own() -> None:
    """The verdict, the next try and the hint of a tunnel in trouble; columns are aligned."""
    assert status_lines([DOWN, WAITING], width=140, now=NOW) == [
        f"api    degraded  {URL}  → 127.0.0.1:8080  for 3 min  QUIC",
        "  origin_down: connection refused by 127.0.0.1:9000 (the tunnel is fine)",
        "  hint: start the service on 127.0.0.1:9000",
        "hooks  backoff   → 127.0.0.1:8080  for 3 min",
        "  crashed: exit code 1",
        "  next try in 12 s",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 140])
def test_no_url_is_broken_and_nothing_is_wider(width: int) -> None:
    """At any width each URL is whole, and only a line that has nothing but one may be wider."""
    lines = status_lines([tunnel(), DOWN, WAITING, tunnel(proven=False, state="starting")], width=width, now=NOW)
    assert sum(URL in line for line in lines) == 3
    assert [line for line in lines if len(line) > max(width, 24) and not line.strip().startswith("https://")] == []


def test_a_url_that_is_not_verified_says_so() -> None:
    """A URL that is known and was not proven, or of a tunnel that is down, is not offered as one that works."""
    assert "(not verified)" in status_lines([tunnel(proven=False)], width=140, now=NOW)[0]
    assert "(not verified)" in status_lines([tunnel(state="backoff", verdict="crashed")], width=140, now=NOW)[0]


def test_what_a_reason_holds_cannot_move_the_cursor() -> None:
    """Escape sequences of strangers are gone."""
    assert "\x1b" not in "".join(status_lines([DOWN | {"reason": "\x1b[2Jgone"}], width=80, now=NOW))


def of_two(serving: int, **changes: Any) -> dict[str, Any]:
    """Return a tunnel that wants two connectors, of which so many serve."""
    connectors = [{"protocol": "quic", "connections": []}, {"protocol": "http2", "connections": []}]
    return tunnel(replicas=2, serving=serving, connectors=connectors, **changes)


WORDS = "1 of 2 connectors; connector 1: crashed: exit code 1"


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        (of_two(2), []),
        (of_two(1, reason=WORDS), [f"  healthy: {WORDS}"]),
        (of_two(0, reason=WORDS), [f"  healthy: {WORDS}"]),
        (of_two(2, reason="1 of 2 connectors", state="degraded"), ["  healthy: 1 of 2 connectors"]),
        (tunnel(replicas=1, connectors=[]), []),
        (tunnel(replicas=0, connectors=[]), []),
    ],
    ids=["whole", "one", "none seen", "below the least", "single", "watched"],
)
def test_a_missing_connector_is_said(status: dict[str, Any], lines: list[str]) -> None:
    """A tunnel that is well with fewer connectors than it should have says so, and a degraded one why it is that."""
    assert status_lines([status], width=140, now=NOW)[1:] == lines


def test_all_protocols_are_named() -> None:
    """Connectors with two ways to the edge show both."""
    (line,) = status_lines([of_two(2)], width=140, now=NOW)
    assert line.endswith("QUIC and HTTP/2")
