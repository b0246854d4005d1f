"""The user's own service: the whole of it is started, found, and asked to end."""

import asyncio
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime.process.children import gone
from tests.support.waits import PATIENCE, free_port

from prx.app.local_service import LocalService, ServiceError
from prx.config.local_addr import LocalAddr
from prx.core.errors import NotReadyError
from prx.core.exit_status import ExitStatus
from prx.core.launch import Launch
from prx.runtime.host.clock import SystemClock
from prx.runtime.process.child import ChildProcess

PYTHON = shlex.quote(os.path.realpath(sys.executable))

# It reports its pid, listens, and takes its time when it is asked to end: a file shows that it could finish.
SERVER = """
import os, pathlib, signal, socket, sys, time
here = pathlib.Path(sys.argv[1])
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
print("pid", os.getpid(), flush=True)
listening = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
while not ended:
    time.sleep(0.02)
print("asked", flush=True)
time.sleep(0.3)
(here / "finished").touch()
"""


class Watched:
    """A service of a test and what it has said."""

    def __init__(self, command: tuple[str, ...], port: int, host: str = "127.0.0.1") -> None:
        self.lines: list[str] = []
        self.said: list[str] = []
        self.news = asyncio.Event()
        environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        self.service = LocalService(
            command,
            LocalAddr("http", host, port),
            environ=environ,
            clock=SystemClock(),
            publish_line=self._publish_line,
            log=lambda level, message: self._note(self.said, message),
        )

    def _publish_line(self, line: str) -> str:
        self._note(self.lines, line)
        return line

    def _note(self, into: list[str], text: str) -> None:
        into.append(text)
        self.news.set()

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait until what was said makes it true."""
        async with asyncio.timeout(PATIENCE):
            while not reached():
                self.news.clear()
                await self.news.wait()

    @property
    def pid(self) -> int:
        """The pid that the server reported."""
        return next(int(line.split()[1]) for line in self.lines if line.startswith("pid "))


WRAPPED = {
    "bare": "exec {python} server.py {here}",
    "script": "{python} server.py {here}\necho over",
    "in the background": "{python} server.py {here} &\nwait",
    "a program": "exec {python} -c 'import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])' server.py {here}",
    "two shells deep": 'sh -c "{python} server.py {here}; echo inner"\necho outer',
    "npm": "exec npm run --silent dev",
}


@pytest.fixture
def make(tmp_path: Path, unused_port: int) -> Callable[[str], Watched]:
    """Return what makes a service from the lines of a shell script in a folder that holds server.py."""
    (tmp_path / "server.py").write_text(SERVER)
    inner = f"{PYTHON} server.py {tmp_path}"
    (tmp_path / "package.json").write_text(f'{{"name": "dev", "version": "1.0.0", "scripts": {{"dev": "{inner}"}}}}')

    def made(script: str) -> Watched:
        text = script.format(python=PYTHON, here=tmp_path)
        (tmp_path / "dev.sh").write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        (tmp_path / "dev.sh").chmod(0o700)
        return Watched((str(tmp_path / "dev.sh"),), unused_port)

    return made


@pytest.mark.parametrize("kind", sorted(WRAPPED))
async def test_the_whole_service_is_asked_to_end(make: Callable[[str], Watched], tmp_path: Path, kind: str) -> None:
    """Behind whatever stands in front of it, the server gets SIGTERM and the time to finish its work."""
    if kind == "npm" and shutil.which("npm") is None:
        pytest.skip("no npm on this machine")
    watched = make(WRAPPED[kind])
    await watched.service.start(PATIENCE)
    await watched.until(lambda: any(line.startswith("pid ") for line in watched.lines))
    async with asyncio.TaskGroup() as group:
        group.create_task(gone(watched.pid), name="end of the server")
        await watched.service.stop(PATIENCE)
    assert (tmp_path / "finished").exists()


async def test_one_that_is_deaf_is_killed_when_its_time_is_over(make: Callable[[str], Watched], tmp_path: Path) -> None:
    """A server that ignores SIGTERM behind a script that does not is waited for, and killed in the end, not before."""
    watched = make(f"trap 'exit 0' TERM\nsh -c 'trap \"\" TERM; exec {PYTHON} deaf.py {tmp_path}' & wait")
    deaf = SERVER.replace("lambda *_: ended.append(1)", 'lambda *_: print("deaf", flush=True)')
    (tmp_path / "deaf.py").write_text(deaf)
    await watched.service.start(PATIENCE)
    await watched.until(lambda: any(line.startswith("pid ") for line in watched.lines))
    async with asyncio.TaskGroup() as group:
        group.create_task(gone(watched.pid), name="end of the server")
        stopping = group.create_task(watched.service.stop(PATIENCE), name="stop")
        await watched.until(lambda: "deaf" in watched.lines)
        assert not stopping.done()
        watched.service.kill()
    assert not (tmp_path / "finished").exists()


async def test_a_script_may_start_it_in_the_background_and_end(make: Callable[[str], Watched], tmp_path: Path) -> None:
    """Where the script has ended well and the server lives on, the service is the server."""
    watched = make("{python} server.py {here} &\nexit 0")
    await watched.service.start(PATIENCE)
    await watched.until(lambda: any(line.startswith("pid ") for line in watched.lines))
    await watched.service.stop(PATIENCE)
    assert (tmp_path / "finished").exists()
    assert await watched.service.wait() == ExitStatus(code=0)


DAEMON = """
import os, signal, socket, sys, time
if os.fork():
    sys.exit(0)
os.setsid()
if os.fork():
    os._exit(0)
silent = os.open("/dev/null", os.O_RDWR)
for stream in range(3):
    os.dup2(silent, stream)
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
port = int(os.environ["PORT"]) if "helper" not in sys.argv else 0
listening = socket.create_server(("127.0.0.1", port))
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of others is in /proc")
@pytest.mark.parametrize(("kind", "ends"), [("plain", True), ("deaf", True), ("helper", False)])
async def test_a_daemon_that_serves_the_port_is_ended(
    make: Callable[[str], Watched], tmp_path: Path, kind: str, ends: bool
) -> None:
    """What left session, group and pipes and serves the port ends with prx, deaf or not; a helper that serves another stays."""
    told = tmp_path / "pid"
    (tmp_path / "daemon.py").write_text(DAEMON)
    watched = make(f"{PYTHON} {tmp_path}/daemon.py {told} {kind}; while [ ! -s {told} ]; do sleep 0.02; done; exit 0")
    watched.service._process = await watched.service._spawn()
    async with asyncio.timeout(PATIENCE):
        assert (await watched.service.wait()).code == 0
    pid = int(told.read_text())
    try:
        await watched.service.stop(0.5)
        if ends:
            await gone(pid)
        else:
            assert Path(f"/proc/{pid}").exists()
    finally:
        if not ends:
            os.kill(pid, signal.SIGKILL)


async def test_what_a_failed_leader_leaves_behind_is_asked_to_end(make: Callable[[str], Watched], tmp_path: Path) -> None:
    """A script that fails takes the server along, which may finish."""
    watched = make("{python} server.py {here} &\nread go < go\nexit 3")
    os.mkfifo(tmp_path / "go")
    await watched.service.start(PATIENCE)
    await watched.until(lambda: any(line.startswith("pid ") for line in watched.lines))
    (tmp_path / "go").write_text("now\n")
    async with asyncio.timeout(PATIENCE):
        assert await watched.service.wait() == ExitStatus(code=3)
    assert (tmp_path / "finished").exists()


ENDS_WITH_STDIN = {
    "sh": "cat > /dev/null; echo ended",
    "python": "{python} -c 'import sys; sys.stdin.read()'; echo ended",
    "poll": "{python} -c 'import select; select.select([0], [], [])'; echo ended",
    "child": "sh -c 'read line'; echo ended",
}


@pytest.mark.parametrize("kind", sorted(ENDS_WITH_STDIN))
async def test_stdin_stays_open_and_silent(make: Callable[[str], Watched], kind: str) -> None:
    """A dev server that ends when its stdin ends, or when something comes, goes on; its stdin is no terminal."""
    watched = make("echo up; [ -t 0 ] || echo none\n" + ENDS_WITH_STDIN[kind] + "\nexit 9")
    with pytest.raises(NotReadyError):
        await watched.service.start(1.0)
    assert watched.lines == ["up", "none"]
    watched.service.kill()
    await watched.service.stop()


LISTEN = "import socket, time; s = socket.create_server({where}{more}); print('up', flush=True); time.sleep(600)"
ELSEWHERE = {
    "another port": (("127.0.0.1", 0), "", "127.0.0.1:{port}"),
    "the other family": (("::1", 0), ", family=socket.AF_INET6", "[::1]:{port}"),
    "everywhere": (("0.0.0.0", 0), "", "127.0.0.1:{port}"),
    "both families": (("::", 0), ", family=socket.AF_INET6, dualstack_ipv6=True", "127.0.0.1:{port}"),
}


@pytest.mark.parametrize("kind", sorted(ELSEWHERE))
@pytest.mark.parametrize("wrap", ["exec {command}", "{command}; echo over"])
async def test_another_port_is_named_at_once(make: Callable[[str], Watched], tmp_path: Path, kind: str, wrap: str) -> None:
    """Where the service listens elsewhere prx says so as soon as it does, with the command that uses it."""
    (host, _), more, named = ELSEWHERE[kind]
    port = free_port()
    (tmp_path / "other.py").write_text(LISTEN.format(where=(host, port), more=more))
    watched = make(wrap.format(command=f"{PYTHON} other.py"))
    async with asyncio.TaskGroup() as group:
        starting = group.create_task(_expect_late(watched), name="start")
        await watched.until(lambda: any("instead" in text for text in watched.said))
        address = named.format(port=port)
        assert watched.said[0] == f"waiting for the service on {watched.service.address.authority} …"
        assert f"it listens on {address} instead: prx start " in watched.said[1]
        assert address in watched.service.waiting
        starting.cancel()
    await watched.service.stop()


async def _expect_late(watched: Watched) -> None:
    await watched.service.start(PATIENCE)


async def test_lateness_names_the_other_port(make: Callable[[str], Watched], tmp_path: Path) -> None:
    """The error of a service that never listened where it should names where it did."""
    port = free_port()
    (tmp_path / "other.py").write_text(LISTEN.format(where=("127.0.0.1", port), more=""))
    watched = make(f"exec {PYTHON} other.py")
    with pytest.raises(NotReadyError, match=f"it listens on 127.0.0.1:{port} instead") as caught:
        await watched.service.start(3.0)
    assert caught.value.hint.startswith(f"prx start {port} -- ")
    await watched.service.stop()


@pytest.mark.parametrize(("last", "how"), [("exit 0", "exit code 0"), ("exit 4", "exit code 4"), ("kill -9 $$", "SIGKILL")])
async def test_an_end_before_it_listens_is_a_failure(make: Callable[[str], Watched], last: str, how: str) -> None:
    """A service that ends too early is a failure, with 0 as well, and its last lines are shown."""
    watched = make(f"echo one; echo two >&2\n{last}")
    with pytest.raises(ServiceError, match=how) as caught:
        await watched.service.start(PATIENCE)
    assert caught.value.exit_code == 1
    assert sorted(caught.value.problems) == ["| one", "| two"]
    await watched.service.stop()


WRAPPERS = {
    "script": '{python} client.py "$@"\necho over',
    "forwards": "trap 'kill -TERM $child' TERM\n{python} client.py \"$@\" & child=$!\nwait $child; wait $child",
    "deaf": "trap '' TERM\n{python} client.py \"$@\"",
    "traps and waits": 'trap "echo later" TERM\n{python} client.py "$@"',
    "in a pipe": '{python} client.py "$@" 2>&1 | cat',
    "starts it again": 'while true; do {python} client.py "$@"; done',
    "adds words": '{python} client.py --first "$@" --last',
    "exec": 'exec {python} client.py "$@"',
}

# As cloudflared: the first SIGTERM begins an orderly end, which takes a while; a second one kills.
CLIENT = """
import os, pathlib, signal, sys, time
asked = []
def on_term(*_):
    asked.append(1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGTERM, on_term)
print("pid", os.getpid(), flush=True)
while not asked: time.sleep(0.02)
time.sleep(0.4)
pathlib.Path("finished").touch()
print("finished", flush=True)
"""


@pytest.mark.parametrize("kind", sorted(WRAPPERS))
async def test_a_wrapped_connector_ends_as_a_bare_one(tmp_path: Path, kind: str) -> None:
    """Behind any wrapper the client gets SIGTERM once, finishes what is in flight, and nothing is left."""
    (tmp_path / "client.py").write_text(CLIENT)
    wrapper = tmp_path / "cloudflared"
    wrapper.write_text(f"#!/bin/sh\ncd {tmp_path}\n" + WRAPPERS[kind].format(python=PYTHON) + "\n")
    wrapper.chmod(0o700)
    lines: list[str] = []
    news = asyncio.Event()

    def on_line(_stream: str, line: bytes) -> None:
        lines.append(line.decode())
        news.set()

    launch = Launch((str(wrapper), "tunnel", "--metrics", "127.0.0.1:1"), {"PATH": os.environ["PATH"]})
    async with await ChildProcess.spawn(launch, on_line=on_line) as process, asyncio.timeout(PATIENCE):
        while not lines:
            news.clear()
            await news.wait()
        client = int(lines[0].split()[1])
        async with asyncio.TaskGroup() as group:
            group.create_task(gone(client), name="end of the client")
            process.terminate()
            await process.wait()
    assert (tmp_path / "finished").exists()
    assert "finished" in lines


async def test_a_wrapper_that_was_ended_by_another(tmp_path: Path) -> None:
    """Where a service manager ends the wrapper with SIGTERM, the client behind it is asked, not killed."""
    (tmp_path / "client.py").write_text(CLIENT)
    wrapper = tmp_path / "cloudflared"
    wrapper.write_text(f'#!/bin/sh\ncd {tmp_path}\n{PYTHON} client.py "$@"\n:\n')
    wrapper.chmod(0o700)
    up = asyncio.Event()
    launch = Launch((str(wrapper), "tunnel"), {"PATH": os.environ["PATH"]})
    async with await ChildProcess.spawn(launch, on_line=lambda *_: up.set()) as process, asyncio.timeout(PATIENCE):
        await up.wait()
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == ExitStatus(signal=signal.SIGTERM)
    assert (tmp_path / "finished").exists()
