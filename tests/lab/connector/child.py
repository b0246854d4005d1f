"""A connector as a child process, and its token."""

import base64
import json
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import UUID

import httpx2
from tests.support.child import Child, running
from tests.support.child import run as run_child
from tests.support.visitor import get

BUILTIN = (sys.executable, "-m", "prx.lab.connector")
TUNNEL_ID = UUID("11111111-2222-4333-8444-555555555555")


def token(**changes: str) -> str:
    """A token that can be read."""
    parts = {"a": "account", "t": str(TUNNEL_ID), "s": base64.b64encode(b"secret" * 5).decode(), **changes}
    return base64.b64encode(json.dumps(parts).encode()).decode()


def environment(home: Path, **more: str) -> dict[str, str]:
    """What a connector needs and nothing that would steer it."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **more}


def started(
    arguments: Sequence[str], home: Path, *, command: Sequence[str] = BUILTIN, **env: str
) -> AbstractAsyncContextManager[Child]:
    """Run a connector until the block ends; kill it if it is still there then."""
    return running([*command, *arguments], Child, env=environment(home, **env))


async def ask(child: Child, path: str) -> httpx2.Response:
    """Ask the metrics server that the connector's log names."""
    line = await child.line("INF Starting metrics server on ")
    return await get(f"http://{line.partition('metrics server on ')[2].partition('/metrics')[0]}{path}")


async def run(arguments: Sequence[str], home: Path, *, command: Sequence[str] = BUILTIN, **env: str) -> tuple[int, str, str]:
    """Run a connector to its end; return exit code, stdout, stderr."""
    done = await run_child([*command, *arguments], env=environment(home, **env))
    return done.code, done.out, done.err


__all__ = ["BUILTIN", "TUNNEL_ID", "Child", "ask", "environment", "run", "started", "token"]
