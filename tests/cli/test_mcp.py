"""`prx mcp`, asked by the official client over stdio."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

import pytest
from mcp.types import jsonrpc_message_adapter
from tests.cli.home import PRX, Home

from prx import __version__
from prx.cli.mcp_wire import LONGEST, refusal

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
    wrong = ["no json", "[]", "{", "[" * 100_000, "x" * 3_000_000, "null", "\ud7ff"]
    agent.write(*wrong, "", json.dumps(BEGUN))
    assert all(agent.read()["error"]["code"] in {-32700, -32600} for _ in wrong)
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
    ("stdout", "code", "said"), [("/dev/full", 1, "no space left on device"), ("a closed pipe", 141, ""), ("closed", 0, "")]
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


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (rb'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"why","arguments":{"tunnel":"\ud800"}}}', 7, -32700),
        (rb'{"jsonrpc":"2.0","id":"\udfff","method":"ping"}', None, -32700),
        (rb'{"jsonrpc":"2.0","id":7,"method":"\ud800"}', 7, -32700),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":"\xff"}}', "a", -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"\xed\xa0\x80"}}', 7, -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping\x00"}', None, -32700),
        (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}', None, -32700),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":' + b"[" * 500 + b"]" * 500 + b"}}", 7, -32700),
        (b"[" * 100_000, None, -32700),
        (b'{"a":' * 50_000, None, -32700),
        (b'{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":1,"x":2}}', None, -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', None, -32600),
        (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', None, -32600),
        (b'[{"jsonrpc":"2.0","id":7,"method":"ping"}]', None, -32600),
        (b'{"jsonrpc":"1.0","id":7,"method":"ping"}', 7, -32600),
        (b'{"jsonrpc":"2.0","id":7}', 7, -32600),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', 7, -32600),
        (b'{"jsonrpc":"2.0","id":7,"method":"ping","params":[1]}', 7, -32602),
    ],
)
def test_what_is_no_message_is_answered(line: bytes, number: object, code: int) -> None:
    """An agent never waits for the answer to what cannot be read: the error of JSON-RPC comes, with the id if there is one."""
    answer = json.loads(refusal(line, jsonrpc_message_adapter.validate_json) or b"null")
    assert (answer["id"], answer["error"]["code"]) == (number, code)


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"ping"}\r\n',
        b'{"jsonrpc":"2.0",\r"id":"\\u0000","method":"ping","params":{"x":"\\ud83d\\ude00"}}',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":7,"result":{}}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}',
        '{"jsonrpc":"2.0","id":7,"method":"ping","params":{"x":"a\u2028b\u0085c"}}'.encode(),
    ],
)
def test_what_is_a_message_is_none_of_its_business(line: bytes) -> None:
    """Requests, notifications and responses go to the library as they are."""
    assert refusal(line, jsonrpc_message_adapter.validate_json) is None


def test_lines_of_any_length_and_ending(home: Home) -> None:
    """A line that is too long is refused and not kept, line ends inside of JSON are white space, and the next one works."""
    agent = Agent(home)
    agent.write("x" * (LONGEST + 5), '{"jsonrpc":"2.0",\r"id":5,"method":"ping"}\r')
    assert "longer than 16 MiB" in agent.read()["error"]["message"]
    assert agent.read()["id"] == 5
    assert agent.end() == (0, "")
