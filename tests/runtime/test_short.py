"""What could not be read, written or reported is unknown or pending: never "nothing there", never forgotten."""

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.lacks import no_descriptors

from prx.core.evidence import ChildExit, ExitCause
from prx.runtime.child_signs import LogWatch, explain_kill, oom_kills
from prx.runtime.host import statefile
from prx.runtime.host.change_monitor import EVERY, ChangeMonitor
from prx.runtime.host.network import RoutesUnreadableError, fingerprint, network_up, routes
from prx.runtime.persistent_state import PersistentState
from prx.runtime.process.call_batches import BATCH, call_batched
from prx.runtime.process.identity import Identity
from prx.runtime.process.orphans import ChildLedger
from prx.runtime.process.spawn_limit import AT_LEAST, PERIOD, SpawnRateLimiter
from prx.testing.clock import ManualClock

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
DEFAULT = "wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0\n"


def test_routes_that_cannot_be_read_are_unknown(tmp_path: Path) -> None:
    """No /proc/net, an unreadable table, one of another form: unknown, not "no network"; what another table holds counts."""
    with pytest.raises(RoutesUnreadableError):
        routes(tmp_path / "none")
    (tmp_path / "route").write_text(HEAD + DEFAULT)
    assert len(routes(tmp_path)) == 1, "a kernel without IPv6 has no table of it"
    (tmp_path / "if_inet6").touch()
    with pytest.raises(RoutesUnreadableError) as caught:
        routes(tmp_path)
    assert len(caught.value.found) == 1
    (tmp_path / "route").write_text(HEAD + "another form\n")
    with pytest.raises(RoutesUnreadableError):
        routes(tmp_path)


def test_without_descriptors_the_network_is_unknown() -> None:
    """No free descriptor: neither offline nor in another network."""
    with no_descriptors():
        seen = network_up(), fingerprint()
    assert seen == (None, "")


class Hidden:
    """A network of which something, or nothing, can be seen."""

    def __init__(self) -> None:
        self.is_up: bool | None = True
        self.name = "home"

    def up(self) -> bool | None:
        """Tell."""
        return self.is_up

    def fingerprint(self) -> str:
        """Name it."""
        return self.name

    def loopback_up(self) -> bool:
        """Return that it is always there."""
        return True


@pytest.mark.parametrize(("up", "name"), [(None, "home"), (True, ""), (None, "")])
def test_a_network_out_of_sight_has_not_changed(up: bool | None, name: str) -> None:
    """What cannot be seen for a while is not another network when it is seen again; another one then is."""
    network, told = Hidden(), list[str]()
    heart = ChangeMonitor(ManualClock(), network, told.append)
    network.is_up, network.name = up, name
    heart.beat()
    network.is_up, network.name = True, "home"
    heart.beat()
    assert told == []
    network.name = "cafe"
    heart.beat()
    assert told == ["network"]


async def test_the_heart_goes_on(tmp_path: Path) -> None:
    """A chore that fails neither ends the heart nor keeps the next one from its work, and is tried again."""
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise OSError(errno.EMFILE, "none left")

    clock = ManualClock()
    heart = ChangeMonitor(clock, Hidden(), done.append, (fails, lambda: done.append("next")))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(heart.run(), name="heart")
        for _ in range(2):
            await asyncio.sleep(0)
            clock.advance(EVERY)
            await asyncio.sleep(0)
        task.cancel()
    assert done == ["fails", "next"] * 2


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a switch that makes the disk full."""
    switch = [True]
    real = statefile._replace

    def replace(path: Path, content: bytes, *, durable: bool) -> None:
        if switch[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content, durable=durable)

    monkeypatch.setattr(statefile, "_replace", replace)
    return switch


async def test_the_list_of_children_is_written_when_there_is_room(tmp_path: Path, full: list[bool]) -> None:
    """What a full disk refused is in the file after the next beat with room."""
    ledger = ChildLedger(tmp_path / "children.json")
    assert not ledger.add(Identity(4711, 1, "boot"), "web")
    full[0] = False
    ChangeMonitor(ManualClock(), Hidden(), lambda _: None, (ledger.retry,)).beat()
    assert json.loads((tmp_path / "children.json").read_text())["children"][0]["pid"] == 4711


async def test_many_changes_of_the_list_are_one_write(tmp_path: Path) -> None:
    """Hundreds of children that come in one moment are in the file a moment later, and were not written one by one."""
    ledger = ChildLedger(tmp_path / "children.json")
    written = []
    real = ledger._file.save
    ledger._file.save = lambda data: written.append(1) or real(data)  # type: ignore[method-assign,func-returns-value]
    for pid in range(300):
        ledger.add(Identity(1000 + pid, 1, "boot"), "web")
    async with asyncio.timeout(10):
        while len(json.loads((tmp_path / "children.json").read_text())["children"]) < 300:  # noqa: ASYNC110 - a file
            await asyncio.sleep(0.01)
    assert len(written) == 2


async def test_the_list_of_children_is_written_a_few_times_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that keep coming are written every `SOON` seconds: the write that others waited for counts as the last one."""
    loop, now, due, written = asyncio.get_running_loop(), [100.0], list[Callable[[], object]](), list[int]()

    def save(data: dict[str, Any]) -> bool:
        written.append(len(data["children"]))
        return True

    def call_later(_delay: float, call: Callable[[], object]) -> asyncio.Handle:
        due.append(call)
        return asyncio.Handle(call, (), loop)

    ledger = ChildLedger(tmp_path / "children.json")
    ledger._file.save = save  # type: ignore[method-assign]
    with monkeypatch.context() as patched:
        patched.setattr(loop, "time", lambda: now[0])
        patched.setattr(loop, "call_later", call_later)
        for pid in range(100):  # one each 10 ms
            ledger.add(Identity(1000 + pid, 1, "boot"), "web")
            now[0] += 0.01
            if due and pid % 10 == 9:
                due.pop()()
    assert written == [1, *range(10, 101, 10)]


def known(memory: PersistentState, network: str) -> str:
    """Return the protocol that is remembered for a network, empty if none is."""
    learnt = memory.protocol(network)
    return learnt.protocol if learnt else ""


def test_memory_keeps_what_a_full_disk_refused(tmp_path: Path, full: list[bool]) -> None:
    """A rate limit that could not be written holds at once, and is written beside what another prx wrote meanwhile."""
    clock = ManualClock()
    memory = PersistentState(tmp_path / "state.json", clock)
    memory.keep_rate_limit("service", 60.0, 2)
    memory.keep_protocol("home", "http2")
    assert memory.rate_limit("service") == (60.0, 2)
    assert known(memory, "home") == "http2"
    full[0] = False
    PersistentState(tmp_path / "state.json", clock).keep_rate_limit("another", 30.0, 1)
    assert memory.retry()
    again = PersistentState(tmp_path / "state.json", clock)
    assert (again.rate_limit("service"), again.rate_limit("another"), known(again, "home")) == ((60.0, 2), (30.0, 1), "http2")


def test_memory_forgets_nothing_that_it_could_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened for now is not an empty one: what it holds is still there afterwards."""
    clock = ManualClock()
    PersistentState(tmp_path / "state.json", clock).keep_rate_limit("service", 60.0, 2)
    memory = PersistentState(tmp_path / "state.json", clock)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as short:
        short.setattr(os, "open", refuse)
        memory.keep_protocol("home", "http2")
    assert memory.retry()
    again = PersistentState(tmp_path / "state.json", clock)
    assert (again.rate_limit("service"), known(again, "home")) == ((60.0, 2), "http2")


def test_an_unknown_network_is_not_remembered(tmp_path: Path) -> None:
    """A protocol is remembered for a network that has a name."""
    memory = PersistentState(tmp_path / "state.json", ManualClock())
    memory.keep_protocol("", "http2")
    assert memory.protocol("") is None


CGROUPS = {
    "v2": ("0::/a/b\n", "a/b/memory.events", "low 0\noom 3\noom_kill 2\n", 2),
    "v2 in a container": ("0::/../x\n", "memory.events", "oom_kill 5\n", 5),
    "v1": ("5:cpu:/a\n4:memory:/a\n", "memory/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", 7),
    "none": ("5:cpu:/a\n", "x", "", None),
    "garbage": ("0::/a\n", "a/memory.events", "what\n", None),
}


@pytest.mark.parametrize("kind", sorted(CGROUPS))
def test_kills_for_want_of_memory_are_counted(tmp_path: Path, kind: str) -> None:
    """The counter is found in both versions of control groups; if there is none that is unknown."""
    rows, file, content, expected = CGROUPS[kind]
    (tmp_path / "cgroup").write_text(rows)
    (tmp_path / "root" / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "root" / file).write_text(content)
    assert oom_kills(tmp_path / "cgroup", tmp_path / "root") == expected


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(1, 2, "the kernel killed it"), (1, 1, "another process killed it"), (None, 2, "at first"), (1, None, "at first")],
)
def test_a_kill_is_explained(before: int | None, after: int | None, said: str) -> None:
    """Signal 9 is distinguished by the counter; unknown stays as it was; another signal is left alone."""
    end = ChildExit(None, 9, ExitCause.CRASH, "at first")
    assert said in explain_kill(end, before, after).detail
    other = ChildExit(None, 15, ExitCause.CRASH, "at first")
    assert explain_kill(other, before, after) == other


@pytest.mark.parametrize(("stream", "lives_on", "told"), [("stderr", True, 1), ("stdout", True, 0), ("stderr", False, 0)])
def test_a_log_that_ends_is_told_once(stream: str, lives_on: bool, told: int) -> None:
    """A word about a closed log comes once, for a child that lives on, and not for its stdout."""
    clock, said, alive = ManualClock(), list[str](), [True]
    watch = LogWatch(clock, lambda: alive[0], said.append)
    watch.closed(stream)
    watch.closed(stream)
    alive[0] = lives_on
    clock.advance(60)
    assert len(said) == told


async def test_starts_are_paced() -> None:
    """No more than so many children are started in a period, first come first served; a few never wait."""
    clock = ManualClock()
    limiter = SpawnRateLimiter(clock, AT_LEAST)
    begun: list[int] = []

    async def start(number: int) -> None:
        await limiter.wait()
        begun.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(3 * AT_LEAST):
            group.create_task(start(number))
        counts = []
        for _ in range(3):
            for _ in range(50):
                await asyncio.sleep(0)
            counts.append(len(begun))
            clock.advance(PERIOD)
    assert counts == [AT_LEAST, 2 * AT_LEAST, 3 * AT_LEAST]
    assert begun == sorted(begun)


@pytest.mark.parametrize(("took", "pause"), [(0.0, PERIOD), (0.005, 0.005), (0.04, 0.02), (0.1, 0.05)])
async def test_starts_leave_a_third_of_a_busy_loop(took: float, pause: float) -> None:
    """The longer some starts have taken, the longer is the pause in which prx does what else it has to do."""
    clock = ManualClock()
    limiter = SpawnRateLimiter(clock, AT_LEAST)
    for _ in range(AT_LEAST):
        await limiter.wait()
    clock.advance(took)
    async with asyncio.TaskGroup() as group:
        group.create_task(limiter.wait())
        for _ in range(5):
            await asyncio.sleep(0)
        assert clock.next_at() == pytest.approx(clock.monotonic() + pause)
        clock.advance(pause + 1e-6)


async def test_many_at_once_leave_turns_to_others() -> None:
    """Hundreds of calls that are due in one moment are done over many turns of the loop, each once, in order."""
    done: list[int] = []
    for number in range(100):
        call_batched(lambda number=number: done.append(number))  # type: ignore[misc]
    turns = 0
    while len(done) < 100:
        turns += 1
        await asyncio.sleep(0)
    assert done == list(range(100))
    assert turns >= 100 // BATCH
