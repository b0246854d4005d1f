"""What cannot be delivered is kept: a receiver that was away hears of trouble and its end, in order, once, without a flood."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runtime.hooks.conftest import running
from tests.runtime.hooks.test_hooks import script
from tests.support.servers import Served, Servers
from tests.support.waits import PATIENCE, free_port

from prx.config.schema import TunnelSettings
from prx.core.events import (
    Event,
    Fact,
    HookRan,
    Log,
    RestartCancelled,
    RestartScheduled,
    StateChanged,
    UrlChanged,
    VerdictChanged,
)
from prx.core.incidents import WELL_FOR
from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.runtime.hooks.attempts import KEPT_SECONDS, LATER, RETRIES
from prx.runtime.hooks.line import LINE, SUPERSEDED_SECONDS
from prx.runtime.hooks.notices import NoticeRunner
from prx.runtime.hooks.runner import HookRunner
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock

AT_ONCE = sum(RETRIES.delays)
HOUR = 3600.0


class CountingClock(ManualClock):
    """A clock that knows how many wait for it."""

    sleeping = 0

    async def sleep(self, delay: float) -> None:
        """Wait, and be counted."""
        self.sleeping += 1
        try:
            await super().sleep(delay)
        finally:
            self.sleeping -= 1


class Receiver:
    """A real server that answers with `status`, and what it has taken: the bodies of what it answered with 200."""

    def __init__(self, served: Served) -> None:
        self.served, self.status = served, 503
        self.asked: list[bytes] = []
        self.taken: list[dict[str, Any]] = []

    @classmethod
    async def start(cls, servers: Servers) -> Receiver:
        """Start one that is not ready."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            length = int(made.served.heads[-1].lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            made.asked.append(body)
            if made.status == 200:
                made.taken.append(json.loads(body))
            writer.write(f"HTTP/1.1 {made.status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()

        made = cls(await servers.start(handle))
        return made

    @property
    def heard(self) -> list[str]:
        """Return the events that it has taken."""
        return [item["event"] for item in self.taken]


class InVirtualTime:
    """What a runner does while time passes from one timer to the next."""

    clock: CountingClock

    async def passes(self, seconds: float) -> None:
        """Have time pass from one timer to the next; whatever is under way is done before."""
        end = self.clock.monotonic() + seconds
        await self.rest()
        while self.clock.advance_to_next(end):
            await self.rest()

    async def rest(self) -> None:
        """Wait until nothing is under way but waits."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(10):
                await asyncio.sleep(0)
            while not self._rests():  # noqa: ASYNC110 - sockets and children have no event for it
                await asyncio.sleep(0.001)

    def _rests(self) -> bool:
        """Return whether nothing is under way but waits."""
        raise NotImplementedError


class Bench(InVirtualTime):
    """A runner of notices for the tunnel "web", in virtual time."""

    def __init__(self, folder: Path) -> None:
        self.settings: TunnelSettings | None = TunnelSettings()
        self.published: list[Fact] = []
        self.clock = CountingClock()
        self.kept = folder / "incidents" / "web.json"
        self.runner = self.another()
        self._folder = folder

    def another(self) -> NoticeRunner:
        """Return the runner of another prx with the same files."""
        return NoticeRunner(
            self.published.append,
            self.clock,
            lambda name: self.settings if name == "web" else None,
            folder=self.kept.parent.parent,
            environ={"PATH": "/usr/bin:/bin"},
            redact=str,
            kept=self.kept,
        )

    def see(self, *facts: Fact) -> None:
        """Show events of now."""
        for fact in facts:
            self.runner.see(Event(1, self.clock.wall(), fact))

    async def becomes(self, verdict: Verdict, state: State) -> None:
        """Show a verdict and a state."""
        self.see(VerdictChanged(tunnel="web", old="", new=verdict, reason="so it is"))
        self.see(StateChanged(tunnel="web", old=State.READY, new=state, reason=""))
        await self.rest()

    def _rests(self) -> bool:
        lines = self.runner._lines.values()
        under_way = sum(line.in_hand is not None for line in lines)
        return self.clock.sleeping == under_way and all(line.in_hand is not None or not line for line in lines)

    @property
    def results(self) -> list[HookRan]:
        """Return the results of hooks."""
        return [fact for fact in self.published if isinstance(fact, HookRan)]

    @property
    def said(self) -> list[str]:
        """Return the lines of log."""
        return [fact.message for fact in self.published if isinstance(fact, Log)]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """Run a runner until the test ends."""
    bench = Bench(tmp_path)
    async with running(bench.runner):
        yield bench


@pytest.fixture
async def receiver(bench: Bench, servers: Servers) -> Receiver:
    """Return a receiver that is away, and that the tunnel notifies."""
    receiver = await Receiver.start(servers)
    bench.settings = TunnelSettings(on_change=(receiver.served.url,))
    return receiver


@pytest.mark.parametrize(
    ("away", "heard", "missed"),
    [
        (15.0, ["trouble", "recovered"], None),
        (40.0, ["trouble", "recovered"], None),
        (600.0, ["trouble", "recovered"], None),
        (0.9 * SUPERSEDED_SECONDS, ["trouble", "recovered"], None),
        (3 * HOUR, ["recovered"], 1),
        (20 * HOUR, ["recovered"], 1),
    ],
)
async def test_a_receiver_that_comes_back_hears_of_trouble_and_its_end(
    bench: Bench, receiver: Receiver, away: float, heard: list[str], missed: int | None
) -> None:
    """Both come in order, once; after an hour the end alone, which says for how long it was and that one notice is missing."""
    await bench.becomes(Verdict.EDGE_LOST, State.BACKOFF)
    await bench.passes(60)
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(away)
    assert receiver.taken == []
    receiver.status = 200
    await bench.passes(max(LATER.delays) + AT_ONCE)
    assert receiver.heard == heard
    assert receiver.taken[-1]["data"].get("missed") == missed
    assert receiver.taken[-1]["data"]["lasted_secs"] == pytest.approx(60, abs=1)
    assert len(receiver.asked) <= 15 + away / 600
    await bench.passes(2 * KEPT_SECONDS)
    assert receiver.heard == heard


async def test_trouble_that_goes_on_is_told_when_the_receiver_is_back(bench: Bench, receiver: Receiver) -> None:
    """The failure is published once, as one that is kept, then the success; the notice says that it comes late."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(20 * HOUR)
    assert [(item.ok, item.kept, item.tries) for item in bench.results] == [(False, True, 4)]
    receiver.status = 200
    await bench.passes(max(LATER.delays))
    assert receiver.heard == ["trouble"]
    assert [(item.ok, item.kept) for item in bench.results[1:]] == [(True, False)]


AWAY = ["refused connection", "404", "429", "500", "503", "a command that fails"]


@pytest.mark.parametrize("how", AWAY)
async def test_whatever_keeps_a_notice_from_its_receiver_keeps_it_for_later(
    bench: Bench, servers: Servers, tmp_path: Path, how: str
) -> None:
    """A receiver that cannot be reached, one behind a proxy, a command whose network is away: each hears of it in the end."""
    receiver = await Receiver.start(servers)
    address, port = receiver.served.url, free_port()
    if how == "refused connection":
        address = f"http://127.0.0.1:{port}"
    elif how == "a command that fails":
        address = script(tmp_path, 'test -e network && echo "$PRX_TEXT" >heard')
    else:
        receiver.status = int(how)
    bench.settings = TunnelSettings(on_change=(address,))
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(600)
    assert [(item.ok, item.kept) for item in bench.results] == [(False, True)]
    (tmp_path / "network").touch()
    receiver.status = 200
    if how == "refused connection":

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(65536)
            receiver.taken.append({"event": "trouble"})
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()

        await servers.start(take, port=port)
    await bench.passes(max(LATER.delays))
    assert [(item.ok, item.kept) for item in bench.results[1:]] == [(True, False)]
    if how == "a command that fails":
        assert "could not be delivered before" in (tmp_path / "heard").read_text()
    else:
        assert receiver.heard == ["trouble"]


@pytest.mark.parametrize("status", [400, 405, 410, 413, 415, 422])
async def test_a_refused_notice_holds_up_no_other(bench: Bench, receiver: Receiver, status: int) -> None:
    """A receiver that does not want a request as it is would refuse it for a day: it is dropped, and the next one says so."""
    receiver.status = status
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(60 + AT_ONCE)
    assert [(item.ok, item.kept, item.tries) for item in bench.results] == [(False, False, 4)]
    receiver.status = 200
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(WELL_FOR + 1)
    assert receiver.heard == ["recovered"]
    assert receiver.taken[0]["data"]["missed"] == 1


@pytest.mark.parametrize("how", ["network", "news"])
async def test_what_is_kept_is_tried_at_once_when_there_is_reason_to(bench: Bench, receiver: Receiver, how: str) -> None:
    """The network is back, or there is more news: no wait of a quarter of an hour is left to run out."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(5 * HOUR)
    receiver.status = 200
    before = bench.clock.monotonic()
    if how == "network":
        bench.runner.wake()
    else:
        bench.see(RestartScheduled(tunnel="web", delay=5, attempt=1, reason="hung", costs_url=True))
    await bench.rest()
    assert bench.clock.monotonic() == before
    assert receiver.heard == ["trouble", *(["url_will_change"] if how == "news" else [])]


@pytest.mark.parametrize("many", [LINE, LINE + 1, 2 * LINE, 500])
async def test_of_each_kind_the_newest_is_never_dropped(bench: Bench, receiver: Receiver, many: int) -> None:
    """A flood about the URL leaves the end of trouble in the line, and the newest word on the URL; what went is counted."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(60)
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(WELL_FOR + 1)
    for number in range(many):
        bench.see(RestartScheduled(tunnel="web", delay=5, attempt=1, reason=str(number), costs_url=True))
        bench.see(RestartCancelled(tunnel="web", attempt=1, reason=str(number)))
    assert len(bench.runner.waiting(receiver.served.url)) == LINE
    receiver.status = 200
    await bench.passes(AT_ONCE + max(LATER.delays))
    assert len(receiver.taken) == LINE + 1
    assert receiver.heard[:2] == ["trouble", "recovered"]
    assert (receiver.taken[-1]["event"], receiver.taken[-1]["data"]["reason"]) == ("url_kept", str(many - 1))
    told = [item["data"]["missed"] for item in receiver.taken if "missed" in item["data"]]
    assert sum(told) == 2 + 2 * many - (LINE + 1)
    assert "missed" not in receiver.taken[0]["data"]  # what went lay behind it
    assert len([text for text in bench.said if "older ones are dropped" in text]) == 1


async def test_after_a_day_a_notice_is_dropped_and_that_is_said(bench: Bench, receiver: Receiver) -> None:
    """What could not be delivered for a day is given up; the number of requests until then stays small."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(KEPT_SECONDS + HOUR)
    assert bench.results[-1].detail == "dropped after 24 h: it answers 503"
    assert len(receiver.asked) <= 110
    asked = len(receiver.asked)
    await bench.passes(KEPT_SECONDS)
    assert len(receiver.asked) == asked


@pytest.mark.parametrize("how", ["another hook", "no hook", "no tunnel"])
async def test_a_receiver_that_is_taken_out_is_asked_no_more(bench: Bench, receiver: Receiver, how: str) -> None:
    """What the configuration does not name any more gets nothing, whatever was kept for it."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(600)
    asked = len(receiver.asked)
    another = TunnelSettings(on_change=("http://127.0.0.1:1/",))
    bench.settings = {"another hook": another, "no hook": TunnelSettings(), "no tunnel": None}[how]
    receiver.status = 200
    await bench.passes(2 * HOUR)
    assert len(receiver.asked) == asked
    assert len(bench.results) == 1


async def test_what_is_kept_is_signed_with_the_key_of_now(bench: Bench, receiver: Receiver) -> None:
    """A key that is replaced while the receiver is away signs what it gets then."""
    assert bench.settings is not None
    bench.settings = replace(bench.settings, hook_secret=Secret("the old key"))
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(600)
    bench.settings = replace(bench.settings, hook_secret=Secret("the new key"))
    receiver.status = 200
    await bench.passes(max(LATER.delays))
    signed = hmac.new(b"the new key", receiver.asked[-1], hashlib.sha256).hexdigest()
    assert f"sha256={signed}".encode() in receiver.served.heads[-1]


@pytest.mark.parametrize("more", [0, 1, 3])
async def test_prx_that_ends_says_what_it_could_not_deliver(bench: Bench, receiver: Receiver, more: int) -> None:
    """The one that is being tried counts as well as those that wait."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(60)
    for number in range(more):
        bench.see(RestartScheduled(tunnel="web", delay=5, attempt=1, reason=str(number), costs_url=True))
        bench.see(RestartCancelled(tunnel="web", attempt=1, reason=""))
    bench.runner.end()
    await bench.rest()
    left = 1 + 2 * more
    assert bench.said == [f"prx ends before it could deliver {left} notice{'s' * (left > 1)} to {receiver.served.url}"]


async def test_what_is_delivered_while_prx_stops_is_not_said_to_be_lost(bench: Bench, receiver: Receiver) -> None:
    """From the moment in which prx is asked to stop nothing more is taken in, and what is on its way arrives."""
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(60)
    bench.runner.close()
    bench.see(RestartScheduled(tunnel="web", delay=5, attempt=1, reason="", costs_url=True))
    receiver.status = 200
    await bench.passes(AT_ONCE + max(LATER.delays))
    bench.runner.end()
    await bench.rest()
    assert receiver.heard == ["trouble"]
    assert bench.said == []


# ---------------------------------------------------------------------- the end of what another prx has reported


async def _trouble(bench: Bench) -> None:
    await bench.becomes(Verdict.CRASHED, State.BACKOFF)
    await bench.passes(60)


async def _well_for_a_moment(bench: Bench) -> None:
    await _trouble(bench)
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(WELL_FOR - 1)


async def _stop_of_all(bench: Bench) -> None:
    await _trouble(bench)
    bench.runner.end()
    await bench.becomes(Verdict.CRASHED, State.IDLE)


async def _two_verdicts(bench: Bench) -> None:
    await _trouble(bench)
    await bench.becomes(Verdict.ORIGIN_DOWN, State.DEGRADED)
    await bench.passes(60)


ENDS = {"trouble": _trouble, "well for a moment": _well_for_a_moment, "stop of all": _stop_of_all, "two": _two_verdicts}


@pytest.mark.parametrize("end", ENDS)
async def test_the_end_of_trouble_is_told_by_the_prx_that_sees_it(bench: Bench, receiver: Receiver, end: str) -> None:
    """Prx was killed or restarted in the middle: the next one finds the tunnel well, and says so once."""
    receiver.status = 200
    began = bench.clock.wall()
    await ENDS[end](bench)
    before = receiver.heard.copy()
    assert before[0] == "trouble"
    bench.clock._timers.clear()  # the first prx is dead
    bench.clock.advance(120)
    bench.runner, first = bench.another(), bench.runner
    async with running(bench.runner):
        await bench.becomes(Verdict.STARTING, State.STARTING)
        await bench.becomes(Verdict.HEALTHY, State.READY)
        well = bench.clock.wall()
        await bench.passes(WELL_FOR + 1)
        assert receiver.heard == [*before, "recovered"]
        data = receiver.taken[-1]["data"]
        assert data["lasted_secs"] == pytest.approx(well - began, abs=1)
        assert data["verdicts"] == (["crashed", "origin_down"] if end == "two" else ["crashed"])
        await bench.becomes(Verdict.STARTING, State.STARTING)
        await bench.becomes(Verdict.HEALTHY, State.READY)
        await bench.passes(HOUR)
        assert receiver.heard == [*before, "recovered"]
    bench.runner = first


async def test_a_tunnel_that_was_stopped_leaves_nothing_open(bench: Bench, receiver: Receiver) -> None:
    """A stop of one tunnel ends its trouble without a notice, also for the next prx."""
    receiver.status = 200
    await _trouble(bench)
    assert "web" in json.loads(bench.kept.read_text())
    bench.see(StateChanged(tunnel="web", old=State.BACKOFF, new=State.IDLE, reason="asked"))
    assert json.loads(bench.kept.read_text()) == {}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "rubbish",
        "[]",
        '{"web": 1}',
        '{"web": {}}',
        '{"web": {"since": "x", "verdicts": []}}',
        '{"web": {"since": -1, "verdicts": []}}',
    ],
)
async def test_a_file_that_means_nothing_is_as_good_as_none(bench: Bench, receiver: Receiver, content: str) -> None:
    """Whatever lies there, trouble is reported and kept, and so is its end."""
    bench.kept.parent.mkdir()
    bench.kept.write_text(content)
    receiver.status = 200
    await _trouble(bench)
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(WELL_FOR + 1)
    assert receiver.heard == ["trouble", "recovered"]
    assert json.loads(bench.kept.read_text()) == {}


async def test_without_a_place_for_the_file_notices_come_all_the_same(bench: Bench, receiver: Receiver) -> None:
    """A folder that cannot be made, as on a read-only disk, costs what would be kept over the end of prx, and nothing else."""
    bench.kept.parent.write_text("in the way")
    receiver.status = 200
    await _trouble(bench)
    await bench.becomes(Verdict.HEALTHY, State.READY)
    await bench.passes(WELL_FOR + 1)
    assert receiver.heard == ["trouble", "recovered"]


# ---------------------------------------------------------------------- the URL


class Urls(InVirtualTime):
    """A runner of `on_url` in virtual time; `url` is that of the tunnel."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        self.clock = CountingClock()
        self.results: list[HookRan] = []
        self.settings: TunnelSettings | None = TunnelSettings(on_url=(receiver.served.url,))
        self.url = ""
        self.runner = HookRunner(
            lambda fact: self.results.append(fact) if isinstance(fact, HookRan) else None,
            self.clock,
            folder=folder,
            settings_for=lambda fact: self.settings if fact.url == self.url else None,
        )

    def gets(self, url: str) -> None:
        """Have the tunnel get another URL."""
        old, self.url = self.url, url
        assert self.settings is not None
        self.runner.fire(UrlChanged(tunnel="web", url=url, old=old), self.settings)

    def _rests(self) -> bool:
        return self.clock.sleeping == len(self.runner._waiting)


@pytest.fixture
async def urls(tmp_path: Path, servers: Servers) -> AsyncIterator[tuple[Urls, Receiver]]:
    """Run a runner of `on_url` whose receiver is away."""
    receiver = await Receiver.start(servers)
    urls = Urls(tmp_path, receiver)
    async with running(urls.runner):
        yield urls, receiver


@pytest.mark.parametrize("away", [40.0, 600.0, 5 * HOUR, 20 * HOUR])
async def test_a_receiver_that_was_away_hears_of_the_url(urls: tuple[Urls, Receiver], away: float) -> None:
    """A bot that is registered with a URL that is dead would stay so until the next restart of the tunnel."""
    here, receiver = urls
    here.gets("https://a.example")
    await here.passes(away)
    receiver.status = 200
    await here.passes(max(LATER.delays))
    assert [item["url"] for item in receiver.taken] == ["https://a.example"]
    assert [(item.ok, item.kept) for item in here.results] == [(False, True), (True, False)]


@pytest.mark.parametrize("how", ["stopped", "another hook", "gone", "newer"])
async def test_a_url_that_is_not_the_tunnels_any_more_is_not_announced(urls: tuple[Urls, Receiver], how: str) -> None:
    """A tunnel that was stopped, a hook that was taken out, a newer URL: no receiver is led to a URL that is dead."""
    here, receiver = urls
    here.gets("https://a.example")
    await here.passes(600)
    if how == "stopped":
        here.url = ""
    elif how == "another hook":
        here.settings = TunnelSettings(on_url=("http://127.0.0.1:1/",))
    elif how == "gone":
        here.settings = None
    else:
        here.gets("https://b.example")
    receiver.status = 200
    here.runner.wake()
    await here.rest()
    assert here.clock.sleeping == 0
    assert [item["url"] for item in receiver.taken] == (["https://b.example"] if how == "newer" else [])


async def test_the_networks_return_ends_the_wait_for_the_url(urls: tuple[Urls, Receiver]) -> None:
    """The URL is announced at once, not a quarter of an hour later."""
    here, receiver = urls
    here.gets("https://a.example")
    await here.passes(5 * HOUR)
    receiver.status = 200
    before = here.clock.monotonic()
    here.runner.wake()
    await here.rest()
    assert (here.clock.monotonic(), here.results[-1].ok, len(receiver.taken)) == (before, True, 1)
