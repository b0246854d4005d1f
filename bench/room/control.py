"""Ask a running prx over its control socket: what `prx status --json` prints, without a process for each question.

The language (docstring of `prx.control.messages`): a line of JSON with `do` each way.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

TIMEOUT = 2.0  # seconds


async def ask(folder: Path, do: str) -> dict[str, Any] | None:
    """Ask the prx whose runtime folder this is; None if none answers in time."""
    try:
        path = next(iter(sorted(folder.glob("*.sock"))), None)
        if path is None:
            return None
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=4 * 1024 * 1024)
            try:
                writer.write(json.dumps({"do": do}).encode() + b"\n")
                answer: dict[str, Any] = json.loads(await reader.readline())
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return None
    return answer if answer.get("ok") else None


async def status(folder: Path) -> dict[str, Any] | None:
    """Return what prx says of its only tunnel; None if it says nothing."""
    answer = await ask(folder, "status")
    tunnels = (answer or {}).get("tunnels") or []
    return tunnels[0] if tunnels else None
