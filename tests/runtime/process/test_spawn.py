"""What a child gets from prx, what it does not get, and every way in which a start can fail."""

import asyncio
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.runtime.process.children import Child, executable, gone, open_descriptors, python
from tests.support.waits import PATIENCE

from prx.core.exit_status import ExitStatus
from prx.core.launch import SECRET_PATH, Launch
from prx.runtime.process import spawn as spawning
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.spawn import SpawnError, spawn

CANARY = b"canary-secret-0123456789"


@pytest.fixture(params=["setpriv", "fork"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start the child both ways: through setpriv, and as on a machine without it."""
    if request.param == "fork":
        monkeypatch.setattr(spawning, "_setpriv", lambda: None)
    elif spawning._setpriv() is None:
        pytest.skip("no setpriv that knows --pdeathsig on this machine")
    return str(request.param)


@pytest.mark.usefixtures("way")
async def test_environment_is_exact(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of prx's own environment reaches the child: no LISTEN_FDS, no TUNNEL_TOKEN."""
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("TUNNEL_TOKEN", "stray")
    env = shutil.which("env") or "/usr/bin/env"
    async with await child.start(Launch((env,), {"HOME": "/nowhere", "LANG": "C"})) as process:
        assert await process.wait() == ExitStatus(code=0)
        assert sorted(child.text("stdout")) == [b"HOME=/nowhere", b"LANG=C"]


@pytest.mark.usefixtures("way")
async def test_descriptors_stdin_and_core_limit(child: Child) -> None:
    """The child has three descriptors, an empty stdin, and writes no core file; prx's own limit stays."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    mine = (before[1], before[1])
    resource.setrlimit(resource.RLIMIT_CORE, mine)
    stray = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(stray, True)
    code = """
def is_open(fd):
    try: return bool(os.fstat(fd))
    except OSError: return False
core = next(line.split()[4] for line in open("/proc/self/limits") if line.startswith("Max core"))
say([fd for fd in range(1000) if is_open(fd)], repr(sys.stdin.read()), core)
"""
    try:
        async with await child.start(python(code)) as process:
            await process.wait()
            assert child.lines == [("stdout", b"[0, 1, 2] '' 0")]
    finally:
        os.close(stray)
        after = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, before)
    assert after == mine


@pytest.mark.usefixtures("way")
async def test_secret_is_read_once_and_shown_nowhere(child: Child) -> None:
    """The child reads the secret by path; argv and environment do not show it, and a second reader finds nothing."""
    code = "say('got', open(sys.argv[1]).read()); time.sleep(600)"
    async with await child.start(python(code, SECRET_PATH, secret=CANARY)) as process:
        assert await child.line(b"got ") == CANARY
        proc = Path(f"/proc/{process.pid}")
        assert CANARY not in (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()
        path = (proc / "cmdline").read_bytes().split(b"\0")[-2].decode()
        fd = os.open(proc / "fd" / Path(path).name, os.O_RDONLY | os.O_NONBLOCK)
        try:
            assert os.read(fd, 100) == b""
        finally:
            os.close(fd)
        assert CANARY.decode() not in repr(python(code, SECRET_PATH, secret=CANARY))


async def test_secret_too_large(tmp_path: Path) -> None:
    """A secret that might not fit into a pipe is refused before anything starts, and not printed."""
    with pytest.raises(SpawnError, match="5000 bytes") as caught:
        spawn(python("", SECRET_PATH, secret=b"x" * 5000))
    assert caught.value.permanent


@pytest.mark.usefixtures("way")
async def test_working_directory(child: Child, tmp_path: Path) -> None:
    """The child starts in the folder that it was given; a missing folder is named."""
    launch = python("say(os.getcwd())")
    async with await child.start(Launch(launch.argv, {}, cwd=tmp_path)) as process:
        await process.wait()
        assert child.lines == [("stdout", os.fsencode(tmp_path))]
    with pytest.raises(SpawnError, match="in the folder") as caught:
        spawn(Launch(launch.argv, {}, cwd=tmp_path / "none"))
    assert caught.value.permanent


def wrong_machine() -> bytes:
    """Return the start of a program for a machine that does not exist."""
    own = bytearray(Path("/proc/self/exe").read_bytes()[:4096])
    own[18:20] = b"\xf7\x00"  # EM_BPF: no kernel runs that as a program
    return bytes(own)


BAD_PROGRAMS = {
    "missing": (None, errno.ENOENT, "install it"),
    "text": (b"just text\n", errno.ENOEXEC, "damaged"),
    "empty": (b"", errno.ENOEXEC, "damaged"),
    "wrong machine": (wrong_machine(), errno.ENOEXEC, "damaged"),
    "no interpreter": (b"#!/no/such/interpreter\n", errno.ENOEXEC, "/no/such/interpreter"),
}


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("kind", sorted(BAD_PROGRAMS))
def test_bad_programs(tmp_path: Path, kind: str) -> None:
    """A program that cannot run is named, with what is wrong and a hint; trying again cannot help."""
    content, number, words = BAD_PROGRAMS[kind]
    path = tmp_path / "client"
    if content is not None:
        executable(path, content)
    with pytest.raises(SpawnError) as caught:
        spawn(Launch((str(path),), {}))
    error = caught.value
    assert (error.errno, error.permanent) == (number, True)
    assert str(path) in error.message
    assert words in f"{error.message} {error.hint}"


def test_not_executable_and_folder(tmp_path: Path) -> None:
    """A file without the execute bit and a folder are distinguished."""
    (tmp_path / "client").write_bytes(b"#!/bin/sh\n")
    with pytest.raises(SpawnError, match="Permission denied") as caught:
        spawn(Launch((str(tmp_path / "client"),), {}))
    assert "chmod" in caught.value.hint
    with pytest.raises(SpawnError, match="Is a directory"):
        spawn(Launch((str(tmp_path),), {}))


def test_name_not_on_path(tmp_path: Path) -> None:
    """A bare name is looked up on the PATH of the launch, and the message says how many folders were searched."""
    with pytest.raises(SpawnError, match=r"'client': not found in PATH \(looked in 2 folders\)"):
        spawn(Launch(("client",), {"PATH": f"{tmp_path}:/nowhere"}))


async def test_name_on_path(child: Child, tmp_path: Path) -> None:
    """A bare name found on the PATH of the launch is started by its absolute path."""
    executable(tmp_path / "client", b"#!/bin/sh\necho $0\n")
    async with await child.start(Launch(("client",), {"PATH": str(tmp_path)})) as process:
        await process.wait()
        assert child.lines == [("stdout", os.fsencode(tmp_path / "client"))]


def test_nul_byte_is_refused() -> None:
    """A NUL byte in an argument is an error message, not a traceback."""
    with pytest.raises(SpawnError, match="null byte") as caught:
        spawn(python("", "a\0b"))
    assert caught.value.permanent


async def test_no_descriptors_left_is_temporary() -> None:
    """Out of descriptors at any step, a start fails cleanly, says so, and works as soon as there are some again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = open_descriptors()
    failed = 0
    for limit in range(3, soft):
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            spawned = spawn(python(""))
            break
        except SpawnError as error:
            failed += 1
            assert (error.errno, error.permanent) == (errno.EMFILE, False)  # noqa: PT017 - one of several tries
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert open_descriptors() == before
    assert failed
    async with ChildProcess(spawned, lambda *_: None, lambda _: None) as process:
        assert await process.wait() == ExitStatus(code=0)


def test_other_thread_is_refused() -> None:
    """A child started by another thread would die with that thread, so it is refused."""
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            spawn(python(""))
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


PARENT = """
import asyncio, sys
from prx.core.launch import Launch
from prx.runtime.process import spawn as spawning
from prx.runtime.process.child import ChildProcess
from prx.runtime.process.child import ChildProcess
if sys.argv[1] == "fork":
    spawning._setpriv = lambda: None
async def main():
    launch = Launch((sys.executable, "-I", "-S", "-c", sys.argv[2]), {})
    async with await ChildProcess.spawn(launch, on_line=lambda stream, line: print(line.decode(), flush=True)) as process:
        await process.wait()
asyncio.run(main())
"""


async def test_child_dies_with_prx(way: str) -> None:
    """SIGKILL of prx takes the child along, quiet and deaf to SIGTERM as it may be."""
    quiet = "import os, signal, time; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); time.sleep(600)"
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, way, quiet, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    async with asyncio.timeout(PATIENCE):
        grandchild = int(await parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        await gone(grandchild)
        await parent.communicate()
