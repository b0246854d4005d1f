"""`prx mcp`, asked by the official client over stdio."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from tests.cli.home import PRX, Home

from prx import __version__

ASKING = ["doctor", "logs", "report", "status", "why"]
ACTING = ["reload", "restart", "stop"]


@pytest.mark.parametrize(("flags", "offered"), [([], ASKING), (["--allow-actions"], sorted(ASKING + ACTING))])
async def test_an_agent_asks(home: Home, flags: list[str], offered: list[str]) -> None:
    """Actions are offered only if they are allowed; status and why tell of a real tunnel, and an error comes with its hint."""
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    url = home.start("--hello", "--lab").url()
    command = StdioServerParameters(command=PRX[0], args=[*PRX[1:], "mcp", *flags], env=home.environ, cwd=str(home.folder))
    async with stdio_client(command) as (read, write), ClientSession(read, write) as connected:
        session: Any = connected
        await session.initialize()
        assert sorted(tool.name for tool in (await session.list_tools()).tools) == offered
        status = json.loads((await session.call_tool("status", {})).content[0].text)
        assert status["tunnels"][0]["url"] == url
        why = json.loads((await session.call_tool("why", {"tunnel": "hello"})).content[0].text)
        assert why["tunnels"][0]["verdict"] == "healthy"
        wrong = json.loads((await session.call_tool("why", {"tunnel": "wbe"})).content[0].text)
        assert "no tunnel is called 'wbe'" in wrong["error"]
        assert "verified" in (await session.call_tool("logs", {})).content[0].text
        assert json.loads((await session.call_tool("report", {"hours": 1})).content[0].text)["tunnels"]
        refused = await session.call_tool("stop", {"tunnel": "nothing"})
        assert refused.is_error if not flags else "error" in refused.content[0].text


HELLO = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "an agent", "version": "1"}},
}  # fmt: skip
BEGUN = {"jsonrpc": "2.0", "method": "notifications/initialized"}


class Agent:
    """An agent that writes lines of its own to a `prx mcp`, well-formed or not."""

    def __init__(self, home: Home) -> None:
        self.process = home.popen("mcp", stdin=subprocess.PIPE)
        self.number = 1
        self.write(json.dumps(HELLO), json.dumps(BEGUN))
        self.about = self.read()["result"]["serverInfo"]

    def write(self, *lines: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def call(self, tool: str, arguments: str) -> dict[str, Any]:
        """Call a tool with arguments as they stand in JSON; return its answer."""
        self.number += 1
        call = (
            f'{{"jsonrpc":"2.0","id":{self.number},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}}}}}'
        )
        self.write(call)
        text = self.read()["result"]["content"][0]["text"]
        return dict(json.loads(text)) if text.startswith("{") else {"text": text}

    def end(self) -> tuple[int, str]:
        """Close its stdin; return the exit code and what it wrote to stderr."""
        _, talk = self.process.communicate(timeout=30)
        return self.process.returncode, talk


def test_nothing_an_agent_writes_ends_it(home: Home) -> None:
    """What is no request is passed over, arguments that cannot be are answered in words, and stderr has no traceback."""
    (home.folder / "data").mkdir()
    started = home.start("--hello", "--lab")
    started.url()
    agent = Agent(home)
    assert agent.about["version"] == __version__
    agent.write("no json", "[]", "{", "[" * 100_000, "x" * 3_000_000, "null", "\ud7ff", json.dumps(BEGUN))
    assert agent.call("status", "{}")["tunnels"]
    for hours in ("NaN", '"nan"'):
        assert "expected a number" in agent.call("report", f'{{"hours": {hours}}}')["error"]
    assert "since" in agent.call("report", '{"hours": 1e999}')
    for name in ("nope", "../../etc", "\\u0000"):
        assert "no tunnel is called" in agent.call("logs", f'{{"tunnel": "{name}"}}')["error"]
    assert "no level" in agent.call("logs", '{"level": "loud"}')["error"]
    started.send(signal.SIGSTOP)
    assert "no answer in time" in agent.call("status", "{}")["error"]
    started.send(signal.SIGCONT)
    code, talk = agent.end()
    assert (code, talk) == (0, "")


@pytest.mark.parametrize("tool", ["logs", "report"])
def test_a_data_folder_that_cannot_be_read(home: Home, tool: str) -> None:
    """An OSError is an answer with the place and the reason, not a traceback."""
    (home.folder / "data").write_text("no folder")
    agent = Agent(home)
    assert str(home.folder / "data") in agent.call(tool, "{}")["error"]
    assert agent.end() == (0, "")


@pytest.mark.parametrize(
    ("stdout", "code", "said"), [("/dev/full", 1, "no space left on device"), ("a closed pipe", 1, ""), ("closed", 0, "")]
)
def test_an_agent_that_takes_no_answer(home: Home, stdout: str, code: int, said: str) -> None:
    """A full disk behind stdout is reported in a line, an agent that has gone ends it without a word; none has a traceback."""
    reading, writing = os.pipe()
    os.close(reading)
    into: Any = writing if stdout == "a closed pipe" else open("/dev/full", "wb")  # noqa: SIM115, PTH123 - closed below
    command = [*PRX, "mcp"] if stdout != "closed" else ["sh", "-c", 'exec "$@" >&-', "sh", *PRX, "mcp"]
    ended = subprocess.run(
        command, input=f"{json.dumps(HELLO)}\n", env=home.environ, cwd=home.folder, stdout=into, stderr=subprocess.PIPE,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    os.close(writing)
    if into is not writing:
        into.close()
    assert ended.returncode == code
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2
