"""`prx mcp`: what an agent may ask of prx, over the Model Context Protocol on stdin and stdout; with the extra `mcp`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import click

from prx import __version__
from prx.core.errors import PermanentError, UsageError, shortage, unloaded
from prx.core.shortage import lack_for_module

_INSTRUCTIONS = (
    "prx keeps tunnels to local services up. Ask `status` first, `why` for the story of a verdict, `report` for the past."
)


@click.command()
@click.option("--allow-actions", is_flag=True, help="Offer restart, stop and reload, too; without it an agent can only ask.")
def mcp(*, allow_actions: bool) -> None:
    """Answer an agent over the Model Context Protocol.

    It speaks on stdin and stdout, and needs the extra `mcp`. Everything it says is redacted as everywhere in prx.
    """
    try:
        from mcp.server import MCPServer
    except ImportError as error:
        if (lack := lack_for_module(error)) is not None:
            raise shortage(lack) from error
        is_itself = (error.name or "").partition(".")[0] == "mcp"
        words = "is not installed (version 2 is needed)" if is_itself else f"cannot be used: {unloaded(error)}"
        raise PermanentError(f"the MCP library {words}", hint="pip install 'prx-tunnel[mcp]'") from error
    server = MCPServer("prx", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING")
    for tool in (status, why, report, logs, doctor, *((restart, stop, reload) if allow_actions else ())):
        server.tool()(_explained(tool))
    _serve(server)


def _serve(server: Any) -> None:
    """Answer until stdin ends; raise OSError if stdout takes no more, such as BrokenPipeError of an agent that has gone."""
    from prx.cli.ending import require_room

    require_room()
    _answer_every_line()
    lost: OSError | None = None
    try:
        server.run("stdio")
    except* OSError as group:  # of the library's tasks
        lost = next(_leaves(group))
    if lost is not None:
        raise lost


def _answer_every_line() -> None:
    from mcp.types import jsonrpc_message_adapter

    from prx.cli.mcp_wire import take_streams

    take_streams(lambda text: jsonrpc_message_adapter.validate_json(text, by_name=False))


def _leaves(group: BaseExceptionGroup[OSError]) -> Iterator[OSError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _explained(tool: Any) -> Any:
    """Return `tool` with what goes wrong as its answer: what to do next stands in prx's own errors."""
    import asyncio
    import functools

    from prx.ui.errors import explain

    @functools.wraps(tool)
    async def answer(*arguments: Any, **named: Any) -> str:
        try:
            return str(await asyncio.to_thread(tool, *arguments, **named))
        except Exception as error:  # noqa: BLE001 - the library would write it to stderr with every secret that is in it
            found = explain(error)
            return json.dumps({"error": found.message, "hint": found.hint})

    return answer


def status() -> str:
    """Return every tunnel that runs: state, verdict, reason, hint, URL, connections, restarts."""
    from prx.cli.find_running import all_running

    with all_running(None, strict=True) as found:
        return json.dumps({"tunnels": [item for running in found for item in running.client.ask("status")["tunnels"]]})


def why(tunnel: str | None = None) -> str:
    """Return the story of a verdict: what was seen and when, who decided, what is done next, what can be done."""
    from prx.cli.why import ask

    return json.dumps({"tunnels": ask(tunnel, None)})


def report(tunnel: str | None = None, hours: float = 24.0) -> str:
    """Return how well the tunnels were reachable in the last `hours`: time lost by cause, restarts, URL changes, latency."""
    from prx.cli.report import made

    if math.isnan(hours):
        raise UsageError(f"hours: found {hours}, expected a number of hours")
    return json.dumps(made(tunnel, min(max(hours, 0.1), 24.0 * 3660) * 3600).to_json())


def logs(tunnel: str | None = None, lines: int = 50, level: str = "info") -> str:
    """Return the last log lines of prx and its connectors; `level`: debug, info, warn or error."""
    from prx.cli.logs import last_lines

    if level not in {"debug", "info", "warn", "error"}:
        raise UsageError(f"there is no level {level!r}", hint="debug, info, warn or error")
    return "\n".join(last_lines(tunnel, min(max(lines, 1), 1000), level))


def doctor() -> str:
    """Examine machine, network and set-up; takes up to 15 seconds and changes nothing."""
    from prx.cli.doctor import examined
    from prx.cli.ending import run

    return run(examined())


def restart(tunnel: str) -> str:
    """Restart one tunnel. A quick tunnel gets a new URL by that."""
    return _act("restart", tunnel)


def stop(tunnel: str) -> str:
    """Stop one tunnel."""
    return _act("stop", tunnel)


def reload(tunnel: str) -> str:
    """Have the prx that runs this tunnel read its configuration again."""
    return _act("reload", tunnel)


def _act(what: str, tunnel: str) -> str:
    from prx.cli.find_running import select

    with select(None, tunnel) as target:
        named = {} if what == "reload" else {"tunnel": target.tunnel}
        target.running.client.ask(what, wait=200.0, **named)
    return json.dumps({"done": what, "tunnel": tunnel})
