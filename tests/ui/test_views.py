"""What a run shows: the story, the panel, the outlets that never wait, and the meaning of signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import signal
import threading
from typing import Any

import pytest

from prx.app.outcome import Outcome
from prx.app.signals import Signals
from prx.core import events
from prx.core.events import Event, Fact
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.runtime.bus import Bus
from prx.runtime.host.clock import SystemClock
from prx.ui.event_lines import Line, describe
from prx.ui.live import LiveView
from prx.ui.screen import showing
from prx.ui.text import seconds
from prx.ui.views import Detail, JsonView, LineView, UrlView
from prx.ui.writer import NonBlockingWriter

URL = "https://quiet-river.trycloudflare.com"
READY = TunnelStatus(
    "web", state=State.READY, verdict=Verdict.HEALTHY, reason="200 in 35 ms", url=URL, proven=True, local_addr="127.0.0.1:8080"
)


def log(message: str, **fields: str) -> events.Log:
    """Return a line of log."""
    return events.Log(**{"tunnel": "web", "level": "info", "message": message, **fields})  # type: ignore[arg-type]


def state(old: str, new: str, reason: str = "") -> events.StateChanged:
    """Return a change of state."""
    return events.StateChanged(tunnel="web", old=State(old), new=State(new), reason=reason)


def verdict(new: str, reason: str, hint: str = "") -> events.VerdictChanged:
    """Return a change of verdict."""
    return events.VerdictChanged(tunnel="web", old="", new=Verdict(new), reason=reason, hint=hint)


class Pipe:
    """A pipe with an outlet at its writing end."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.writer = NonBlockingWriter(self.writing)

    def text(self) -> str:
        """Close the writing end and return everything that was written."""
        self.writer.close()
        os.close(self.writing)
        with os.fdopen(self.reading, encoding="utf-8", newline="") as file:
            return file.read()


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        (events.Phase(tunnel="web", phase="url", elapsed_ms=350, detail=URL), Line("info", f"web: url after 0.35 s ({URL})")),
        (events.Phase(tunnel="web", phase="verified", elapsed_ms=600, detail=URL), Line("info", "web: verified after 0.60 s")),
        (
            events.UrlChanged(tunnel="web", url="b", old="a"),
            Line("warn", "web: the public URL has changed: a is dead, the new one is b"),
        ),
        (events.UrlChanged(tunnel="web", url="b", old=""), Line("info", "web: public at b")),
        (verdict("healthy", "200"), Line("info", "web: healthy: 200")),
        (verdict("origin_down", "refused", "start it"), Line("warn", "web: origin_down: refused (hint: start it)")),
        (verdict("starting", "no connection yet"), Line("debug", "web: starting: no connection yet")),
        (
            events.RestartScheduled(tunnel="web", delay=10.0, attempt=2, reason="x"),
            Line("warn", "web: next try in 10 s (attempt 2)"),
        ),
        (
            events.RestartScheduled(tunnel="web", delay=0.5, attempt=0, reason="x"),
            Line("warn", "web: next try in less than 1 s"),
        ),
        (state("ready", "stopping", "asked to stop"), Line("info", "web: stopping: asked to stop")),
        (state("stopping", "idle"), Line("info", "web: stopped")),
        (state("starting", "failed", "no token"), Line("error", "web: failed: no token")),
        (state("starting", "ready"), Line("debug", "web: starting → ready")),
        (events.ConfigReloaded(tunnel="", restarted=False), Line("info", "configuration read again, nothing to restart")),
        (events.Dropped(tunnel="", count=3), Line("warn", "3 events were not shown: too many at once")),
        (
            events.HookRan(tunnel="web", hook="./x", ok=False, tries=3, detail="exit 1"),
            Line("warn", "web: hook ./x failed after 3 tries: exit 1"),
        ),
        (log("listening"), Line("info", "web: listening")),
        (log("up", source="service"), Line("info", "web: service | up")),
        (log("ERR", source="cloudflared", level="error"), Line("debug", "web: cloudflared | ERR")),
        (log("\x1b[2Jgone\nError: faked"), Line("info", "web: gone Error: faked")),
        (
            events.ChildStarted(tunnel="web", pid=7, version="2026.8.2", connector=0),
            Line("debug", "web: child 7 started, 2026.8.2"),
        ),
        (events.Probed(tunnel="web", status=200, latency_ms=3.0, verdict=Verdict.HEALTHY), None),
    ],
)
def test_the_story(fact: Fact, line: Line | None) -> None:
    """Each fact is one line that a person understands, at a level that shows how much it matters, safe to print."""
    assert describe(Event(1, 0.0, fact), named=True) == line


def test_one_tunnel_needs_no_name() -> None:
    """If there is only one tunnel its name is not repeated on every line."""
    assert describe(Event(1, 0.0, state("stopping", "idle")), named=False) == Line("info", "stopped")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.354, "0.35 s"),
        (5.0, "5 s"),
        (9.999, "10 s"),
        (12.4, "12 s"),
        (119, "119 s"),
        (120, "2 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_time_spans(value: float, text: str) -> None:
    """Time spans have a unit and no more digits than they need."""
    assert seconds(value) == text


async def test_each_view_writes_its_part() -> None:
    """URLs alone on lines; events as JSON; the story from its threshold on, the last words of the only tunnel left out."""
    bus = Bus(SystemClock())
    urls, objects, lines = Pipe(), Pipe(), Pipe()
    views = [UrlView(urls.writer), JsonView(objects.writer), LineView(lines.writer, Detail("info", named=False))]
    async with showing(views, bus):
        for fact in (
            events.UrlChanged(tunnel="web", url=URL, old=""),
            state("starting", "ready"),
            verdict("misconfigured", "x"),
            state("starting", "failed", "x"),
            log("warned", level="warn"),
        ):
            bus.publish(fact)
    assert urls.text() == f"{URL}\n"
    assert [json.loads(line)["seq"] for line in objects.text().splitlines()] == [1, 2, 3, 4, 5]
    assert lines.text() == f"public at {URL}\nwarn: warned\n"


async def test_events_that_come_at_once_are_written_in_few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst of events costs some journeys to the writing thread, not one each; all are written, in order."""
    bus, objects, pieces = Bus(SystemClock()), Pipe(), list[str]()
    write = objects.writer.write

    async def counted(text: str) -> None:
        pieces.append(text)
        await write(text)

    monkeypatch.setattr(objects.writer, "write", counted)
    async with showing([JsonView(objects.writer)], bus):
        for number in range(200):
            bus.publish(log(f"line {number}"))
    assert [json.loads(line)["message"] for line in objects.text().splitlines()] == [f"line {number}" for number in range(200)]
    assert len(pieces) <= 5


@pytest.mark.parametrize(
    ("fact", "said"),
    [
        (events.UrlChanged(tunnel="web", url=URL, old=""), False),
        (events.UrlChanged(tunnel="web", url=URL, old="https://old.trycloudflare.com"), True),
        (events.UrlChanged(tunnel="web", url=URL, old="", proven=False), True),
        (log("a line"), True),
    ],
)
async def test_a_url_that_stdout_has_is_not_said_again(fact: Fact, said: bool) -> None:
    """If URLs and story go to one place, only what the URL alone does not say is a line of the story."""
    lines = Pipe()
    await LineView(lines.writer, Detail("info", named=False), has_urls=True).show(Event(1, 0.0, fact))
    assert bool(lines.text()) is said


async def test_a_reload_changes_what_is_shown() -> None:
    """A new log level, and names once there are several tunnels, hold from the next line on."""
    lines = Pipe()
    detail = Detail("warn", named=False)
    view = LineView(lines.writer, detail)
    await view.show(Event(1, 0.0, log("not shown")))
    detail.threshold, detail.named = "info", True
    await view.show(Event(2, 0.0, log("shown")))
    assert lines.text() == "web: shown\n"


async def test_a_reader_that_stalls_holds_up_nobody() -> None:
    """A full pipe stops only its own view: others go on, the publisher never waits, and the end comes all the same."""
    bus = Bus(SystemClock())
    stalled, read = Pipe(), Pipe()
    os.set_blocking(stalled.writing, True)
    async with asyncio.timeout(20), showing([JsonView(stalled.writer), UrlView(read.writer)], bus):
        for _ in range(200):
            bus.publish(log("x" * 1_000))
        bus.publish(events.UrlChanged(tunnel="web", url=URL, old=""))
    assert read.text() == f"{URL}\n"
    assert 0 < len(os.read(stalled.reading, 1 << 20)) < 200_000
    os.close(stalled.reading)  # the thread that waits to write gets EPIPE, and ends
    stalled.writer.close(5)
    assert stalled.writer._thread is not None
    assert not stalled.writer._thread.is_alive()
    os.close(stalled.writing)


async def test_a_reader_that_went_away_is_forgotten() -> None:
    """Writing to a closed pipe neither raises nor waits; the outlet says that its reader is gone."""
    pipe = Pipe()
    os.close(pipe.reading)
    async with asyncio.timeout(10):
        for _ in range(3):
            await pipe.writer.write("x\n")
    assert pipe.writer.gone
    pipe.writer.close()
    os.close(pipe.writing)


def test_offers_beyond_the_limit_are_dropped() -> None:
    """Frames for a terminal that takes nothing are dropped, never piled up."""
    pipe = Pipe()
    assert pipe.writer.offer("x" * 1_000_000)  # more than the pipe holds: the thread waits
    taken = sum(pipe.writer.offer(".") for _ in range(1_000))
    assert taken < 100
    os.close(pipe.reading)
    pipe.writer.close(5)
    os.close(pipe.writing)


async def test_a_full_disk_behind_stdout_is_said_once() -> None:
    """What it does not take is lost, and the tunnel goes on; that it is lost is no silence."""
    said: list[str] = []
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123, ASYNC230 - a device that takes nothing, at once
        writer = NonBlockingWriter(full.fileno(), said.append)
        for _ in range(3):
            await writer.write("https://a.example\n")
        writer.close(5)
    assert (said, writer.gone) == (["no space left on device"], False)


async def test_a_reader_that_is_gone_is_no_loss() -> None:
    """The first program to read the URL may close the pipe: nothing is said of it."""
    said: list[str] = []
    reading, writing = os.pipe()
    os.close(reading)
    writer = NonBlockingWriter(writing, said.append)
    await writer.write("https://a.example\n")
    writer.close(5)
    os.close(writing)
    assert (said, writer.gone) == ([], True)


async def test_a_line_that_a_full_disk_has_cut_ends_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that reads events line by line loses one, and reads the next one whole; a second loss is said again."""
    kept, said = bytearray(), list[str]()
    room = [4, 0, 100, 0, 100]  # bytes that each write finds room for: a disk that fills up, and is made room on

    def write(_fd: int, data: bytes) -> int:
        taken = data[: room.pop(0)]
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        kept.extend(taken)
        return len(taken)

    monkeypatch.setattr("prx.ui.writer.os.write", write)
    writer = NonBlockingWriter(-1, said.append)
    for number in range(4):
        await writer.write(f'{{"seq": {number}}}\n')
    writer.close(5)
    assert bytes(kept) == b'{"se\n{"seq": 1}\n{"seq": 3}\n'
    assert said == ["no space left on device"] * 2


async def test_the_live_view_draws_and_leaves_the_story() -> None:
    """On a terminal: URL and story above, the panel below, gone at the end with the cursor shown again."""
    master, terminal = os.openpty()
    writer = NonBlockingWriter(terminal)
    seen = bytearray()
    reader = threading.Thread(target=_read_terminal, args=(master, seen))
    reader.start()
    bus = Bus(SystemClock())
    view = LiveView(
        writer,
        terminal,
        statuses=lambda: (READY,),
        clock=SystemClock(),
        detail=Detail("info", named=False),
        prints_urls=True,
    )
    async with showing([view], bus):
        bus.publish(events.Phase(tunnel="web", phase="spawned", elapsed_ms=20))
        bus.publish(events.UrlChanged(tunnel="web", url=URL, old=""))
        bus.publish(log("a line of the story"))
    os.close(terminal)
    reader.join()
    os.close(master)
    text = seen.decode()
    assert f"{URL}\r\n" in text
    assert text.count(URL) >= 2
    assert "\x1b[?25h" in text[-200:]
    assert "a line of the story" in text
    assert "Ctrl-C stops" in text


def _read_terminal(master: int, into: bytearray) -> None:
    """Collect what is written to a terminal until it is closed (which a read tells as EIO)."""
    with contextlib.suppress(OSError):
        while data := os.read(master, 65536):
            into += data


class Asked:
    """What the signals asked for."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.said: list[str] = []
        self.reloaded = asyncio.Event()
        self.killed = asyncio.Event()

    def signals(self) -> Signals:
        return Signals(stop=lambda: self.calls.append("stop"), kill=self.kill, reload=self.reload, say=self.said.append)

    def reload(self) -> None:
        self.calls.append("reload")
        self.reloaded.set()

    def kill(self, number: int) -> None:
        self.calls.append(number)
        self.killed.set()


@pytest.mark.timeout(90, method="thread")  # the usual one is a signal itself
async def test_signals() -> None:
    """Many SIGHUP at once reload once; the first SIGINT or SIGTERM stops, the second kills, more change nothing.

    SIGTERM twice in one moment is one.
    """
    asked = Asked()
    own = threading.main_thread().ident
    assert own is not None
    with asked.signals():
        async with asyncio.timeout(10):
            for _ in range(50):
                signal.raise_signal(signal.SIGHUP)
            await asked.reloaded.wait()
            for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT, signal.SIGINT, signal.SIGHUP):
                signal.raise_signal(number)
            await asked.killed.wait()
            for _ in range(3):
                await asyncio.sleep(0)
    assert asked.calls == ["reload", "stop", signal.SIGINT]


@pytest.mark.timeout(90, method="thread")
@pytest.mark.parametrize("limit", ["SIGALRM", "SIGXCPU", "SIGPWR"])
async def test_a_limit_is_no_first_stop(limit: str) -> None:
    """A limit stops once, however often it comes and says why; a SIGTERM after it is the first one, and only the next kills."""
    asked, number = Asked(), getattr(signal, limit)
    with asked.signals():
        async with asyncio.timeout(10):
            for each in (number, number, signal.SIGTERM, number, signal.SIGINT):
                signal.raise_signal(each)
            await asked.killed.wait()
    assert asked.calls == ["stop", signal.SIGINT]
    assert [words.partition(":")[0] for words in asked.said] == [limit]


@pytest.mark.timeout(90, method="thread")
@pytest.mark.parametrize("name", ["SIGQUIT", "SIGUSR1", "SIGALRM", "SIGHUP"])
async def test_what_the_launcher_ignores_stays_ignored(name: str) -> None:
    """What was ignored when prx began stays so: `nohup`, a job in the background of a script; SIGINT and SIGTERM do not."""
    number = getattr(signal, name)
    before = {each: signal.signal(each, signal.SIG_IGN) for each in (number, signal.SIGTERM)}
    try:
        with Asked().signals():
            assert signal.getsignal(number) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def test_the_outcome_is_settled_once() -> None:
    """Once each tunnel is verified or has failed, that is reported; failures carry reason and hint; a new start ends them."""
    told: list[str] = []
    outcome = Outcome(["web", "api"], lambda: told.append("settled"))
    api = events.StateChanged(tunnel="api", old=State.STARTING, new=State.FAILED, reason="no token")
    hint = events.VerdictChanged(tunnel="api", old="", new=Verdict.MISCONFIGURED, reason="no token", hint="set one")
    facts: list[Fact] = [
        hint,
        events.UrlChanged(tunnel="web", url=URL, old=""),
        api,
        events.UrlChanged(tunnel="web", url="b", old=URL),
    ]
    for number, fact in enumerate(facts):
        outcome.see(Event(number, 0.0, fact))
    assert told == ["settled"]
    assert (outcome.failures["api"].message, outcome.failures["api"].hint) == ("api: no token", "set one")
    outcome.see(Event(9, 0.0, events.StateChanged(tunnel="api", old=State.FAILED, new=State.STARTING, reason="")))
    assert outcome.failures == {}
