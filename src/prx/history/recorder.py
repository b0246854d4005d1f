"""Takes the events of one prx and keeps them: quick on the loop, written in a thread."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from prx import __version__
from prx.config.schema import Config
from prx.core.events import Event, Probed, Traffic
from prx.core.status import TunnelStatus
from prx.history.records import CLOCK_SET, OPEN, Record, encode, from_event
from prx.history.rollup import Rollup
from prx.history.segments import Bounds, SegmentWriter
from prx.history.standing import Standing
from prx.logs.sinks import Sink
from prx.runtime.host.clock import Clock, TimerHandle
from prx.runtime.host.wall_jumps import WallJumps

BEAT_SECONDS: Final = 60.0
"""How often a sign of life is written; a reader takes nothing for known beyond the last one."""

QUEUE_BYTES: Final = 1024 * 1024


def history_folder(data_dir: Path) -> Path:
    """Return the folder of the history."""
    return data_dir / "history"


def recorder_for(
    config: Config,
    data_dir: Path,
    key: str,
    *,
    status_of: Callable[[str], TunnelStatus | None],
    clock: Clock,
    warn: Callable[[str], None],
) -> HistoryRecorder:
    """Return the recorder of the prx called `key`, whose configuration keeps a history; the rest is as for the recorder."""
    bounds = Bounds(config.history.keep_days, config.history.keep_mb * 1_000_000)
    tunnels = {name: item.local_addr for name, item in config.tunnels.items()}
    about = {"pid": os.getpid(), "version": __version__, "tunnels": tunnels}
    folder = history_folder(data_dir)
    return HistoryRecorder(folder, key, bounds, about=about, status_of=status_of, clock=clock, warn=warn)


class HistoryRecorder:
    """Keep the events of one prx in `folder`, in a `with` block on a running loop.

    `key` tells this prx from others; `about` is kept with its start (pid, version, tunnels). `status_of(tunnel)` returns
    what is known of a tunnel now, None if nothing is; it is called on the loop and in the writing thread.
    `warn(text)` is called on the loop once when the disk refuses, and again only after it has taken records in between.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        bounds: Bounds,
        *,
        about: Mapping[str, Any],
        clock: Clock,
        warn: Callable[[str], None],
        status_of: Callable[[str], TunnelStatus | None] = lambda _: None,
    ) -> None:
        self._clock, self._about, self._warn, self._status_of = clock, about, warn, status_of
        self._addresses: dict[str, str] = dict(about.get("tunnels", {}))  # as they were kept last
        self._jumps = WallJumps(clock)
        self._rollup = Rollup()
        self._standings: dict[str, Standing] = {}  # replaced as a whole: the writing thread reads it
        self._timer: TimerHandle | None = None
        self._refused_at = -1  # records written when the disk refused last
        self._loop = asyncio.get_running_loop()
        writer = SegmentWriter(folder, key, bounds, header=self._header, wall=clock.wall)
        self._sink = Sink(writer, name="history", queue_bytes=QUEUE_BYTES, on_alarm=self._on_alarm, gap=self._gap)

    def __enter__(self) -> Self:
        self._put({"at": self._now(), "event": "prx_started", **self._about})
        self._beat()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._follow_the_clock()
        for record in self._rollup.due(self._clock.wall(), everything=True):
            self._put(record)
        self._put({"at": self._now(), "event": "prx_stopped"})
        self._sink.close()

    @property
    def lost(self) -> int:
        """How many records could not be kept."""
        return self._sink.dropped

    def see(self, event: Event) -> None:
        """Keep `event`, if it is of a kind that is kept; never waits."""
        if isinstance(event.fact, Probed):
            for record in self._rollup.add(event.at, event.fact):
                self._put(record)
            return
        if isinstance(event.fact, Traffic):
            for record in self._rollup.add_traffic(event.at, event.fact):
                self._put(record)
            return
        kept = from_event(event)
        if kept is None:
            return
        self._follow_the_clock()
        tunnel = event.fact.tunnel
        standing = self._standings.get(tunnel, Standing())
        if (new := standing.after(kept)) is not standing:
            self._standings = {**self._standings, tunnel: new}
        self._put(kept)
        status = self._status_of(tunnel)
        if status is not None and status.local_addr != self._addresses.get(tunnel):  # by a reload
            self._addresses[tunnel] = status.local_addr
            self._put(self._snapshot(tunnel, new))

    def _follow_the_clock(self) -> None:
        """Keep that the wall clock was set, before anything of its new time."""
        if jump := self._jumps.since_last():
            self._put({"at": self._now(), "event": CLOCK_SET, "by": round(jump, 3)})

    def _beat(self) -> None:
        self._follow_the_clock()
        for record in self._rollup.due(self._clock.wall()):
            self._put(record)
        if self._timer is not None:
            self._put({"at": self._now(), "event": "alive"})
        self._timer = self._clock.call_later(BEAT_SECONDS, self._beat)

    def _put(self, record: Record) -> None:
        self._sink.put(encode(record))

    def _now(self) -> float:
        return round(self._clock.wall(), 3)

    def _header(self) -> list[bytes]:
        """Return where every tunnel stands, and its connections; called in the writing thread."""
        return [encode(record) for name, standing in self._standings.items() for record in self._standing(name, standing)]

    def _standing(self, tunnel: str, standing: Standing) -> Iterator[Record]:
        yield self._snapshot(tunnel, standing)
        status = self._status_of(tunnel)
        for connector in () if status is None else status.connectors:
            for item in connector.connections:
                where = {"index": item.index, "location": item.location, "protocol": item.protocol}
                yield {"at": self._now(), "event": OPEN, "tunnel": tunnel, "pid": connector.pid, **where}

    def _snapshot(self, tunnel: str, standing: Standing) -> Record:
        status = self._status_of(tunnel)
        return {**standing.snapshot(tunnel, self._now()), "local_addr": "" if status is None else status.local_addr}

    def _gap(self, dropped: int) -> bytes:
        return encode({"at": self._now(), "event": "lost", "count": dropped})

    def _on_alarm(self, text: str) -> None:
        """Say once that the disk refuses; called in the writing thread, at most once a minute."""
        written = self._sink.written
        if written != self._refused_at:
            self._refused_at = written
            self._loop.call_soon_threadsafe(self._warn, text.replace("the log", "the history", 1))
