"""Ramp, waits and ends of connections, on scripted transports and without waiting."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.lab.connector.stage import Stage, stopped_when

from prx.lab.connector.edge.addresses import NoEdgeError, discover, resolve
from prx.lab.connector.edge.backoff import Backoff
from prx.lab.connector.edge.transport import DialError, DuplicateError, EdgeConnectionError, RejectedError, ServeError


async def test_ramp() -> None:
    """Connection 0 first, the others after it, each on an address of its own, with the pauses between."""
    stage = Stage([], connections=4)
    await stopped_when(stage, lambda: len(stage.state.connections) == 4)
    assert stage.attempts == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert stage.slept[:3] == [1.0, 1.0, 1.0]
    assert "no more connections active and exiting" in stage.lines[-1]


async def test_fewer_slots_than_connections() -> None:
    """There are no more connections than addresses, and the log says so."""
    stage = Stage([], connections=4, slots=2)
    await stopped_when(stage, lambda: len(stage.state.connections) == 2)
    assert "You requested 4 HA connections but I can give you at most 2." in stage.lines[0]


async def test_waits_double() -> None:
    """Failed dials are repeated on other addresses, with bounds that double up to the limit."""
    stage = Stage([DialError("refused")] * 5)
    await stopped_when(stage, lambda: len(stage.state.connections) == 1)
    assert [port for _, port in stage.attempts] == [0, 1, 2, 3, 0, 1]
    assert stage.slept[:5] == [1.0, 2.0, 4.0, 4.0, 4.0]
    announced = [line.partition("up to ")[2].partition(" ")[0] for line in stage.lines if "Retrying" in line]
    assert announced == ["2s", "4s", "8s", "16s", "16s", "1s"]


async def test_one_address_is_no_hot_loop() -> None:
    """A single address that refuses is dialled with the same waits."""
    stage = Stage([DialError("refused")] * 2, slots=1)
    await stopped_when(stage, lambda: len(stage.state.connections) == 1)
    assert stage.slept[:2] == [1.0, 2.0]


@pytest.mark.parametrize("error", [DuplicateError("dup"), RejectedError("Unauthorized: x"), DialError("x"), ServeError("x")])
async def test_passing_causes(error: Exception) -> None:
    """Causes that may pass do not end the connector before its first registration."""
    stage = Stage([error, error])
    await stopped_when(stage, lambda: len(stage.state.connections) == 1)
    assert len(stage.attempts) == 3


@pytest.mark.parametrize("error", [RejectedError("tunnel is gone"), EdgeConnectionError("connection with edge closed")])
async def test_first_failure_is_final(error: Exception) -> None:
    """Any other cause before the first registration ends it, after one wait."""
    stage = Stage([error], connections=4)
    with pytest.raises(EdgeConnectionError, match=str(error)):
        await stage.run()
    assert stage.attempts == [(0, 0)]
    assert "initial tunnel connection failed" in stage.lines[-1]


async def test_lost_connections_come_back_together() -> None:
    """Lost connections wait for themselves and then share one wait; they come back on their own addresses."""
    stage = Stage([], connections=2)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(lambda: len(stage.state.connections) == 2)
        for event in stage.breaks.values():
            event.set()
        await stage.until(lambda: not stage.state.connections)
        await stage.until(lambda: len(stage.state.connections) == 2)
        stage.stopping.set()
    assert sorted(stage.attempts) == [(0, 0), (0, 0), (1, 1), (1, 1)]
    assert 10.0 in stage.slept
    assert sum("Connection terminated" in line and "error=" in line for line in stage.lines) == 2


async def test_lost_and_refused_later() -> None:
    """What would end the connector at first only delays a connection later."""
    stage = Stage([None, RejectedError("no more conns"), RejectedError("no more conns")])
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(lambda: len(stage.state.connections) == 1)
        stage.breaks[0].set()
        await stage.until(lambda: len(stage.attempts) == 4 and len(stage.state.connections) == 1)
        stage.stopping.set()
    assert sum("Register tunnel error from server side" in line for line in stage.lines) == 2


async def test_stop_before_any_connection() -> None:
    """A stop ends attempts that go nowhere, without a word about connections."""
    stage = Stage([DialError("refused")] * 1000)
    stage.stopping.set()
    async with asyncio.timeout(10):
        await stage.run()
    assert not any("no more connections" in line for line in stage.lines)


def test_backoff_is_forgotten_when_success_lasts() -> None:
    """The bound shrinks back only after success has lasted."""
    now = [0.0]
    backoff = Backoff(5, 10.0, now=lambda: now[0], random=lambda: 0.5)
    assert [backoff.next_wait() for _ in range(7)] == [10, 20, 40, 80, 160, 160, 160]
    backoff.forget_later()
    assert backoff.next_wait() == 160
    now[0] = 10.0 * 2**7 * 0.5
    assert (backoff.announced(), backoff.next_wait()) == (10.0, 10.0)


async def test_addresses() -> None:
    """Names resolve, each mention is a slot, what is no address is left out, and none at all is an error."""
    found = await resolve(["127.0.0.1:1", "127.0.0.1:1", "nonsense", "[::1]:2", "localhost:3"])
    assert [str(address) for address in found] == ["127.0.0.1:1", "127.0.0.1:1", "[::1]:2", "127.0.0.1:3"]
    with pytest.raises(NoEdgeError, match="failed to resolve any edge address"):
        await resolve(["nonsense", "127.0.0.1:99999"])


@pytest.mark.parametrize(
    ("version", "first", "family"),
    [("auto", "4", "4"), ("auto", "6", "6"), ("4", "6", "4"), ("6", "4", "6")],
)
async def test_families_of_discovered_addresses(version: str, first: str, family: str) -> None:
    """Without --edge a connector dials the family that is asked for, or the one that the machine prefers."""
    entries: dict[str, list[object]] = {
        "4": [(socket.AF_INET, None, 0, "", (f"192.0.2.{number}", 7844)) for number in (1, 2)],
        "6": [(socket.AF_INET6, None, 0, "", (f"2001:db8::{number}", 7844, 0, 0)) for number in (1, 2)],
    }

    async def regions() -> list[tuple[str, int]]:
        return [("region1.test", 7844), ("region2.test", 7844)]

    async def lookup(host: str, port: int, **_: object) -> list[object]:
        assert host.startswith("region")
        assert port == 7844
        return [*entries[first], *entries["6" if first == "4" else "4"]]

    found = await discover(version, regions=regions, lookup=lookup)
    expected = ["192.0.2.1", "192.0.2.2"] if family == "4" else ["2001:db8::1", "2001:db8::2"]
    assert [address.ip for address in found] == expected * 2


async def test_no_address_discovered() -> None:
    """A name that DNS does not know is an error with its cause."""

    async def unknown() -> list[tuple[str, int]]:
        raise OSError("no such name")

    with pytest.raises(NoEdgeError, match="error looking up Cloudflare edge IPs: no such name"):
        await discover("auto", regions=unknown)


def test_starts_without_quic() -> None:
    """A connector that speaks HTTP/2 does not pay for the QUIC library."""
    code = "import sys, prx.lab.connector.app; print([name for name in sys.modules if name.startswith('aioquic')])"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_imports_point_one_way() -> None:
    """The connector starts without what it does not need."""
    source = "\n".join(path.read_text() for path in (Path(__file__).parents[4] / "src/prx/lab/connector").rglob("*.py"))
    for module in ("click", "pydantic", "rich", "httpx", "prx.lab.edge", "prx.runtime", "prx.backends"):
        assert f"import {module}" not in source
        assert f"from {module}" not in source
