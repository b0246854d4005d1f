"""What a living connector was started with, beside its settings, and is another one by now: its program, `origin_ca`.

Each is taken in by the heartbeat (`Tunnel.check_running_program`, `Tunnel.check_origin_ca`); a reload that changes nothing else
reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext


def outdated_inputs(context: TunnelContext, connectors: Iterable[Connector]) -> list[str]:
    """Return a line for each such input of one tunnel, and what takes the new one in."""
    takes = "a new connector takes it" if context.backend.can_overlap else f"prx restart {context.name} takes it"
    found = dict.fromkeys(what for connector in connectors for what in _of_one(connector))
    return [f"{context.name}: {what}: {takes}" for what in found]


def _of_one(connector: Connector) -> Iterator[str]:
    settings = connector.context.settings
    if not connector.has_child:
        return
    if connector.program.differs(connector.context):
        yield "the connector's program (it was replaced)"
    if not settings.is_relayed and connector.trust.differs(settings):  # a relay reads the file again by itself
        yield "origin_ca (the file holds other certificates)"
