"""`prx mcp`, asked by the official client over stdio."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.cli.home import PRX, Home

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
