"""What a running prx opens on this machine is open to its own user alone."""

from __future__ import annotations

import json
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from tests.security.scene import PRX, Planted
from tests.support.waits import free_port

from prx.control.client import Client, UnresponsiveError
from prx.control.messages import encode

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def connector() -> str:
    """Return the builtin connector alone: these surfaces are prx's own."""
    return "builtin"


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Yield a folder that every user can pass through."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextmanager
def another_user() -> Iterator[None]:
    """Be another user inside the block: the kernel takes the effective uid of who connects (unix(7), SO_PEERCRED)."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def ask(path: Path) -> bytes:
    """Send `ping`; return the whole answer, nothing if the connection is closed without one."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        try:
            client.sendall(encode({"do": "ping"}))
            return client.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


async def test_files_and_folders_are_private(planted: Planted) -> None:
    """Under the umask 000 too, every folder has mode 0700, every file and socket 0600.

    A folder that is made while another thread makes the socket lacks a right for a moment, and has never one too many.
    """
    await planted.keep_secret()
    async with planted.started(PRX, "--lab", "--hello") as running:
        await running.url()
        await running.event("child_started")
        modes = {path: path.lstat().st_mode for path in [planted.data, *planted.data.rglob("*")]}
        assert await running.stop() == 0
    assert any(stat.S_ISSOCK(mode) for mode in modes.values())
    assert {path.name for path in modes} >= {"logs", "run", "secrets.enc"}

    def named(found: dict[Path, int], is_wrong: Callable[[int, int], bool]) -> dict[str, str]:
        return {
            str(path.relative_to(planted.folder)): oct(stat.S_IMODE(mode))
            for path, mode in found.items()
            if is_wrong(stat.S_IMODE(mode), 0o700 if stat.S_ISDIR(mode) else 0o600)
        }

    assert named(modes, lambda mode, right: bool(mode & ~right)) == {}
    left = {path: path.lstat().st_mode for path in [planted.data, *planted.data.rglob("*")]}
    assert named(left, lambda mode, right: mode != right) == {}


@as_root
async def test_another_user_cannot_connect(planted: Planted) -> None:
    """The modes keep another user away; if they are opened, the kernel's word on who connects does."""
    await planted.keep_secret()
    async with planted.started(PRX, "--lab", "--hello") as running:
        await running.url()
        (path,) = (planted.data / "run").glob("*.sock")
        with another_user(), pytest.raises(PermissionError):
            ask(path)
        for folder in (planted.data, path.parent):
            folder.chmod(0o755)
        with another_user(), pytest.raises(PermissionError):
            ask(path)
        path.chmod(0o666)
        with another_user():
            assert ask(path) == b""
        assert json.loads(ask(path))["pid"] == running.process.pid
        assert await running.stop() == 0


@as_root
def test_root_asks_the_service_of_another_user_and_no_impostor(tmp_path: Path) -> None:
    """Root may ask a service's prx in the service's folder; a socket that another user put into root's folder is refused."""
    folder = tmp_path / "run"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with socket.socket(socket.AF_UNIX) as server:
        with another_user():
            server.bind(str(folder / "prx.sock"))
            server.listen()
        with Client(folder / "prx.sock") as client:
            assert client.pid == os.getpid()
        os.chown(folder, 0, 0)
        with pytest.raises(UnresponsiveError, match=f"process of user {NOBODY}"):
            Client(folder / "prx.sock")


async def test_every_port_is_on_loopback(planted: Planted) -> None:
    """Neither prx nor the lab nor the connector listens where another machine could reach it."""
    await planted.keep_secret()
    async with planted.started(PRX, "--lab", "--hello") as running:
        await running.url()
        prx = psutil.Process(running.process.pid)
        found = _listening(prx)
        for child in prx.children(recursive=True):  # TCP alone: it dials over UDP, and QUIC drops what it did not ask for
            with suppress(psutil.NoSuchProcess):  # a hook that has just ended
                found |= {(place.laddr.ip, place.laddr.port) for place in child.net_connections("tcp") if not place.raddr}
        assert await running.stop() == 0
    assert found
    assert {host for host, _ in found} <= {"127.0.0.1", "::1"}, found


async def test_without_the_lab_prx_opens_no_port(planted: Planted) -> None:
    """Of itself prx listens on its control socket alone."""
    port = free_port()
    (planted.folder / "prx.toml").write_text(f'[tunnel]\nbackend = "none"\npublic_url = "http://127.0.0.1:{port}"\n')
    async with planted.started(PRX, str(port)) as running:
        await running.event("probe")
        assert _listening(psutil.Process(running.process.pid)) == set()
        assert len(list((planted.data / "run").glob("*.sock"))) == 1
        assert await running.stop() == 0


def _listening(process: psutil.Process) -> set[tuple[str, int]]:
    """Return the places where a process takes connections or datagrams from any host."""
    return {
        (found.laddr.ip, found.laddr.port)
        for found in process.net_connections("inet")
        if found.status == psutil.CONN_LISTEN or (found.type == socket.SOCK_DGRAM and not found.raddr)
    }
