"""A service that does not accept what waits is noticed without a request; one that is busy is left alone."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager

import pytest

from prx.config.schema import TunnelSettings
from prx.runtime.probes.accept_queue import listener_has_queue
from prx.runtime.probes.quick_checks import QuickChecks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists what has not been accepted")


@contextmanager
def listener(host: str, port: int = 0, backlog: int = 16) -> Iterator[socket.socket]:
    """Yield a listening socket; nothing accepts unless the test does."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        if host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(backlog)
        yield sock


@asynccontextmanager
async def accepting(sock: socket.socket, every: float = 0.0) -> AsyncIterator[None]:
    """Accept each connection and hold it, as a service does that takes its time to answer."""
    sock.setblocking(False)
    with ExitStack() as held:

        async def accept() -> None:
            while True:
                held.enter_context((await asyncio.get_running_loop().sock_accept(sock))[0])
                await asyncio.sleep(every)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(accept(), name="accept")
            yield
            task.cancel()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less before a connection counts as left."""
    monkeypatch.setattr("prx.runtime.probes.quick_checks.ACCEPT_WITHIN", (0.0, 0.05, 0.1))


def port_of(sock: socket.socket) -> int:
    """Return the port that a socket listens on."""
    return int(sock.getsockname()[1])


async def is_suspect(checks: QuickChecks, host: str, port: int) -> bool:
    """Check once, with no visitor about."""
    shown = f"[{host}]" if ":" in host else host
    await checks.check(TunnelSettings(local_addr=f"{shown}:{port}"), None, 5.0)
    return checks.suspect


@pytest.mark.parametrize(
    ("bound", "asked"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.2", "127.0.0.2"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "::1"),
        ("::1", "localhost"),
        ("::", "127.0.0.1"),
        ("::", "::1"),
    ],
)
@pytest.mark.usefixtures("soon")
async def test_a_service_that_accepts_nothing_is_suspected(bound: str, asked: str) -> None:
    """Whatever it is bound to, and however the connector reaches it; until it accepts again."""
    checks = QuickChecks()
    with listener(bound) as sock:
        assert await is_suspect(checks, asked, port_of(sock))
        async with accepting(sock):
            await asyncio.sleep(0)
            assert not await is_suspect(checks, asked, port_of(sock))


@pytest.mark.parametrize("backlog", [0, 1, 16])
@pytest.mark.usefixtures("soon")
async def test_one_connection_is_left_with_a_service_that_hangs(backlog: int) -> None:
    """However often it is checked: the room in its queue belongs to visitors."""
    checks = QuickChecks()
    with listener("127.0.0.1", backlog=backlog) as sock:
        for _ in range(4):
            assert await is_suspect(checks, "127.0.0.1", port_of(sock))
        sock.setblocking(False)
        sock.accept()[0].close()
        with pytest.raises(BlockingIOError):
            sock.accept()


async def test_a_queue_that_is_full_of_others_is_suspected() -> None:
    """If no connection comes through any more, that says the same."""
    with listener("127.0.0.1", backlog=0) as sock, ExitStack() as others:
        address = sock.getsockname()
        for _ in range(2):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(address)
        assert await is_suspect(QuickChecks(), "127.0.0.1", address[1])


async def test_a_service_that_is_slow_to_answer_is_not_suspected() -> None:
    """It takes its connections: only a request shows that an answer is late, and without visitors none is made."""
    checks = QuickChecks()
    with listener("127.0.0.1") as sock:
        async with accepting(sock):
            for _ in range(3):
                assert not await is_suspect(checks, "127.0.0.1", port_of(sock))


async def test_a_service_that_is_never_done_with_its_queue_is_not_suspected() -> None:
    """Others always wait, and it moves on: this very connection is accepted in its turn."""
    with listener("127.0.0.1", backlog=256) as sock, ExitStack() as others:

        async def crowd() -> None:
            while True:
                for _ in range(2):
                    others.enter_context(socket.create_connection(sock.getsockname()))
                await asyncio.sleep(0.02)

        async with asyncio.TaskGroup() as group:
            coming = group.create_task(crowd(), name="crowd")
            await asyncio.sleep(0)
            async with accepting(sock, every=0.02):
                assert not await is_suspect(QuickChecks(), "127.0.0.1", port_of(sock))
            coming.cancel()


async def test_another_service_on_the_same_port_is_not_taken_for_it() -> None:
    """A program that hangs at another address of this machine, with connections waiting, concerns no one here."""
    checks = QuickChecks()
    with listener("127.0.0.1") as sock, listener("127.0.0.2", port_of(sock)) as other:
        async with accepting(sock):
            with socket.create_connection(other.getsockname()):
                assert not await is_suspect(checks, "127.0.0.1", port_of(sock))


@pytest.mark.parametrize("bound", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"])
async def test_the_kernel_says_of_one_listener_whether_anything_waits(bound: str) -> None:
    """So the table of all connections is read only if something does."""
    with listener(bound) as sock, ExitStack() as others:
        assert listener_has_queue(port_of(sock)) is False
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound, bound)
        others.enter_context(socket.create_connection((host, port_of(sock))))
        assert listener_has_queue(port_of(sock)) is True
        sock.accept()[0].close()
        assert listener_has_queue(port_of(sock)) is False


@pytest.mark.usefixtures("soon")
async def test_without_an_answer_of_the_kernel_the_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container that forbids the question, a service that hangs is noticed all the same."""
    monkeypatch.setattr("prx.runtime.probes.accept_queue._SOCK_DIAG", 99)
    with listener("127.0.0.1") as sock:
        assert listener_has_queue(port_of(sock)) is None
        assert await is_suspect(QuickChecks(), "127.0.0.1", port_of(sock))
