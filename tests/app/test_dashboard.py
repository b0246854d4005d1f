"""The dashboard as a child of `prx start`: real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from tests.support.waits import PATIENCE, free_port
from tests.web.conftest import ScriptedPrx, serving

from prx.app.dashboard import DashboardChild
from prx.config.paths import runtime_dir
from prx.config.schema import WebSettings
from prx.core.backoff import RESTART
from prx.core.events import Log
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.web.keys import Keys, load_key
from prx.web.link import linked

ROOT = Path(__file__).parents[2]


class QuickClock(SystemClock):
    """A clock whose timers come at once; they are counted."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call at once."""
        self.waits.append(delay)
        return asyncio.get_running_loop().call_later(0, callback)


class Scene:
    """One dashboard child, what it logs, and its settings."""

    def __init__(self, home: Path, settings: WebSettings) -> None:
        self.settings = settings
        self.clock = QuickClock()
        self.said: list[tuple[str, str]] = []
        self.news = asyncio.Event()
        environ = {"PATH": os.environ["PATH"], "HOME": str(home), "PRX_DATA_DIR": str(home / "data"), "SECRET_OF_OTHERS": "x"}
        self.environ = environ | {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
        self.child = DashboardChild(lambda: self.settings, self.environ, self.clock, self._log)

    def _log(self, level: str, message: str) -> None:
        self.said.append((level, message))
        self.news.set()

    async def until(self, words: str, count: int = 1) -> str:
        """Wait for the `count`-th message that holds `words`."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [text for _, text in self.said if words in text]) < count:
                self.news.clear()
                await self.news.wait()
        return found[-1]


@asynccontextmanager
async def running(home: Path, settings: WebSettings) -> AsyncIterator[Scene]:
    """Keep a dashboard running for the length of the block."""
    scene = Scene(home, settings)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.child.run())
        try:
            yield scene
        finally:
            task.cancel()


def served_by(port: int) -> int:
    """Return the pid of the child that listens on `port`."""
    import psutil

    return next(
        item.pid or 0 for item in psutil.net_connections("tcp4") if item.laddr[1:] == (port,) and item.status == "LISTEN"
    )


async def test_a_dashboard_that_dies_is_started_again(tmp_path: Path, unused_port: int) -> None:
    """A dashboard that is killed comes back after a wait, and ends with prx; its password is in no argument."""
    password = Secret("correct horse battery")
    async with running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}", password=password)) as scene:
        await scene.until("dashboard: http")
        pid = served_by(unused_port)
        own = Path(f"/proc/{pid}")
        assert b"horse" not in (own / "cmdline").read_bytes() + (own / "environ").read_bytes()
        assert b"SECRET_OF_OTHERS" not in (own / "environ").read_bytes()
        async with httpx2.AsyncClient(timeout=PATIENCE) as client:
            assert "Password" in (await client.get(f"http://127.0.0.1:{unused_port}/login")).text
        os.kill(pid, signal.SIGKILL)
        await scene.until("started again")
        await scene.until("dashboard: http", 2)
        assert RESTART.delays[0] in scene.clock.waits
        again = served_by(unused_port)
        assert again != pid
    with pytest.raises(ProcessLookupError):
        os.kill(again, 0)


async def test_a_dashboard_that_cannot_listen_says_why(tmp_path: Path, unused_port: int) -> None:
    """Where the port is taken the reason is said, with the wait, and nothing else suffers."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", unused_port)
    async with server, running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}")) as scene:
        said = await scene.until("started again", 2)
        assert "cannot listen on" in said
        assert "in use" in said
        assert scene.clock.waits[:1] == [RESTART.delays[0]]
        assert RESTART.delays[1] in scene.clock.waits


async def test_new_settings_are_obeyed(tmp_path: Path, unused_port: int) -> None:
    """None is started without an address; a reload that gives one starts it, one that takes it away stops it."""
    async with running(tmp_path, WebSettings()) as scene:
        scene.settings = WebSettings(listen=f"127.0.0.1:{unused_port}")
        scene.child.check_settings()
        await scene.until("dashboard: http")
        pid = served_by(unused_port)
        scene.settings = WebSettings()
        scene.child.check_settings()
        async with asyncio.timeout(PATIENCE):
            while Path(f"/proc/{pid}").exists():  # noqa: ASYNC110 - the kernel sends no event
                await asyncio.sleep(0.02)
        assert not [text for level, text in scene.said if level == "warn"]


async def test_settings_that_change_while_it_is_started_are_obeyed(tmp_path: Path, unused_port: int) -> None:
    """A reload in the very moment of a start is not lost: the child that has the former settings makes room."""
    former, new = WebSettings(listen=f"127.0.0.1:{free_port()}"), WebSettings(listen=f"127.0.0.1:{unused_port}")
    scene, asked = Scene(tmp_path, former), 0

    def settings() -> WebSettings:
        nonlocal asked
        asked += 1
        return former if asked == 1 else new

    scene.child = DashboardChild(settings, scene.environ, scene.clock, scene._log)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.child.run())
        await scene.until(f":{unused_port}")
        task.cancel()


async def test_attackers_of_the_dashboard_do_not_hold_up_prx(tmp_path: Path, unused_port: int) -> None:
    """While streams stop reading and 1 GB requests come, prx answers, and the dashboard lives and gives way to prx.

    `make siege` measures it.
    """
    sockets = runtime_dir({"PRX_DATA_DIR": str(tmp_path / "data")})
    sockets.mkdir(parents=True, exist_ok=True)
    prx = ScriptedPrx()
    prx.track("default")
    async with (
        serving(sockets, "prx-1", prx) as server,
        running(tmp_path, WebSettings(listen=f"127.0.0.1:{unused_port}")) as scene,
        linked(server.path) as link,
    ):
        await scene.until("dashboard: http")
        pid = served_by(unused_port)
        bearer = Keys(load_key(tmp_path / "data" / "web.key"), SystemClock().wall).bearer()
        command = (sys.executable, "-m", "bench.siege.attack", "127.0.0.1", str(unused_port), bearer, "20", "5", "200")
        attack = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        try:
            assert attack.stdout is not None
            await attack.stdout.readline()  # it runs
            for _ in range(50):
                prx.publish(Log(tunnel="default", level="info", message="x" * 3000))
                await link.ask("ping", timeout=PATIENCE)
                await asyncio.sleep(0)
        finally:
            attack.terminate()
            out, _ = await attack.communicate()
        done = json.loads(out)
        assert {"connections", "streams", "requests of 1 GB"} <= set(done)
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, os.getpid())
        assert served_by(unused_port) == pid
