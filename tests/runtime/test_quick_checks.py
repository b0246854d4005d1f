"""Quick checks of the service between two health checks: what they notice, and what they leave alone."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from struct import pack
from typing import Any

import pytest
from tests.support.servers import Servers

from prx.backends.base import Counters
from prx.config.schema import TunnelSettings
from prx.runtime.probes import kept
from prx.runtime.probes.quick_checks import QuickChecks

SERVER = "import http.server, sys; s = http.server.HTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler)"
SERVER += "; print(s.server_port, flush=True); s.serve_forever()"


class Checking:
    """The quick checks of the service on `port`."""

    def __init__(self, port: int) -> None:
        self._settings = TunnelSettings(local_addr=f"127.0.0.1:{port}")
        self._checks = QuickChecks()

    async def check(self, counters: Counters | None, usual_ms: float | None, *, own: int = 0) -> bool:
        """Check once; `own` requests of all were prx's own."""
        return await self._checks.check(self._settings, counters, usual_ms, own=own)

    @property
    def suspect(self) -> bool:
        """Return whether the last check found something."""
        return self._checks.suspect

    @property
    def failing(self) -> bool:
        """Return whether there were errors since the check before."""
        return self._checks.failing


@pytest.fixture
def program() -> Iterator[tuple[int, int]]:
    """Yield the pid and port of a service in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as child:
        assert child.stdout is not None
        yield child.pid, int(child.stdout.readline())
        child.kill()


async def test_a_service_that_goes_and_comes_is_noticed(servers: Servers, unused_port: int) -> None:
    """Each change is reported once, also one between the check and the first quick check; what stays as it is, is no news."""
    checking = Checking(unused_port)
    assert await checking.check(None, None)
    assert checking.suspect
    assert not await checking.check(None, None)

    async def answer(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        return

    await servers.start(answer, port=unused_port)
    assert await checking.check(None, None)
    assert (checking.suspect, await checking.check(None, None)) == (False, False)
    await servers.close()
    assert await checking.check(None, None)


async def test_a_service_that_is_stopped_before_the_first_beat_is_noticed(program: tuple[int, int]) -> None:
    """The first beat has no beat before it to differ from: it differs from a service that is well."""
    pid, port = program
    os.kill(pid, signal.SIGSTOP)
    assert await Checking(port).check(None, 5.0)


async def test_a_service_that_is_stopped_is_noticed_without_any_visitor(program: tuple[int, int]) -> None:
    """Connections that wait to be accepted tell of it; nothing is asked over HTTP."""
    pid, port = program
    checking = Checking(port)
    assert not await checking.check(None, 5.0)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await checking.check(None, 5.0)
        assert checking.suspect
    finally:
        os.kill(pid, signal.SIGCONT)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    assert await reader.read()  # the service has had its turn, and has accepted what waited before
    writer.close()
    assert await checking.check(None, 5.0)
    assert not checking.suspect


async def test_a_service_that_hangs_is_noticed_while_visitors_come(servers: Servers) -> None:
    """With visitors a GET is no noise; without them, or if the service is slow by nature, none is made."""

    async def hang(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    served = await servers.start(hang)
    checking = Checking(served.port)
    quiet, busy = Counters(requests=5), Counters(requests=9)
    assert not await checking.check(quiet, 5.0)
    assert not await checking.check(quiet, 5.0)
    assert served.heads == []
    assert await checking.check(busy, 5.0)
    assert len(served.heads) == 1
    slow = Checking(served.port)
    for counters in (quiet, busy):
        assert not await slow.check(counters, 900.0)
    assert len(served.heads) == 1


@pytest.mark.parametrize(
    ("requests", "own", "asked"),
    [
        ([5, 6, 7], [1, 2, 3], 0),  # health checks alone
        ([5, 6, 7], [1, 1, 1], 2),  # visitors alone
        ([5, 7, 9], [1, 2, 3], 2),  # both at once
        ([5, 5, 5], [1, 2, 3], 0),  # the edge gave the health checks to another connector
        ([5, 6, 6], [2, 2, 1], 1),  # what was taken for a health check has come past this connector
    ],
    ids=["own", "visitors", "both", "elsewhere", "taken back"],
)
async def test_a_health_check_is_no_visitor(servers: Servers, requests: list[int], own: list[int], asked: int) -> None:
    """A service without visitors is asked nothing between two health checks, however many of these it has answered."""
    served = await servers.start(_well)
    checking = Checking(served.port)
    for count, ours in zip(requests, own, strict=True):
        assert not await checking.check(Counters(requests=count), 5.0, own=ours)
    assert len(served.heads) == asked


async def _well(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("after", "failing"),
    [
        (Counters(requests=9, said={200: 9}), False),
        (Counters(requests=9, request_errors=1, said={200: 8}), True),
        (Counters(requests=9, said={200: 8, 500: 1}), True),
        (Counters(requests=9, said={200: 8, 404: 1}), False),
        (None, False),
    ],
)
async def test_errors_of_visitors_are_noticed(servers: Servers, after: Counters | None, failing: bool) -> None:
    """Requests that the service did not answer well, and its own 5xx; what is not known is no error."""
    checking = Checking((await servers.start(_well)).port)
    await checking.check(Counters(requests=8, said={200: 8}), 5.0)
    await checking.check(after, 5.0)
    assert checking.failing is failing


@pytest.mark.parametrize(
    ("requests", "looks"),
    [
        ([0, 40, 80, 120, 120], [False, False, False, False, True]),
        ([0, 40, 80, 120, 120, 120, 120], [False, False, False, False, True, False, False]),
        ([0, 40, 80, 120, 121, 160], [False] * 6),
        ([0, 3, 6, 9, 9, 9], [False] * 6),
        ([0, 400, 0, 0], [False, False, True, False]),  # the counters began again
    ],
    ids=["stopped", "told once", "fewer", "a few", "begun again"],
)
async def test_a_stream_of_visitors_that_stops_is_worth_a_check(
    program: tuple[int, int], requests: list[int], looks: list[bool]
) -> None:
    """If forty came between two checks and now none does, they may be stopped on their way; if few came, that is chance."""
    checking = Checking(program[1])
    assert [await checking.check(Counters(requests=count), 900.0) for count in requests] == looks


@pytest.mark.parametrize("habit", ["hangs up", "holds", "speaks", "resets"])
async def test_a_service_that_was_connected_to_ahead_is_well(servers: Servers, habit: str) -> None:
    """However it takes a visitor who says nothing; one connection serves the check."""
    taken = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if habit == "speaks":
            writer.write(b"SSH-2.0-x\r\n")
            await writer.drain()
        elif habit == "resets":
            writer.transport.abort()
        taken.set()
        if habit == "holds":
            await asyncio.Event().wait()

    served = await servers.start(serve, read_head=False)
    checks, settings = QuickChecks(), TunnelSettings(local_addr=f"127.0.0.1:{served.port}")
    for _ in range(3):
        taken.clear()
        checks.begin(settings)
        await taken.wait()
        assert not await checks.check(settings, None, 5.0)
        assert not checks.suspect
    assert served.connections == 3


class Curt:
    """A service that ends each connection as soon as it has come, in a way of its own (`habit`); it counts them."""

    def __init__(self, habit: str) -> None:
        self._habit = habit
        self.taken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listening:
            while True:
                visitor, _ = self._listening.accept()
                self.taken += 1
                with visitor:
                    if self._habit == "ends":
                        return
                    if "speaks" in self._habit:
                        visitor.send(b"SSH-2.0-x\r\n")
                    if "resets" in self._habit:
                        visitor.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
                    if "shuts" in self._habit:
                        visitor.shutdown(socket.SHUT_RDWR)

    def close(self) -> int:
        """Have it take one more connection and end; return how many it had before."""
        self._habit, taken = "ends", self.taken
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        return taken


class Late(kept._Socket):
    """A socket of a process that goes on only when the service has already ended the connection."""

    def connect_ex(self, address: Any, /) -> int:
        """Connect, and wait for the end of the connection."""
        failed = super().connect_ex(address)
        select.select([self], [], [], 5.0)  # readable: the end has come
        return failed


@pytest.mark.parametrize("ahead", [True, False], ids=["ahead", "at once"])
@pytest.mark.parametrize("habit", ["resets", "speaks and resets", "shuts", "speaks and closes", "closes"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_service_is_connected_to_once_for_a_check(
    monkeypatch: pytest.MonkeyPatch, habit: str, host: str, ahead: bool
) -> None:
    """However quickly it ends the connection, which it has taken: it is well, and no other connection is made."""
    monkeypatch.setattr(kept, "_Socket", Late)
    service, checks = Curt(habit), QuickChecks()
    settings = TunnelSettings(local_addr=f"{host}:{service.port}")
    for _ in range(3):
        if ahead:
            checks.begin(settings)
        assert not await checks.check(settings, None, 5.0)
        assert not checks.suspect
    assert service.close() == 3


async def test_a_service_that_was_stopped_before_it_was_connected_to_is_noticed(program: tuple[int, int]) -> None:
    """The connection that was made ahead is the one that is left waiting; the next check makes no other."""
    pid, port = program
    checks, settings = QuickChecks(), TunnelSettings(local_addr=f"127.0.0.1:{port}")
    os.kill(pid, signal.SIGSTOP)
    for changed in (True, False):
        checks.begin(settings)
        assert await checks.check(settings, None, 5.0) is changed
        assert checks.suspect
        assert checks._left is not None
    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "[::1]", "service.example", "192.0.2.1", "own-name.localhost"])
async def test_a_service_that_cannot_be_connected_to_ahead_is_checked_as_ever(address: str, unused_port: int) -> None:
    """One that refuses, a name, another machine: nothing is waited for, and nothing concluded."""
    checks = QuickChecks()
    checks.begin(TunnelSettings(local_addr=f"{address}:{unused_port}"))
    assert checks._ahead is None


@pytest.mark.parametrize(
    ("requests", "own", "looks"),
    [
        ([0, 40, 80, 120, 121], [0, 0, 0, 0, 1], [False, False, False, False, True]),  # the one that came is prx's own
        ([0, 20, 35, 36, 36], [0, 0, 0, 1, 1], [False, False, False, True, False]),
        ([0, 40, 80, 120, 122], [0, 0, 0, 0, 1], [False] * 5),  # a visitor came beside it
        ([0, 12, 24, 36, 48, 48], [0, 12, 24, 36, 48, 48], [False] * 6),  # no visitor has ever come
        ([0, 40, 80, 80], [0, 0, 0, 5], [False, False, False, True]),  # prx's own do not come through either
    ],
    ids=["alone", "a thin stream", "not alone", "prx alone", "none comes"],
)
async def test_prxs_own_request_is_no_visitor_who_still_comes(
    program: tuple[int, int], requests: list[int], own: list[int], looks: list[bool]
) -> None:
    """A stream of visitors has stopped although a health check came through, and prx's own requests are no stream."""
    checking = Checking(program[1])
    found = [await checking.check(Counters(requests=count), 900.0, own=ours) for count, ours in zip(requests, own, strict=True)]
    assert found == looks
