"""What the service manager hears, on a real datagram socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.lacks import no_descriptors

from prx.core.events import Fact, Log, Probed, StateChanged, UrlChanged, VerdictChanged
from prx.core.states import State
from prx.core.status import TunnelStatus
from prx.core.verdicts import Verdict
from prx.runtime.bus import Bus
from prx.runtime.host.sd_notify import BEAT, Notifier, NotifySocket, summary, watchdog_seconds
from prx.testing.clock import ManualClock

NAME = "prx-test-notify"


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """Return the messages since the last call."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(65536).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Yield a manager that listens at a path, and one in the abstract namespace."""
    abstract = f"@{NAME}-{os.getpid()}-{tmp_path.name}"
    manager = Manager(abstract if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.socket.close()


class House:
    """A bus with tunnels, and the notifier that listens to it."""

    def __init__(self, manager: Manager, *names: str, watchdog: float = 0.0) -> None:
        self.clock = ManualClock()
        self.bus = Bus(self.clock)
        for name in names:
            self.bus.track(TunnelStatus(name))
        environ = {"NOTIFY_SOCKET": manager.address}
        if watchdog:
            environ |= {"WATCHDOG_USEC": str(int(watchdog * 1_000_000)), "WATCHDOG_PID": str(os.getpid())}
        self.notifier = Notifier.from_environment(environ, self.clock, self.bus.statuses)
        self.bus.listen(self.notifier.see)

    def tell(self, *facts: Fact) -> None:
        """Publish facts."""
        for fact in facts:
            self.bus.publish(fact)


async def settle(house: House, seconds: float) -> None:
    """Move the clock, beat by beat: each task gets to sleep again before the next step."""
    end = house.clock.monotonic() + seconds
    while house.clock.advance_to_next(end):
        for _ in range(5):
            await asyncio.sleep(0)


def state(new: str, tunnel: str = "web", reason: str = "") -> StateChanged:
    """Make a change of state."""
    return StateChanged(tunnel=tunnel, old=State.IDLE, new=State(new), reason=reason)


def verdict(new: str, tunnel: str = "web", reason: str = "") -> VerdictChanged:
    """Make a change of verdict."""
    return VerdictChanged(tunnel=tunnel, old="", new=Verdict(new), reason=reason)


def test_ready_is_said_once(manager: Manager) -> None:
    """The first tunnel that is up makes prx ready; what follows only changes the status line."""
    house = House(manager, "web")
    house.tell(state("starting"), verdict("starting", reason="no connection yet"))
    assert manager.heard() == ["STATUS=starting", "STATUS=starting · starting · no connection yet"]
    house.tell(UrlChanged(tunnel="web", url="https://web.example.com", old=""), verdict("healthy"), state("ready"))
    assert manager.heard() == [
        "READY=1",
        "STATUS=starting · healthy · https://web.example.com",
        "STATUS=ready · healthy · https://web.example.com",
    ]
    house.tell(state("degraded", reason="refused by\n127.0.0.1:8080"), state("ready"), state("ready"))
    assert [line.split("=")[0] for line in manager.heard()] == ["STATUS", "STATUS"]


@pytest.mark.parametrize(
    ("fact", "ready"),
    [
        (state("degraded"), True),
        (state("backoff"), True),
        (verdict("offline"), True),
        (verdict("dns_pending"), True),
        (verdict("rate_limited"), True),
        (state("starting"), False),
        (verdict("starting"), False),
        (verdict("auth_rejected"), False),
        (verdict("misconfigured"), False),
        (state("failed"), False),
        (state("stopping"), False),
        (Log(tunnel="web", level="info", message="x"), False),
        (Probed(tunnel="web", status=200, latency_ms=1.0, verdict=Verdict.HEALTHY), False),
    ],
    ids=lambda value: f"{value.name}-{getattr(value, 'new', '')}" if isinstance(value, Fact) else "",
)
def test_ready_when_prx_understands(manager: Manager, fact: Fact, ready: bool) -> None:
    """A prx that waits for the network is ready; one that is still looking, or can only fail, is not."""
    house = House(manager, "web")
    house.tell(fact)
    assert ("READY=1" in manager.heard()) == ready


async def test_watchdog_is_fed_from_the_loop(manager: Manager) -> None:
    """A beat at once, then one each half time-out; before READY each asks for time, afterwards none does."""
    house = House(manager, "web", watchdog=30)
    async with asyncio.TaskGroup() as group:
        beats = group.create_task(house.notifier.run(), name="beats")
        await asyncio.sleep(0)
        assert manager.heard() == ["WATCHDOG=1\nEXTEND_TIMEOUT_USEC=45000000"]
        house.tell(state("ready"))
        assert manager.heard()[0] == "READY=1"
        await settle(house, 14.9)
        assert manager.heard() == []
        await settle(house, 0.1)
        assert manager.heard() == ["WATCHDOG=1"]
        await settle(house, 150)
        assert manager.heard() == ["WATCHDOG=1"] * 10
        beats.cancel()


async def test_without_watchdog_only_time_is_asked_for(manager: Manager) -> None:
    """A unit without a watchdog hears no WATCHDOG=1, yet a slow start is not killed."""
    house = House(manager, "web")
    async with asyncio.TaskGroup() as group:
        beats = group.create_task(house.notifier.run(), name="beats")
        await asyncio.sleep(0)
        await settle(house, BEAT)
        assert manager.heard() == ["EXTEND_TIMEOUT_USEC=45000000"] * 2
        house.tell(state("ready"))
        manager.heard()
        await settle(house, 10 * BEAT)
        assert manager.heard() == []
        beats.cancel()


def test_reload_and_stop(manager: Manager) -> None:
    """A reload is reported with its time and ended even when it fails; before READY it is not reported at all."""
    house = House(manager, "web")
    with house.notifier.reloading():
        pass
    assert manager.heard() == []
    house.tell(state("ready"))
    manager.heard()

    def reload() -> None:
        with house.notifier.reloading():
            raise ValueError("a mistake in the file")

    with pytest.raises(ValueError, match="a mistake"):
        reload()
    house.notifier.stopping()
    assert manager.heard() == ["RELOADING=1\nMONOTONIC_USEC=1000000000", "READY=1", "STOPPING=1"]


async def test_silent_without_a_manager() -> None:
    """Without NOTIFY_SOCKET nothing is sent and no task stays; a path without a listener does no harm either."""
    for address in ("", "vsock:2:1234", "relative"):
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": address}, ManualClock(), tuple)
        await notifier.run()
        notifier.stopping()
    NotifySocket("/nowhere/at/all").send("READY=1")
    NotifySocket("/" + "x" * 300).send("READY=1")


def test_full_socket_does_not_block(manager: Manager) -> None:
    """A manager that does not read costs messages, never time."""
    sender = NotifySocket(manager.address)
    for _ in range(5000):
        sender.send("STATUS=" + "x" * 400)
    assert 0 < len(manager.heard()) < 5000


def fill(manager: Manager) -> None:
    """Have others fill the manager's queue while it does not read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as other, suppress(BlockingIOError):
        while True:
            other.sendto(b"of another service", f"\0{manager.address[1:]}" if manager.address[0] == "@" else manager.address)


def heard_of_prx(manager: Manager) -> list[str]:
    """Return what prx itself has said."""
    return [message for message in manager.heard() if message != "of another service"]


@pytest.mark.parametrize("watchdog", [0.0, 30.0])
def test_what_a_busy_manager_missed_is_said_again_in_order(manager: Manager, watchdog: float) -> None:
    """That prx is ready, has reloaded and how it stands reaches a manager that was busy at the time: else it would kill prx."""
    house = House(manager, "web", watchdog=watchdog)
    fill(manager)
    house.tell(state("starting"), verdict("healthy"), state("ready"))
    with house.notifier.reloading():
        house.tell(state("degraded", reason="refused"), state("ready"))
    house.notifier.beat()  # in vain as well
    assert heard_of_prx(manager) == []
    house.notifier.beat()
    alive = ["WATCHDOG=1"] if watchdog else []
    reloading = f"RELOADING=1\nMONOTONIC_USEC={int(house.clock.monotonic() * 1_000_000)}"
    assert heard_of_prx(manager) == ["READY=1", reloading, "STATUS=ready · healthy", "READY=1", *alive]


@pytest.mark.parametrize("taken", ["before the first message", "after it"])
@pytest.mark.parametrize("message", ["watchdog", "ready", "stopping", "status"])
def test_a_prx_without_descriptors_is_heard(manager: Manager, message: str, taken: str) -> None:
    """Whatever prx has to say needs no descriptor: a watchdog that is not fed would end every tunnel."""
    house = House(manager, "web", watchdog=30.0)
    if taken == "after it":
        house.notifier.beat()
    manager.heard()
    with no_descriptors():
        if message == "watchdog":
            house.notifier.beat()
        elif message == "stopping":
            house.notifier.stopping()
        else:
            house.tell(verdict("healthy"), state("ready"))
    words = {"watchdog": "WATCHDOG=1", "ready": "READY=1", "stopping": "STOPPING=1", "status": "STATUS=ready · healthy"}
    assert any(words[message] in heard for heard in manager.heard())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "9" * 5000}, 0.0),
    ],
)
def test_watchdog_variables(environ: dict[str, str], expected: float) -> None:
    """The watchdog counts only if it is meant for this process."""
    assert watchdog_seconds(environ, 7) == expected


def test_summary_of_many() -> None:
    """Several tunnels are counted, the first that is not ready is named, and nothing from outside breaks the line."""
    ready = TunnelStatus("api", state=State.READY, verdict=Verdict.HEALTHY, url="https://api.example.com")
    down = TunnelStatus("web", state=State.DEGRADED, verdict=Verdict.ORIGIN_DOWN, reason="\x1b[31mrefused\nREADY=1" + "x" * 999)
    assert summary([]) == "no tunnel"
    assert summary([ready, ready]) == "2 of 2 tunnels ready"
    words = summary([ready, down])
    assert words.startswith("1 of 2 tunnels ready; web: degraded · origin_down · refused READY=1x")
    assert len(words) == 400


def test_without_a_manager_nothing_is_summed_up() -> None:
    """A change of one tunnel does not go through all others if no service manager hears of it: a thousand come up at once."""
    clock = ManualClock()
    asked: list[int] = []
    notifier = Notifier(NotifySocket(""), clock, lambda: asked.append(1) or ())  # type: ignore[func-returns-value]
    bus = Bus(clock)
    bus.listen(notifier.see)
    bus.publish(StateChanged(tunnel="web", old=State.IDLE, new=State.STARTING, reason="asked to start"))
    assert not asked
