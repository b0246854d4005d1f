"""What newer systemd asks of a service: reloads by signal (Type=notify-reload), and a start at `debug` after a failure."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
from tests.deploy.files import DEPLOY
from tests.e2e.prx_process import clean_environment, prx_start, run_prx

from prx.systemd.template import render_template
from prx.systemd.tools import complaints, systemd_version
from prx.systemd.unit import DEBUG_SINCE, Scope, Unit, render

DROP_IN = DEPLOY / "systemd" / "prx@.service.d" / f"systemd-{DEBUG_SINCE}.conf"
CONFIG = 'log_level = "{}"\n[tunnel]\nlocal_addr = "127.0.0.1:9"\n'


class Manager:
    """A notification socket as systemd's, whose messages are read one after another."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def until(self, line: str) -> dict[str, str]:
        """Return the message that has this line; those before it are dropped."""
        async with asyncio.timeout(30):
            while True:
                message = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode().splitlines()
                if line in message:
                    return dict(part.split("=", 1) for part in message)

    def close(self) -> None:
        """Listen no longer."""
        self._socket.close()


async def test_a_signal_reloads_and_its_end_is_reported(tmp_path: Path) -> None:
    """After SIGHUP prx says RELOADING with a time that is not before the signal, then READY, also if nothing was changed."""
    manager = Manager(tmp_path / "notify")
    config = tmp_path / "prx.toml"
    config.write_text(CONFIG.format("info"))
    environ = clean_environment(tmp_path, NOTIFY_SOCKET=str(tmp_path / "notify"))
    async with prx_start("--lab", "-c", str(config), environ=environ, cwd=tmp_path) as prx:
        await manager.until("READY=1")
        for text in (CONFIG.format("debug"), "no configuration", CONFIG.format("info")):
            config.write_text(text)
            sent = time.monotonic_ns() // 1000
            prx.process.send_signal(signal.SIGHUP)
            told = await manager.until("RELOADING=1")
            assert sent <= int(told["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
            await manager.until("READY=1")
        assert await prx.stop() == 0, prx.story()
        await manager.until("STOPPING=1")
    manager.close()


@pytest.mark.parametrize(
    ("environ", "level", "source"),
    [
        ({"DEBUG_INVOCATION": "1"}, "debug", "DEBUG_INVOCATION"),
        ({"DEBUG_INVOCATION": "1", "PRX_LOG": "warn"}, "warn", "PRX_LOG"),
        ({"DEBUG_INVOCATION": "0"}, "error", "prx.toml"),
        ({"DEBUG_INVOCATION": ""}, "error", "prx.toml"),
    ],
)
async def test_a_debug_invocation_logs_more(tmp_path: Path, environ: dict[str, str], level: str, source: str) -> None:
    """DEBUG_INVOCATION=1 stands above the file and below PRX_LOG; any other value of it says nothing."""
    (tmp_path / "prx.toml").write_text(CONFIG.format("error"))
    code, out, err = await run_prx("config", "show", "--origin", environ=clean_environment(tmp_path, **environ), cwd=tmp_path)
    assert code == 0, err
    line = next(line for line in out.splitlines() if line.startswith("log_level"))  # that of prx; a tunnel has one, too
    assert json.dumps(level) in line
    assert source in line


def test_a_unit_holds_what_its_systemd_knows() -> None:
    """Only a systemd that knows it gets RestartMode=debug; the template, which is for all, does not."""
    for version, expected in ((0, 0), (252, 0), (256, 0), (257, 1), (300, 1)):
        text = render(Unit(Scope.SYSTEM, ("/bin/true",), Path("/etc/prx/config.toml"), systemd=version))
        assert text.count("RestartMode=debug\n") == expected, version
    assert "RestartMode" not in render_template()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_the_drop_in(tmp_path: Path) -> None:
    """A systemd that knows its lines accepts the drop-in beside the template; an older one objects to these lines alone."""
    unit = tmp_path / "prx@agent.service"
    unit.write_text(render_template().replace("/opt/prx/bin/prx", "/bin/true"))
    drop_in = tmp_path / f"{unit.name}.d"
    drop_in.mkdir()
    shutil.copy(DROP_IN, drop_in)
    found = complaints(unit)
    if systemd_version() >= DEBUG_SINCE:
        assert found == []
    else:
        assert found
        assert [line for line in found if not any(key in line for key in ("RestartMode", "notify-reload"))] == []
