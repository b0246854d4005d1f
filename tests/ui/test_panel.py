"""The panel at every width and with any number of tunnels: what a person sees."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.text import Text

from prx.core.flapping import Flaps
from prx.core.states import State
from prx.core.status import Connection, ConnectorStatus, TunnelStatus
from prx.core.traffic import TrafficStatus
from prx.core.verdicts import Verdict
from prx.ui.fitting import Block, fitted, rows
from prx.ui.panel import Progress, panel_lines
from prx.ui.qr import qr_code

NOW = 1_000.0
URL = "https://keen-otter-a6u8-mountain.trycloudflare.com"
LONG = "https://a-very-long-name-that-fills-nearly-the-whole-width.trycloudflare.com"
CONNECTIONS = tuple(Connection(number, place, "quic") for number, place in enumerate(("ams01", "ams04", "fra02")))

READY = TunnelStatus(
    "web",
    state=State.READY,
    verdict=Verdict.HEALTHY,
    reason="the public URL answers 200",
    url=URL,
    proven=True,
    local_addr="127.0.0.1:8080",
    since=NOW - 720,
)
BUSY = replace(READY, traffic=TrafficStatus(12, 1, 3), connectors=(ConnectorStatus(7, "1", "quic", CONNECTIONS),))
DOWN = replace(
    READY,
    name="api",
    state=State.DEGRADED,
    verdict=Verdict.ORIGIN_DOWN,
    reason="connection refused by 127.0.0.1:3000 (the tunnel is fine)",
    hint="start the service on 127.0.0.1:3000",
    local_addr="127.0.0.1:3000",
    url="https://short.trycloudflare.com",
)
WAITING = replace(
    READY,
    name="broken",
    state=State.BACKOFF,
    verdict=Verdict.CRASHED,
    reason="exit code 1: something odd happened: no idea",
    retries=((0, NOW + 8),),
    attempt=2,
)
STARTING = replace(READY, name="new", state=State.STARTING, verdict=Verdict.STARTING, reason="runs for 3 s", proven=False)
FAILED = replace(READY, name="bad", state=State.FAILED, verdict=Verdict.AUTH_REJECTED, reason="no", hint="prx secret set")


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def shown(*statuses: TunnelStatus, columns: int = 80, lines: int = 24) -> list[str]:
    """Return the lines of the panel."""
    progress = {"new": Progress({"spawned": 0.17, "connected": 0.3, "url": 0.42})}
    made = panel_lines(statuses, progress, now=NOW, size=(columns, lines))
    return [line.plain.rstrip() for line in made]


ONE = {
    60: ["", f"  ● {URL}", "    healthy: the public URL answers 200",
         "    12 requests · 1 error · 3 connections, QUIC, ams, fra", "", "  Ctrl-C stops"],
    80: ["", f"  ● {URL}  → 127.0.0.1:8080", "    healthy: the public URL answers 200",
         "    12 requests · 1 error · 3 connections, QUIC, ams, fra", "", "  Ctrl-C stops"],
    140: ["", f"  ● {URL}  → 127.0.0.1:8080  up 12 min", "    healthy: the public URL answers 200",
          "    12 requests · 1 error · 3 connections, QUIC, ams, fra", "", "  Ctrl-C stops"],
}  # fmt: skip

FIVE_AT_80 = f"""
  2 of 5 ready · 1 starting · 1 degraded · 1 backoff
  ● {URL}  web  → 127.0.0.1:8080
  ● https://short.trycloudflare.com  api  degraded  → 127.0.0.1:3000
    origin_down: connection refused by 127.0.0.1:3000 (the tunnel is fine)
    hint: start the service on 127.0.0.1:3000
  ● broken  backoff  → 127.0.0.1:8080
    crashed: exit code 1: something odd happened: no idea · try 3 in 8 s, at
    00:16:48
  ● {URL}  new  starting
    runs for 3 s
    spawned 0.17 s → connected 0.30 s → url 0.42 s → dns → verified
  ● {LONG}
  hooks  → 127.0.0.1:8080  up 12 min

  Ctrl-C stops"""


def test_a_missing_connector_of_one_of_several_tunnels_is_said() -> None:
    """A tunnel that is ready with one of two connectors has a line for that; a whole one has none."""
    short = replace(READY, replicas=2, serving=1, reason="1 of 2 connectors")
    assert "    healthy: 1 of 2 connectors" in shown(short, DOWN)
    assert not [line for line in shown(replace(short, serving=2), DOWN) if "connectors" in line]


@pytest.mark.parametrize("columns", ONE)
def test_one_tunnel(columns: int) -> None:
    """URL first and whole, then what fits: the service, for how long; below what visitors ask for."""
    assert shown(BUSY, columns=columns) == ONE[columns]


def test_five_tunnels() -> None:
    """A line each, more for those in trouble; a URL that leaves no room for the name has it on the next line."""
    hooks = replace(READY, name="hooks", url=LONG)
    assert shown(BUSY, DOWN, WAITING, STARTING, hooks) == FIVE_AT_80.split("\n")


@pytest.mark.parametrize("columns", [40, 60, 80, 140])
@pytest.mark.parametrize("status", [BUSY, DOWN, WAITING, STARTING, FAILED, replace(READY, url=LONG)], ids=str)
def test_no_line_is_wider_than_the_window(status: TunnelStatus, columns: int) -> None:
    """Every line fits but a URL that is longer than the window, which then is alone on its line; none is cut in two."""
    for lines in (shown(status, columns=columns), shown(status, BUSY, columns=columns)):
        wide = [line for line in lines if cell_len(line) > columns]
        assert wide in ([], [status.url], [BUSY.url], [status.url, BUSY.url])
        for url in {status.url} & {status.url if status.state.is_up else ""}:
            assert any(url in line for line in lines)


@pytest.mark.parametrize("lines", [6, 10, 24, 60])
@pytest.mark.parametrize("count", [1, 5, 50])
def test_the_panel_is_lower_than_the_window(count: int, lines: int) -> None:
    """Fifty tunnels, one in seven in trouble: the panel never scrolls, those in trouble are there, the rest is counted."""
    statuses = [replace(DOWN if number % 7 == 3 else READY, name=f"t{number}") for number in range(count)]
    made = panel_lines(statuses, {}, now=NOW, size=(80, lines))
    assert rows(made, 80) < lines
    text = [line.plain for line in made]
    assert "  Ctrl-C stops" in text
    named = sum(line.startswith("  ● ") for line in text)
    hidden = [line for line in text if "more" in line]
    assert hidden == ([f"  … and {count - named} more"] if named < count else [])
    if count == 50 and lines == 24:
        assert sum("degraded  →" in line for line in text) == 7


def test_details_give_way_before_tunnels() -> None:
    """If not everything fits, what is below a tunnel goes before the tunnel does, the worst trouble keeps its words longest."""
    blocks = [
        Block([Text(name)], [Text(f"{name} why"), Text(f"{name} hint")], rank) for name, rank in (("a", 2), ("b", 0), ("c", 9))
    ]
    made = {room: [line.plain for line in fitted(blocks, room, 80)] for room in (9, 5, 3, 2)}
    assert made[9] == ["a", "a why", "a hint", "b", "b why", "b hint", "c", "c why", "c hint"]
    assert made[5] == ["a", "b", "b why", "b hint", "c"]
    assert made[3] == ["a", "b", "c"]
    assert made[2] == ["b", "  … and 2 more"]


def test_what_is_wrong_is_said_once() -> None:
    """A wait has its number, a countdown and a time of day; the URL of a dead child is no URL any more."""
    text = "\n".join(shown(WAITING, columns=140))
    assert "crashed: exit code 1: something odd happened: no idea · try 3 in 8 s, at 00:16:48" in text
    assert URL not in text
    assert shown(STARTING)[2] == "    runs for 3 s"


def test_a_url_that_is_not_proven_says_so() -> None:
    """Known, and not verified yet: the URL is there, and no link."""
    (line,) = [line for line in shown(replace(DOWN, proven=False)) if "short" in line]
    assert line == "  ● https://short.trycloudflare.com  not verified yet  degraded"


def test_a_stop_says_what_it_waits_for() -> None:
    """What is still under way, for how long at most, and how to end at once."""
    lines = shown(replace(READY, state=State.STOPPING, reason="finishing 1 request, at most 30 s"))
    assert lines[2] == "    finishing 1 request, at most 30 s"
    assert lines[-1] == "  requests under way may finish · Ctrl-C again ends at once"


def test_the_panel_says_that_a_tunnel_flaps() -> None:
    """A tunnel that is well just now and was not three times within the hour says so; one that fell twice does not."""
    assert "    it flaps: well, then not, 3 times within the last hour" in shown(
        replace(READY, flaps=Flaps(falls=(1.0, 2.0, 3.0)))
    )
    assert "flaps" not in "\n".join(shown(replace(READY, flaps=Flaps(falls=(1.0, 2.0)))))


def test_what_visitors_ask_for_is_not_guessed() -> None:
    """What is not known is not there; nothing yet is said as nothing."""
    assert "request" not in "\n".join(shown(READY))
    assert "    0 requests" in shown(replace(READY, traffic=TrafficStatus(), connectors=()))


def test_text_from_outside_cannot_steer_the_terminal() -> None:
    """Reasons and URLs are printed without escape sequences."""
    hostile = replace(DOWN, reason="\x1b]0;owned\x07bad", url="https://x\x1b[2J.test")
    assert "\x1b" not in "\n".join(shown(hostile))
    assert "    origin_down: bad" in shown(hostile)


@pytest.mark.parametrize(
    ("status", "size", "wanted"),
    [
        (replace(READY, since=NOW - 10), (80, 24), True),
        (replace(READY, since=NOW - 10), (80, 20), False),
        (replace(READY, since=NOW - 10), (34, 60), False),
        (replace(READY, since=NOW - 3_000), (80, 60), False),
        (replace(BUSY, since=NOW - 10), (80, 60), False),
        (replace(READY, since=NOW - 10, url="http://x.localhost:80"), (80, 60), False),
        (replace(DOWN, since=NOW - 10, proven=False), (80, 60), False),
    ],
    ids=["at 80×24", "too low", "too narrow", "after a while", "visited", "of the lab", "not proven"],
)
def test_a_code_is_there_when_it_is_of_use(status: TunnelStatus, size: tuple[int, int], wanted: bool) -> None:
    """A phone can scan a fresh public URL until its first visitor comes; then the room is for other things."""
    lines = shown(status, columns=size[0], lines=size[1])
    assert (sum(line.count("█") for line in lines) > 50) is wanted
    assert len(lines) < size[1]
    assert not [line for line in shown(status, status, columns=80, lines=60) if "█" in line]


def test_a_code_that_does_not_fit_is_none() -> None:
    """Half a code is of no use."""
    assert qr_code(URL, 20, 60) is None
    assert qr_code(URL, 60, 10) is None


def test_a_new_start_begins_a_new_way_up() -> None:
    """After a restart the timings of the run before are gone; phases are shown in the order in which they came."""
    progress = Progress()
    for phase in ("spawned", "url", "spawned"):
        progress.reach(phase, 1.0)
    assert list(progress.reached) == ["spawned"]
    progress.reach("dns", 2.0)
    progress.reach("connected", 3.0)
    assert progress.words() == "spawned 1 s → dns 2 s → connected 3 s → url → verified"


@pytest.mark.parametrize(
    ("reached", "words"),
    [
        ({"spawned": 0.01}, "spawned 0.01 s → url → connected → dns → verified"),
        ({"spawned": 0.01, "connected": 0.3, "url": 0.4}, "spawned 0.01 s → connected 0.30 s → url 0.40 s → dns → verified"),
        ({"spawned": 0.01, "connected": 0.37, "verified": 0.45}, "spawned 0.01 s → connected 0.37 s → verified 0.45 s"),
        ({"dns": 0.01, "verified": 0.2}, "dns 0.01 s → verified 0.20 s"),
    ],
)
def test_the_way_up_ends_with_its_last_step(reached: dict[str, float], words: str) -> None:
    """Steps are shown as they came, those that are missing behind them; once the URL is verified, none is missing."""
    assert Progress(reached).words() == words
