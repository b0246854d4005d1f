"""The history on disk: what was written is read again, whatever happened in between."""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.core.events import Event, Fact, Log, Probed, StateChanged, Traffic, VerdictChanged
from prx.core.states import State
from prx.core.status import Connection, ConnectorStatus, TunnelStatus
from prx.core.verdicts import Verdict
from prx.history.reader import read
from prx.history.recorder import BEAT_SECONDS, QUEUE_BYTES, HistoryRecorder
from prx.history.records import Record, encode
from prx.history.report import TunnelReport, report
from prx.history.rollup import Rollup
from prx.history.segments import Bounds, SegmentWriter, day_of, prune, segments
from prx.testing.clock import ManualClock

NOW = 1_800_000_000.0


def writer(folder: Path, key: str = "a", bounds: Bounds | None = None, now: float = NOW) -> SegmentWriter:
    """Return a writer whose clock stands still."""
    return SegmentWriter(
        folder, key, bounds or Bounds(), header=lambda: [encode({"at": now, "event": "head"})], wall=lambda: now
    )


def record(number: int, at: float = NOW) -> Record:
    """Return a record that differs from others."""
    return {"at": at, "event": "mark", "number": number}


def numbers(folder: Path, key: str = "a", since: float = NOW) -> list[int]:
    """Return the marks that are read again."""
    return [
        item["number"] for life in read(folder, since) if life.key == key for item in life.records if item["event"] == "mark"
    ]


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=6), cuts=st.lists(st.integers(0, 200), max_size=6))
def test_any_kill_costs_at_most_the_line_that_it_cut(
    tmp_path_factory: pytest.TempPathFactory, counts: list[int], cuts: list[int]
) -> None:
    """Written, cut at any byte, written on: every line that was whole is there, in order, and nothing else."""
    folder = tmp_path_factory.mktemp("history")
    whole: list[int] = []
    number = 0
    for turn, count in enumerate(counts):
        target = writer(folder)
        block = [record(number + offset) for offset in range(count)]
        number += count
        assert target.write([encode(item) for item in block]) == count
        target.close()
        whole += [item["number"] for item in block]
        if turn < len(cuts):
            (file,) = segments(folder)
            text = file.path.read_bytes()
            text = text[: max(0, len(text) - cuts[turn])]
            file.path.write_bytes(text)
            legal = {encode(record(item)): item for item in range(number)}
            whole = [legal[line] for line in text.split(b"\n") if line in legal]
    assert numbers(folder) == whole


@given(st.binary(max_size=300))
def test_any_bytes_in_a_file_are_counted_and_skipped(tmp_path_factory: pytest.TempPathFactory, rubbish: bytes) -> None:
    """What is no record never raises, and hides no record that follows on a line of its own."""
    folder = tmp_path_factory.mktemp("history")
    target = writer(folder)
    target.write([encode(record(1))])
    target.close()
    (file,) = segments(folder)
    with file.path.open("ab") as handle:
        handle.write(rubbish)
    target = writer(folder)
    target.write([encode(record(2))])
    target.close()
    assert numbers(folder) == [1, 2]


def test_a_writer_killed_while_it_writes_leaves_whole_lines(tmp_path: Path) -> None:
    """`kill -9` in the middle of a flood: all lines but the last are records, numbered without a gap."""
    program = (
        "import sys; from pathlib import Path; from prx.history.segments import *; from prx.history.records import encode\n"
        f"w = SegmentWriter(Path(sys.argv[1]), 'a', Bounds(), header=list, wall=lambda: {NOW})\n"
        "n = 0\n"
        "while True:\n"
        f"    w.write([encode({{'at': {NOW}, 'event': 'mark', 'number': n + i}}) for i in range(50)]); n += 50\n"
        "    if n == 5000: print('well under way', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    found = numbers(tmp_path)
    assert len(found) >= 5000
    assert found == list(range(len(found)))


def test_two_prx_write_two_files(tmp_path: Path) -> None:
    """Neither touches what the other writes."""
    one, two = writer(tmp_path, "a"), writer(tmp_path, "b")
    for number in range(20):
        (one if number % 2 else two).write([encode(record(number))])
    assert numbers(tmp_path, "a") == list(range(1, 20, 2))
    assert numbers(tmp_path, "b") == list(range(0, 20, 2))
    one.close()
    two.close()


def test_each_day_begins_a_file_that_can_be_read_alone(tmp_path: Path) -> None:
    """A file begins with its header, so that those before it may be deleted."""
    now = [NOW]
    target = SegmentWriter(
        tmp_path, "a", Bounds(), header=lambda: [encode({"at": now[0], "event": "head"})], wall=lambda: now[0]
    )
    for day in range(3):
        now[0] = NOW + day * 86_400
        target.write([encode(record(day, now[0]))])
    target.close()
    files = segments(tmp_path)
    assert [item.day for item in files] == [day_of(NOW + day * 86_400) for day in range(3)]
    assert all(
        item.path.read_bytes().startswith(b'{"at":') and b"head" in item.path.read_bytes().splitlines()[0] for item in files
    )
    assert all(item.path.stat().st_mode & 0o777 == 0o600 for item in files)


def test_what_is_too_old_or_too_much_is_deleted(tmp_path: Path) -> None:
    """Days first, then the oldest until the rest and one more file fit; what is being written is never deleted."""
    for day in range(10):
        target = writer(tmp_path, now=NOW - day * 86_400)
        target.write([b'{"x":"' + b"y" * 2000 + b'"}'])
        target.close()
    newest = segments(tmp_path)[-1].path
    prune(tmp_path, Bounds(days=5, total_bytes=1 << 30), NOW, keep=newest)
    assert len(segments(tmp_path)) == 6
    prune(tmp_path, Bounds(days=5, total_bytes=9000), NOW, keep=newest)
    assert [item.path for item in segments(tmp_path)][-1] == newest
    assert 1 <= len(segments(tmp_path)) <= 4


@pytest.mark.parametrize("years", [1, 10, 60])
def test_a_clock_set_forward_deletes_nothing_at_once(tmp_path: Path, years: int) -> None:
    """If all that was kept is suddenly too old, the clock may be wrong: it stays until a day that is recent says otherwise."""
    for day in range(3):
        target = writer(tmp_path, now=NOW - day * 86_400)
        target.write([b"{}"])
        target.close()
    wrong = NOW + years * 365 * 86_400
    for later in range(2):
        target = writer(tmp_path, now=wrong + later * 86_400)
        target.write([b"{}"])
        target.close()
        assert len(segments(tmp_path)) == (4 if later == 0 else 2)  # a machine that was off for long tidies up a day later


def test_a_flood_stays_within_the_bounds(tmp_path: Path) -> None:
    """However much happens in one day, the files together keep their bound, and the newest records are there."""
    target = writer(tmp_path, bounds=Bounds(total_bytes=64 * 1024))
    for number in range(3000):
        target.write([encode({**record(number), "pad": "x" * 100})])
    target.close()
    assert sum(item.path.stat().st_size for item in segments(tmp_path)) <= 64 * 1024 + 4096
    assert numbers(tmp_path)[-1] == 2999


def clock_at_now() -> ManualClock:
    """Return a clock that stands at NOW."""
    clock = ManualClock()
    clock.set_wall(NOW)
    return clock


class Refusing:
    """Makes the files of the history refuse, as a full disk does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self._asked = threading.Semaphore(0)
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            if b'"event"' not in bytes(data):
                return real(descriptor, data)
            try:
                if self.full:
                    raise OSError(28, os.strerror(28))
                return real(descriptor, data)
            finally:
                self._asked.release()

        monkeypatch.setattr(os, "write", write)

    async def asked(self) -> None:
        """Wait until the disk has been asked once more."""
        await anyio.to_thread.run_sync(self._asked.acquire)


def events(*facts: Fact, at: float) -> list[Event]:
    """Number and stamp facts."""
    return [Event(number, at, fact) for number, fact in enumerate(facts)]


async def test_a_full_disk_is_counted_and_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that could not be written are counted in their place; the standing follows, so that the report is right again."""
    disk, clock = Refusing(monkeypatch), clock_at_now()
    said: list[str] = []
    with HistoryRecorder(tmp_path, "a", Bounds(), about={}, clock=clock, warn=said.append) as recorder:
        await disk.asked()
        disk.full = True
        for number in range(3):
            recorder.see(Event(number, clock.wall(), VerdictChanged(tunnel="t", old="", new=Verdict.HEALTHY, reason="")))
            await disk.asked()
        disk.full = False
        recorder.see(Event(9, clock.wall(), StateChanged(tunnel="t", old=State.STARTING, new=State.READY, reason="")))
        await disk.asked()
    (life,) = read(tmp_path, NOW)
    assert [item["event"] for item in life.records] == ["prx_started", "snapshot", "lost", "state_changed", "prx_stopped"]
    assert life.records[1]["verdict"] == "healthy"
    assert life.records[2]["count"] == 3
    assert len(said) == 1
    assert "history cannot be written" in said[0]


async def test_probes_are_added_up_and_lines_of_log_are_not_kept(tmp_path: Path) -> None:
    """Five minutes of probes become one record with count, failures and percentiles; a log line becomes none."""
    clock = clock_at_now()
    with HistoryRecorder(tmp_path, "a", Bounds(), about={"pid": 1}, clock=clock, warn=print) as recorder:
        for number in range(20):
            verdict = Verdict.HEALTHY if number % 5 else Verdict.UNREACHABLE
            recorder.see(Event(number, clock.wall(), Probed(tunnel="t", status=200, latency_ms=10.0 + number, verdict=verdict)))
            recorder.see(Event(number, clock.wall(), Log(tunnel="t", level="info", message="hello")))
            clock.advance(30)
    (life,) = read(tmp_path, NOW)
    probes = [item for item in life.records if item["event"] == "probes"]
    assert [(item["count"], item["failed"], item["tunnel"]) for item in probes] == [(10, 2, "t"), (10, 2, "t")]
    assert probes[0]["p50_ms"] == pytest.approx(14, rel=0.03)
    assert {item["event"] for item in life.records} == {"prx_started", "alive", "probes", "prx_stopped"}


async def test_a_window_that_is_open_when_prx_ends_is_kept(tmp_path: Path) -> None:
    """The last minutes are in the report too."""
    clock = clock_at_now()
    with HistoryRecorder(tmp_path, "a", Bounds(), about={}, clock=clock, warn=print) as recorder:
        recorder.see(
            Event(1, clock.wall(), Probed(tunnel="t", status=None, latency_ms=None, verdict=Verdict.UNREACHABLE, error="x"))
        )
    (life,) = read(tmp_path, NOW)
    (probes,) = [item for item in life.records if item["event"] == "probes"]
    assert (probes["count"], probes["failed"], probes["p50_ms"]) == (1, 1, None)


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_no_file_is_not_read(tmp_path: Path, kind: str) -> None:
    """Something else in the place of a file neither blocks nor breaks the report."""
    path = tmp_path / f"a.{day_of(NOW)}.jsonl"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert read(tmp_path, NOW) == []


def test_what_visitors_asked_for_is_added_up() -> None:
    """Requests and errors of five minutes are one record; a quiet time leaves none."""
    rollup = Rollup()
    came = [(0.0, 3, 0), (20.0, 2, 1), (40.0, 0, 0), (400.0, 1, 0)]
    records = [
        record
        for at, requests, errors in came
        for record in rollup.add_traffic(
            1e9 + at,
            Traffic(tunnel="web", requests=0, errors=0, per_minute=0, new_requests=requests, new_errors=errors),
        )
    ]
    assert records == [{"at": 1e9, "event": "traffic", "tunnel": "web", "secs": 300.0, "requests": 5, "errors": 1}]
    assert [record["requests"] for record in rollup.due(1e9 + 500, everything=True)] == [1]
    assert rollup.due(1e9 + 9000, everything=True) == []


class Watched:
    """A recorder whose clock is moved by a story, and the true seconds of each verdict."""

    def __init__(self, recorder: HistoryRecorder, clock: ManualClock) -> None:
        self.recorder, self.clock, self.verdict = recorder, clock, ""
        self.true: Counter[str] = Counter()

    async def lasts(self, seconds: float) -> None:
        """Move time on, with a sign of life each minute."""
        end = self.clock.monotonic() + seconds
        while self.clock.advance_to_next(end):
            await self._written()
        self.true[self.verdict] += round(seconds)

    async def becomes(self, verdict: Verdict) -> None:
        """Change the verdict."""
        self.verdict = verdict
        fact = VerdictChanged(tunnel="t", old="", new=verdict, reason="")
        self.recorder.see(Event(1, self.clock.wall(), fact))
        self.recorder.see(Event(2, self.clock.wall(), StateChanged(tunnel="t", old=State.READY, new=State.READY, reason="")))
        await self._written()

    async def _written(self) -> None:
        while self.recorder._sink._room != QUEUE_BYTES:
            await anyio.lowlevel.checkpoint()


async def a_fault_and_two_steps(folder: Path, steps: tuple[float, float]) -> tuple[TunnelReport, Counter[str]]:
    """Have the clock set while all is well, and within a fault; return the report, and the true seconds of each verdict."""
    clock = clock_at_now()
    clock.set_wall(8 * 3600 - clock.wall() % 86_400)  # it is eight in the morning
    begin = clock.wall()
    with HistoryRecorder(folder, "a", Bounds(), about={}, clock=clock, warn=print) as recorder:
        watched = Watched(recorder, clock)
        await watched.becomes(Verdict.HEALTHY)
        await watched.lasts(100)
        clock.set_wall(steps[0])
        await watched.lasts(100)
        await watched.becomes(Verdict.ORIGIN_DOWN)
        await watched.lasts(50)
        clock.set_wall(steps[1])
        await watched.lasts(150)
        await watched.becomes(Verdict.HEALTHY)
        await watched.lasts(300)
    lives = read(folder, begin - 2 * 86_400)
    (tunnel,) = report(lives, begin - 2 * 86_400, begin + 2 * 86_400).tunnels
    return tunnel, watched.true


@pytest.mark.parametrize("steps", [(-7200.0, 0.0), (7200.0, -7200.0), (-100.0, -100.0), (0.0, 28_000.0), (120.0, 2.0)], ids=str)
async def test_what_is_kept_is_true_whatever_the_wall_clock_does(tmp_path: Path, steps: tuple[float, float]) -> None:
    """The clock is set by seconds, minutes and hours, to and fro: each second counts once, and the fault is one."""
    tunnel, true = await a_fault_and_two_steps(tmp_path, steps)
    (fault,) = tunnel.lost
    assert tunnel.reachable == pytest.approx(true[Verdict.HEALTHY], abs=0.1)
    assert (fault.cause, fault.count) == ("origin_down", 1)
    assert fault.secs == pytest.approx(true[Verdict.ORIGIN_DOWN], abs=0.1)


@pytest.mark.parametrize("steps", [(57_590.0, 0.0), (57_590.0, -57_590.0), (43_200.0, -86_400.0), (-43_200.0, 0.0)], ids=str)
async def test_a_step_into_another_day_costs_no_more_than_a_beat(tmp_path: Path, steps: tuple[float, float]) -> None:
    """Files of two days are written in turns: nothing is counted twice, and at each step a minute at most is not watched."""
    tunnel, true = await a_fault_and_two_steps(tmp_path, steps)
    for found, wanted in (
        (tunnel.reachable, true[Verdict.HEALTHY]),
        (sum(item.secs for item in tunnel.lost), true[Verdict.ORIGIN_DOWN]),
    ):
        assert wanted - 2 * BEAT_SECONDS <= found <= wanted + 0.1


@pytest.mark.parametrize("why", ["midnight", "days later", "a full file", "added by a reload", "changed by a reload"])
async def test_the_report_knows_what_a_tunnel_serves_however_long_prx_has_been_running(tmp_path: Path, why: str) -> None:
    """A report on the end of a long life names the address, and the connections, as one on the whole of it does."""
    clock = clock_at_now()
    clock.set_wall(23.5 * 3600 - clock.wall() % 86_400)  # half an hour before midnight
    before: dict[str, dict[str, str]] = {"added by a reload": {}, "changed by a reload": {"t": "127.0.0.1:1"}}
    about = {"tunnels": before.get(why, {"t": "127.0.0.1:8080"})}
    connector = ConnectorStatus(7, "1", connections=(Connection(0, "ams01", "quic"), Connection(1, "fra03", "quic")))
    bounds = Bounds(total_bytes=4 * 4096)
    recorder = HistoryRecorder(
        tmp_path,
        "a",
        bounds,
        about=about,
        status_of=lambda name: TunnelStatus(name, local_addr="127.0.0.1:8080", connectors=(connector,)),
        clock=clock,
        warn=print,
    )
    with recorder:
        watched = Watched(recorder, clock)
        await watched.becomes(Verdict.HEALTHY)
        if why == "a full file":
            for _ in range(200):
                await watched.becomes(Verdict.ORIGIN_DOWN)
                await watched.becomes(Verdict.HEALTHY)
        await watched.lasts({"midnight": 7200, "days later": 3 * 86_400}.get(why, 300))
        now = clock.wall()
    if why == "a full file":
        for old in segments(tmp_path)[:-1]:
            old.path.unlink()
    (tunnel,) = report(read(tmp_path, now - 60), now - 60, now).tunnels
    assert (tunnel.local_addr, round(tunnel.reachable)) == ("127.0.0.1:8080", 60)
    links = [(item.location, item.count, round(item.secs)) for item in tunnel.links]
    assert links == ([] if "reload" in why else [("ams01", 0, 60), ("fra03", 0, 60)])


@pytest.mark.parametrize(
    "more",
    [{"tags": ["a", "b"]}, {"aspects": {"of": {"a": "newer prx"}}}, {"big": 1 << 70}, {"lists": [], "and_more": [{}]}],
    ids=str,
)
def test_a_record_of_a_newer_prx_means_what_this_one_understands_of_it(tmp_path: Path, more: Record) -> None:
    """After a downgrade the history is no damage: a field that is not known yet is left out, and the rest counts."""
    target = writer(tmp_path)
    records: list[Record] = [
        {"at": NOW, "event": "prx_started", "tunnels": {"t": "127.0.0.1:1"}},
        {"at": NOW + 1, "event": "state_changed", "tunnel": "t", "new": "ready"},
        {"at": NOW + 2, "event": "verdict_changed", "tunnel": "t", "new": "healthy"},
        {"at": NOW + 60, "event": "weather", "tunnel": "t"},
        {"at": NOW + 62, "event": "alive"},
    ]
    target.write([encode({**item, **more}) for item in records])
    target.close()
    whole = report(read(tmp_path, NOW), NOW, NOW + 62, running=False)
    assert whole.missing == 0
    assert [(item.tunnel, item.reachable) for item in whole.tunnels] == [("t", 60.0)]


@pytest.mark.parametrize(
    "wrong", [{"new": ["healthy"]}, {"at": "noon"}, {"tunnel": 5}, {"event": None}, {"reason": {}}], ids=str
)
def test_a_value_that_no_prx_writes_makes_a_damaged_record(tmp_path: Path, wrong: Record) -> None:
    """What this prx reads of a record must be of the kind that it is: else the record is counted, and means nothing."""
    target = writer(tmp_path)
    target.write([encode({"at": NOW, "event": "verdict_changed", "tunnel": "t", "new": "healthy", "reason": "", **wrong})])
    target.close()
    assert report(read(tmp_path, NOW), NOW, NOW + 62).missing == 1
