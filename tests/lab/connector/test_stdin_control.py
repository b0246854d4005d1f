"""Commands from stdin."""

import asyncio
import os

import pytest
from tests.lab.connector.stage import Stage

from prx.lab.connector.log import Log
from prx.lab.connector.stdin_control import StdinControl


def control(lines: list[str], delays: list[float], descriptor: int = 0) -> StdinControl:
    """A control whose log and restarts are collected."""
    return StdinControl(Log(sink=lines.append), delays.append, descriptor=descriptor)


@pytest.mark.parametrize(
    ("line", "delays", "words"),
    [
        ("reconnect", [0.0], "Sending {Delay:0s}"),
        ("reconnect 15s", [15.0], "Sending {Delay:15s}"),
        ("reconnect 1m30s", [90.0], "Sending {Delay:1m30s}"),
        ("reconnect soon", [], 'invalid duration "soon"'),
        ("help", [], "Supported command:"),
        ("restart", [], "Unknown command"),
        ("", [], ""),
    ],
)
def test_commands(line: str, delays: list[float], words: str) -> None:
    """A command is obeyed or answered; nothing that is typed ends the connector."""
    lines: list[str] = []
    found: list[float] = []
    control(lines, found).obey(line)
    assert found == delays
    assert words in "".join(lines)


async def test_what_is_read() -> None:
    """Lines are taken as they come, in pieces, with either end of line; an end of input ends nothing else."""
    reading, writing = os.pipe()
    lines: list[str] = []
    found: list[float] = []
    control(lines, found, reading).start()
    for piece in (b"recon", b"nect 2s\nhe", b"lp\r\n\xff\n", b"reconnect"):
        os.write(writing, piece)
    os.write(writing, b" 1s\n")
    async with asyncio.timeout(10):
        while found != [2.0, 1.0]:
            await asyncio.get_running_loop().run_in_executor(None, os.sched_yield)
    os.close(writing)
    os.close(reading)
    assert any("Supported command:" in line for line in lines)


async def test_a_connection_is_made_anew() -> None:
    """One connection that is up is ended and made again after the delay, and counts as no failure."""
    stage = Stage([], connections=2)
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(lambda: len(stage.state.connections) == 2)
        assert stage.supervisor is not None
        stage.supervisor.reconnect(7.0)
        await stage.until(lambda: len(stage.attempts) == 3 and len(stage.state.connections) == 2)
        stage.stopping.set()
    assert 7.0 in stage.slept
    assert sum("Restarting connection due to reconnect signal in 7s" in line for line in stage.lines) == 1
    assert not any("Connection terminated" in line and "error=" in line for line in stage.lines)


async def test_nothing_to_make_anew() -> None:
    """Without a connection that is up the command does nothing."""
    stage = Stage([])
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(lambda: len(stage.state.connections) == 1)
        stage.stopping.set()
    assert stage.supervisor is not None
    stage.supervisor.reconnect(0.0)
    assert len(stage.attempts) == 1
