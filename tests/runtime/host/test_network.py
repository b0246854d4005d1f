"""Whether there is a network, and which: read from the kernel's tables, without a packet."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from prx.runtime.host import network
from prx.runtime.host.announcements import Announcements
from prx.runtime.host.network import LOOK_ANYWAY_AFTER, Route, SystemNetwork, fingerprint, network_up, routes
from prx.testing.clock import ManualClock

HEAD = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT"
DEFAULT = "wlan0 00000000 0101A8C0 0003 0 0 600 00000000 0 0 0"
ON_LINK = "wlan0 0001A8C0 00000000 0001 0 0 600 00FFFFFF 0 0 0"
DOCKER = "docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0"
REJECTED = "* 00000000 00000000 0201 0 0 0 00000000 0 0 0"
POINT_TO_POINT = "ppp0 00000000 00000000 0001 0 0 0 00000000 0 0 0"
BY_GATEWAY = "eth0 0000000A 0101A8C0 0003 0 0 0 000000FF 0 0 0"
NONE6, ONE6 = "0" * 32, "fe80" + "0" * 27 + "1"
DEFAULT6 = f"{NONE6} 00 {NONE6} 00 {ONE6} 00000400 1 0 00000003 wlan0"
REJECTED6 = f"{NONE6} 00 {NONE6} 00 {NONE6} ffffffff 1 0 00200200 lo"
LOCAL6 = f"fe80{'0' * 28} 40 {NONE6} 00 {NONE6} 00000100 1 0 00000001 wlan0"


@pytest.mark.parametrize(
    ("v4", "v6", "expected"),
    [
        ([DEFAULT, ON_LINK], [], [Route("wlan0", "0101A8C0")]),
        ([ON_LINK, DOCKER], [LOCAL6], []),
        ([REJECTED], [REJECTED6], []),
        ([POINT_TO_POINT], [], [Route("ppp0", "00000000")]),
        ([BY_GATEWAY], [], [Route("eth0", "0101A8C0")]),
        ([], [DEFAULT6], [Route("wlan0", ONE6)]),
        ([], [], []),
    ],
    ids=["default", "local only", "rejected", "point to point", "gateway", "IPv6 only", "nothing"],
)
def test_routes_that_lead_out(tmp_path: Path, v4: list[str], v6: list[str], expected: list[Route]) -> None:
    """Only routes that lead somewhere count: no local network, no container bridge, no rejecting route."""
    (tmp_path / "route").write_text("\n".join([HEAD, *v4]) + "\n")
    (tmp_path / "ipv6_route").write_text("".join(f"{line}\n" for line in v6))
    assert routes(tmp_path) == expected


def test_kernel_without_ipv6(tmp_path: Path) -> None:
    """A kernel without IPv6 has no table for it."""
    (tmp_path / "route").write_text(f"{HEAD}\n{DEFAULT}\n")
    assert routes(tmp_path) == [Route("wlan0", "0101A8C0")]


def test_an_interface_whose_name_is_no_text(tmp_path: Path) -> None:
    """The kernel takes any bytes for the name of an interface: prx starts, and its network is up."""
    table = f"{HEAD}\n{DEFAULT}\n".replace("wlan0", "wlan\udcff")
    (tmp_path / "route").write_bytes(table.encode(errors="surrogateescape"))
    assert routes(tmp_path) == [Route("wlan\udcff", "0101A8C0")]


@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="needs unshare of util-linux")
def test_namespace_without_a_network_is_down() -> None:
    """Where only loopback exists there is no network."""
    script = "from prx.runtime.host.network import network_up; print(network_up())"
    isolated = subprocess.run(
        ["/usr/bin/unshare", "-rn", sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    if isolated.returncode:
        pytest.skip(f"no namespaces here: {isolated.stderr.strip()}")
    assert isolated.stdout.strip() == "False"


def test_looking_sends_nothing_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look opens no socket and takes well under a millisecond or two."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    begin = time.process_time()
    for _ in range(100):
        network_up()
    assert time.process_time() - begin < 0.5


def addresses(**interfaces: list[str]) -> dict[str, list[SimpleNamespace]]:
    """Write addresses as psutil does."""
    family = {True: socket.AF_INET6, False: socket.AF_INET}
    return {
        name: [SimpleNamespace(family=family[":" in text], address=text) for text in texts]
        for name, texts in interfaces.items()
    }


def test_fingerprint_follows_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes with gateway and address, and not with containers or temporary IPv6 addresses."""

    def seen(ways: list[Route], **interfaces: list[str]) -> str:
        monkeypatch.setattr(network, "routes", lambda: ways)
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses(**interfaces))
        return fingerprint()

    home = [Route("wlan0", "0101A8C0")]
    at_home = seen(home, wlan0=["192.168.1.7", "2001:db8:1:2::a", "fe80::1%wlan0"])
    assert at_home == seen(home, wlan0=["192.168.1.7", "2001:db8:1:2::ffff", "2001:db8:1:2::a"], docker0=["172.17.0.1"])
    assert at_home != seen(home, wlan0=["192.168.1.8", "2001:db8:1:2::a"])
    assert at_home != seen([Route("wlan0", "0102A8C0")], wlan0=["192.168.1.7", "2001:db8:1:2::a"])
    assert at_home != seen([*home, Route("tun0", "00000000")], wlan0=["192.168.1.7", "2001:db8:1:2::a"])
    assert at_home != seen([])


def test_other_systems_ask_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere than on Linux an interface that is up and has a global address counts."""
    monkeypatch.setattr(network, "_LINUX", False)
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {"lo0": SimpleNamespace(isup=True), "en0": SimpleNamespace(isup=True)})
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses(lo0=["127.0.0.1"], en0=["fe80::1"]))
    assert not network_up()
    alone = fingerprint()
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: addresses(lo0=["127.0.0.1"], en0=["192.0.2.7"]))
    assert network_up()
    assert fingerprint() != alone


class Announced(Announcements):
    """Announcements that a test makes."""

    def __init__(self, *answers: bool) -> None:
        super().__init__()
        self.close()
        self._answers = list(answers)

    def may_have_changed(self) -> bool:
        """Return the next answer, and then always that nothing has changed."""
        return self._answers.pop(0) if self._answers else False


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each reading of the tables; the network is up, and stays the same."""
    found: list[str] = []

    def look_up() -> bool:
        found.append("up")
        return True

    def look_name() -> str:
        found.append("name")
        return "home"

    monkeypatch.setattr(network, "network_up", look_up)
    monkeypatch.setattr(network, "fingerprint", look_name)
    return found


def test_the_tables_are_read_only_if_something_was_announced(looks: list[str]) -> None:
    """While the kernel announces nothing, a question costs no look; an announcement costs one of each kind."""
    clock = ManualClock()
    seen = SystemNetwork(Announced(True, False, False, False, True), clock.monotonic)
    for expected in (["up", "name"], [], ["up", "name"], [], []):
        looks.clear()
        assert (seen.up(), seen.fingerprint()) == (True, "home")
        assert looks == expected
        clock.advance(2.0)
    clock.advance(LOOK_ANYWAY_AFTER)
    assert seen.up()
    assert looks == ["up"]


def test_what_could_not_be_read_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown is kept for no longer than for those who ask at the same moment."""
    clock = ManualClock()
    answers = iter([None, False, True])
    monkeypatch.setattr(network, "network_up", lambda: next(answers))
    seen = SystemNetwork(Announced(), clock.monotonic)
    assert (seen.up(), seen.up()) == (None, None)
    clock.advance(0.2)
    assert seen.up() is False
    clock.advance(0.2)
    assert seen.up() is False


def test_without_announcements_everything_may_have_changed(monkeypatch: pytest.MonkeyPatch, looks: list[str]) -> None:
    """On a system that has none, or forbids them, each question is a look, as it was."""

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(socket, "socket", refuse)
    clock = ManualClock()
    seen = SystemNetwork(now=clock.monotonic)
    for _ in range(3):
        assert seen.up()
        clock.advance(0.2)
    assert looks == ["up"] * 3


ANNOUNCED = """
import fcntl, socket, struct
from prx.runtime.host.announcements import Announcements
said = Announcements()
quiet = said.may_have_changed()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # netdevice(7): SIOCSIFFLAGS, IFF_UP
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))
print(quiet, said.may_have_changed(), said.may_have_changed())
"""


@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="needs unshare of util-linux")
def test_the_kernel_announces_a_link_that_comes_up() -> None:
    """The real announcements: nothing, then a change, then nothing again."""
    isolated = subprocess.run(
        ["/usr/bin/unshare", "-rn", sys.executable, "-c", ANNOUNCED], capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare" in isolated.stderr:
        pytest.skip(f"no namespaces here: {isolated.stderr.strip()}")
    assert isolated.stdout.split() == ["False", "True", "False"], isolated.stderr


WITHOUT_LOOPBACK = """
import fcntl, socket, struct
from prx.runtime.host.network import fingerprint, loopback_up
def switch(flags):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # netdevice(7): SIOCSIFFLAGS
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", flags))
def look():
    return loopback_up(), fingerprint()
never, _, there = look(), switch(1), look()
_, gone, _, back = switch(0), look(), switch(1), look()
print([up for up, _ in (never, there, gone, back)])
print(never[1] == gone[1] != there[1] == back[1])
"""


@pytest.mark.skipif(not Path("/usr/bin/unshare").exists(), reason="needs unshare of util-linux")
def test_loopback_that_is_down_is_noticed() -> None:
    """In a namespace in which it never was up, or was taken down, it is named; its return is that of a network."""
    isolated = subprocess.run(
        ["/usr/bin/unshare", "-rn", sys.executable, "-c", WITHOUT_LOOPBACK],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unshare" in isolated.stderr:
        pytest.skip(f"no namespaces here: {isolated.stderr.strip()}")
    assert isolated.stdout.splitlines() == ["[False, True, False, True]", "True"], isolated.stderr
