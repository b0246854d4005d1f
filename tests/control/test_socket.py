"""The control socket itself: whose it is, what lies in its place, and what a client makes of one that gives no answer."""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from collections import deque
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.control.scripted import ScriptedPrx, ask
from tests.support.lacks import no_descriptors

from prx.control import server as server_module
from prx.control.client import Client, NotRunningError, UnresponsiveError
from prx.control.server import ControlServer
from prx.core.errors import PermanentError
from prx.core.shortage import FOR_NOW


async def test_only_the_owner_can_connect(prx: ScriptedPrx, path: Path) -> None:
    """The socket has mode 0600 whatever the umask is."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_stranger_is_not_answered(prx: ScriptedPrx, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that is neither root nor the own user gets nothing, even if the modes let it through."""
    monkeypatch.setattr(server_module, "is_allowed", lambda uid: uid == -1)
    reader, writer = await asyncio.open_unix_connection(path)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_stale_socket_is_replaced(path: Path) -> None:
    """What a killed prx left behind is no obstacle."""
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
        assert (await ask(path, "ping"))["ok"]


async def test_a_file_in_the_way_is_not_removed(path: Path) -> None:
    """Something else than a socket at the path is an error that names it, and stays as it is."""
    path.write_text("mine")
    with pytest.raises(PermanentError, match="not a socket"):
        async with ControlServer(path, ScriptedPrx(), wall=lambda: 0.0):
            pass
    assert path.read_text() == "mine"


async def test_a_path_beyond_107_bytes_works(tmp_path: Path) -> None:
    """The kernel's limit on socket paths is no limit for prx."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    async with ControlServer(folder / "web.sock", ScriptedPrx(), wall=lambda: 0.0):
        assert (await ask(folder / "web.sock", "ping"))["ok"]


def test_nobody_there_is_not_running(path: Path) -> None:
    """No socket, and a socket that is not listened on, both mean that prx is not running: exit code 3."""
    with pytest.raises(NotRunningError):
        Client(path)
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(NotRunningError) as caught:
        Client(path)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("answer", [None, b"", b"what?\n", b"x" * 100])
def test_a_prx_that_does_not_answer_is_unresponsive(path: Path, answer: bytes | None) -> None:
    """Silence, an early end and garbage all mean that nothing is known: exit code 4, after a bounded time."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        with Client(path, timeout=0.2) as client:
            other, _ = listening.accept()
            with other:
                if answer is not None:
                    other.sendall(answer)
                    other.shutdown(socket.SHUT_WR)
                with pytest.raises(UnresponsiveError) as caught:
                    client.ask("ping")
    assert caught.value.exit_code == 4


def test_a_queue_that_is_full_is_no_lack_of_the_caller(path: Path) -> None:
    """A prx that takes no more connections is unresponsive; the caller hears of no limit of its own."""
    with ExitStack() as stack, socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(0)
        waiting = (stack.enter_context(Client(path, timeout=0.2)) for _ in range(20))
        with pytest.raises(UnresponsiveError) as caught:
            deque(waiting)
    assert "its queue of connections is full" in caught.value.message
    assert "ulimit" not in caught.value.hint


def test_a_caller_without_descriptors_hears_of_its_own_limit(path: Path) -> None:
    """That prx cannot be asked is its caller's lack then: nothing is known of prx (exit code 4), and what helps is said."""
    with no_descriptors(), pytest.raises(UnresponsiveError) as caught:
        Client(path)
    assert "this program cannot ask prx: too many open files" in caught.value.message
    assert (caught.value.exit_code, caught.value.hint) == (4, FOR_NOW[errno.EMFILE].hint)
