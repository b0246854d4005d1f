"""Sleep and network changes are noticed."""

import pytest

from prx.runtime.host.change_monitor import EVERY, ChangeMonitor
from prx.runtime.host.clock import until_beat
from prx.testing.clock import ManualClock


class Wifi:
    """A network that changes on demand."""

    def __init__(self) -> None:
        self.name = "home"

    def up(self) -> bool:
        """Return whether it is there."""
        return bool(self.name)

    def fingerprint(self) -> str:
        """Name it."""
        return self.name

    def loopback_up(self) -> bool:
        """Return that it is always there."""
        return True


class Listener:
    """A heartbeat and what it has reported."""

    def __init__(self) -> None:
        self.clock, self.wifi = ManualClock(), Wifi()
        self.told: list[str] = []
        self.heart = ChangeMonitor(self.clock, self.wifi, self.told.append)

    def beat(self) -> list[str]:
        """Advance by a beat, and return what was reported in it."""
        self.told.clear()
        self.clock.advance(EVERY)
        self.heart.beat()
        return list(self.told)


@pytest.fixture
def listener() -> Listener:
    """Return a heartbeat in a quiet world."""
    return Listener()


def test_nothing_happens_in_a_quiet_world(listener: Listener) -> None:
    """Ten beats without a change tell nothing."""
    assert [listener.beat() for _ in range(10)] == [[]] * 10


@pytest.mark.parametrize(
    ("now", "phase", "left"),
    [(1000.0, 0.0, 2.0), (1000.5, 0.0, 1.5), (1001.9, 0.0, 2.1), (1000.0, 0.5, 0.5), (1000.4, 0.5, 2.1), (1000.6, 0.5, 1.9)],
)
def test_all_hear_the_same_drum(now: float, phase: float, left: float) -> None:
    """What is due every two seconds is due together; a beat that comes a moment early is not followed by another at once."""
    assert until_beat(now, 2.0, phase) == pytest.approx(left)


def test_sleep_is_noticed_once(listener: Listener) -> None:
    """The machine slept: the clock that counts sleep ran ahead of the one that does not."""
    listener.clock.suspend(3600)
    assert listener.beat() == ["sleep"]
    assert listener.beat() == []


def test_a_frozen_process_is_noticed(listener: Listener) -> None:
    """A process that was stopped for a minute (SIGSTOP) looks around when it goes on."""
    listener.clock.advance(60)
    assert listener.beat() == ["sleep"]


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 315_360_000.0])
def test_the_wall_clock_may_jump(listener: Listener, jump: float) -> None:
    """A wall clock that is set means nothing."""
    listener.clock.set_wall(jump)
    assert listener.beat() == []


def test_the_networks_return_and_change_are_news(listener: Listener) -> None:
    """Its loss is reported once, as a reason to look; its return is, and so is another one."""
    listener.wifi.name = ""
    assert listener.beat() == ["no network"]
    assert listener.beat() == []
    listener.wifi.name = "home"
    assert listener.beat() == ["network"]
    listener.wifi.name = "café"
    assert listener.beat() == ["network"]
