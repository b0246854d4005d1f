"""The panel on real screens: drawn over itself, through resizes, in every kind of terminal."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from tests.support.screen import Screen
from tests.ui.test_panel import BUSY, DOWN, LONG, READY, URL, WAITING

from prx.core import events
from prx.core.events import Event, Fact
from prx.core.states import State
from prx.core.verdicts import Verdict
from prx.testing.clock import ManualClock
from prx.ui.live import LiveView
from prx.ui.painter import Painter
from prx.ui.panel import panel_lines
from prx.ui.views import Detail
from prx.ui.writer import NonBlockingWriter

SIZE = (80, 12)


def painter(offer: Callable[[str], bool]) -> Painter:
    """Return a painter for a terminal with colours."""
    return Painter(Console(force_terminal=True, width=1_000), offer)


def texts(*lines: str) -> list[Text]:
    """Return lines to draw."""
    return [Text(line) for line in lines]


def test_a_drawing_replaces_the_one_before() -> None:
    """More lines, fewer lines, a story above: nothing of an older drawing stays, and nothing of the story is lost."""
    screen = Screen(*SIZE)
    made = painter(screen.offer)
    made.draw(texts("one"), 80)
    made.draw(texts("two", "three", "four"), 80)
    made.tell(Text("it happened"))
    made.draw(texts("five"), 80)
    assert screen.lines == ["it happened", "five"]
    for number in range(30):
        made.tell(Text(f"story {number}"))
        made.draw(texts("six", f"{number}"), 80)
    assert screen.everything == ["it happened", *(f"story {number}" for number in range(30)), "six", "29"]
    made.close(80)
    assert screen.everything == ["it happened", *(f"story {number}" for number in range(30))]
    assert not screen.cursor_is_hidden


def test_a_url_that_is_wider_than_the_window_is_one_word() -> None:
    """It is written without a break of prx's own, the terminal wraps it, and the next drawing still finds its place."""
    screen = Screen(60, 12)
    made = painter(screen.offer)
    written: list[str] = []

    def offer(text: str) -> bool:
        written.append(text)
        return screen.offer(text)

    made._offer = offer
    for number in range(3):
        made.tell(Text(LONG))
        made.draw([Text(), Text(LONG), Text(f"{number}")], 60)
    assert all(LONG in text for text in written)
    assert "".join(screen.lines).count(LONG) == 4
    assert screen.lines[-1] == "2"
    assert len(screen.lines) == 3 * 2 + 1 + 2 + 1


def test_what_does_not_change_is_not_drawn() -> None:
    """A calm panel writes nothing at all."""
    written: list[str] = []

    def offer(text: str) -> bool:
        written.append(text)
        return True

    made = painter(offer)
    for _ in range(3):
        made.draw(texts("one"), 80)
    assert len(written) == 1
    made.draw([Text("one", style="red")], 80)
    made.draw([Text("one", style="red")], 79)
    assert len(written) == 3


def test_what_the_terminal_refuses_comes_later() -> None:
    """While a terminal is stopped (Ctrl-S) frames are dropped; the story waits."""
    screen, takes = Screen(*SIZE), [True]
    made = painter(lambda text: takes[0] and screen.offer(text))
    made.draw(texts("a", "b"), 80)
    takes[0] = False
    made.tell(Text("it happened"))
    made.draw(texts("c"), 80)
    takes[0] = True
    made.draw(texts("d"), 80)
    assert screen.lines == ["it happened", "d"]


@pytest.mark.parametrize(("columns", "lines"), [(140, 12), (80, 30), (200, 50), (64, 12)])
def test_a_resize_leaves_no_pieces(columns: int, lines: int) -> None:
    """In a window of another size there is one panel; a narrower one that cuts its lines may lose some of the story."""
    screen = Screen(80, 12)
    made = painter(screen.offer)
    made.tell(Text("it happened"))
    made.draw(panel_lines([BUSY, DOWN], {}, now=1_000.0, size=(80, 12)), 80)
    screen.resize(columns, lines)
    made.draw(panel_lines([BUSY, DOWN], {}, now=1_001.0, size=(columns, lines)), columns)
    text = "\n".join(screen.everything)
    assert (text.count("Ctrl-C stops"), text.count(URL)) == (1, 1)
    assert text.count("it happened") == (columns >= 80)


class Terminal:
    """A `LiveView` whose terminal is an emulator's screen."""

    def __init__(self, *, threshold: str = "info", named: bool = False) -> None:
        self.screen = Screen(*SIZE)
        self.statuses = (READY,)
        self.clock = ManualClock(0.0)
        self.view = LiveView(
            NonBlockingWriter(1),
            -1,
            statuses=lambda: self.statuses,
            clock=self.clock,
            detail=Detail(threshold, named=named),
            prints_urls=True,
        )
        self.view._painter = painter(self.screen.offer)
        self._seq = 0

    async def happen(self, fact: Fact, at: float = 0.0, *, clock_set: float = 0.0) -> str:
        """Show an event, and return what is on the screen then. clock_set: how far the clock was set that `at` is read from."""
        self._seq += 1
        self.clock.advance(max(0.0, at - clock_set - self.clock.monotonic()))
        await self.view.show(Event(self._seq, at, fact))
        return "\n".join(self.screen.everything)


@contextmanager
def live(monkeypatch: pytest.MonkeyPatch, **more: bool | str) -> Iterator[Terminal]:
    """Yield a live view in UTC at the size of the screen."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setenv("COLUMNS", str(SIZE[0]))
    monkeypatch.setenv("LINES", str(SIZE[1]))
    yield Terminal(**more)  # type: ignore[arg-type]


def verdict(new: Verdict, reason: str) -> events.VerdictChanged:
    """Return a change of verdict."""
    return events.VerdictChanged(tunnel="web", old="", new=new, reason=reason, hint="a hint")


async def test_the_panel_is_the_present_and_the_story_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trouble is on the screen once: in the panel while it lasts, then in the story with its time and duration."""
    with live(monkeypatch) as terminal:
        terminal.statuses = (DOWN,)
        text = await terminal.happen(verdict(Verdict.ORIGIN_DOWN, "connection refused by 127.0.0.1:3000"), 40.0)
        assert text.count("connection refused") == 1
        terminal.statuses = (READY,)
        text = await terminal.happen(verdict(Verdict.HEALTHY, "the public URL answers 200"), 105.0)
        assert terminal.screen.lines[0] == "00:00:40 origin_down: connection refused by 127.0.0.1:3000 · 65 s"
        assert text.count("healthy") == 1
        terminal.view.close()
        assert terminal.screen.lines == ["00:00:40 origin_down: connection refused by 127.0.0.1:3000 · 65 s"]


@pytest.mark.parametrize("hours", [3, -3, 24 * 365])
async def test_a_clock_that_is_set_changes_no_duration_of_a_trouble(monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """A trouble of 65 s is one of 65 s, though the wall clock was set in its middle."""
    with live(monkeypatch) as terminal:
        terminal.statuses = (DOWN,)
        await terminal.happen(verdict(Verdict.ORIGIN_DOWN, "connection refused by 127.0.0.1:3000"), 40.0)
        terminal.statuses = (READY,)
        jump = hours * 3600.0
        await terminal.happen(verdict(Verdict.HEALTHY, "the public URL answers 200"), 105.0 + jump, clock_set=jump)
        assert terminal.screen.lines[0] == "00:00:40 origin_down: connection refused by 127.0.0.1:3000 · 65 s"


async def test_a_trouble_that_lasts_to_the_end_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the panel said last stands in the story when the panel is taken away; with several tunnels by name."""
    with live(monkeypatch, named=True) as terminal:
        terminal.statuses = (WAITING,)
        await terminal.happen(verdict(Verdict.CRASHED, "exit code 1"), 40.0)
        terminal.view.close()
        assert terminal.screen.lines[0].startswith("00:00:40 web: crashed: exit code 1 · ")


async def test_the_story_of_a_start_and_of_a_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """URL alone on a line, the way up once it is complete, a new URL loudly, and what the end waits for; wrapped by words."""
    with live(monkeypatch) as terminal:
        for phase, ms in (("spawned", 20), ("url", 300), ("connected", 400), ("dns", 500), ("verified", 600)):
            text = await terminal.happen(events.Phase(tunnel="web", phase=phase, elapsed_ms=ms))
        assert "spawned 0.02 s → url 0.30 s → connected 0.40 s → dns 0.50 s → verified 0.60 s" in terminal.screen.everything
        await terminal.happen(events.UrlChanged(tunnel="web", url=URL, old=""))
        assert URL in terminal.screen.everything
        text = await terminal.happen(events.UrlChanged(tunnel="web", url=URL, old="https://old.trycloudflare.com"))
        assert "the public URL has changed: https://old.trycloudflare.com is dead, the new one\nis" in text
        words = "finishing 1 request, at most 30 s"
        terminal.statuses = (replace(READY, state=State.STOPPING, reason=words),)
        text = await terminal.happen(events.Log(tunnel="web", level="info", message=words, fields={"in_flight": 1}))
        assert text.count("finishing") == 1
        terminal.statuses = (READY,)
        text = await terminal.happen(events.Log(tunnel="web", level="info", message=words, fields={"in_flight": 1}))
        assert screen_begins(terminal, words)


def screen_begins(terminal: Terminal, words: str) -> bool:
    """Return whether a line of the story begins with these words."""
    return any(line.startswith(words) for line in terminal.screen.everything)


DRAW = """
import os, sys, time
from rich.console import Console
from rich.text import Text
from prx.ui.painter import Painter
from tests.ui.test_panel import BUSY, DOWN, LONG
from prx.ui.panel import panel_lines
def offer(text):
    sys.stdout.write(text); sys.stdout.flush(); return True
painter = Painter(Console(force_terminal=True, width=1000), offer)
painter.tell(Text("it happened"))
for line in sys.stdin:
    while (size := os.get_terminal_size(1)).columns != int(line):
        time.sleep(0.01)
    painter.draw(panel_lines([BUSY, DOWN], {}, now=1000.0 + size.columns, size=(size.columns, size.lines)), size.columns)
    print(end="", flush=True)
    open(sys.argv[1], "a").write(f"{size.columns} ")
"""


def test_a_terminal_that_wraps_again_keeps_one_panel(tmp_path: Path) -> None:
    """Tmux wraps its lines again at each new width, as most terminals of today do: no piece is left, no story is eaten."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    socket, done, feed = tmp_path / "tmux", tmp_path / "done", tmp_path / "feed"
    done.touch()
    subprocess.run(["mkfifo", str(feed)], check=True)
    (tmp_path / "draw.py").write_text(DRAW)

    def tmux(*words: str) -> str:
        command = ["tmux", "-S", str(socket), "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    root = Path(__file__).parents[2]
    command = f"cd {root} && exec env PYTHONPATH={root} {sys.executable} {tmp_path}/draw.py {done} <{feed}"
    tmux("new-session", "-d", "-x", "80", "-y", "20", command)
    try:
        with feed.open("w") as orders:
            for number, columns in enumerate((80, 60, 46, 80, 140, 50)):
                tmux("resize-window", "-x", str(columns), "-y", "20")
                deadline = time.monotonic() + 20
                orders.write(f"{columns}\n")
                orders.flush()
                while len(done.read_text().split()) <= number:
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                text = tmux("capture-pane", "-p", "-J")
                counts = [text.count(words) for words in ("Ctrl-C stops", URL, "origin_down", "of 2 ready")]
                assert counts == [1, 1, 1, 1], f"at {columns} columns:\n{text}"
                assert tmux("capture-pane", "-p", "-J", "-S", "-50").count("it happened") == 1
    finally:
        tmux("kill-server")
