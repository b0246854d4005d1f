"""What a living connector was started with, beside its settings, and is another one by now: its program, `origin_ca`, its port.

Each is taken in by the heartbeat (`Outdated.check`); a reload that changes nothing else reports the first two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prx.runtime.client_program import Programs
from prx.runtime.connector import Connector
from prx.runtime.context import TunnelContext
from prx.runtime.succession import PORT_IS_FREE, Owner, Succession


class Outdated:
    """Has the connectors of one tunnel replaced that are outdated, if that costs nothing."""

    def __init__(self, tunnel: Owner, succession: Succession) -> None:
        self._tunnel = tunnel
        self._succession = succession

    @property
    def has_settled(self) -> bool:
        """Return whether each connector has a place, and was started with what is in force."""
        places = self._tunnel.places
        return all(places.get(item.index) is item and not item.is_outdated for item in self._tunnel.connectors)

    def check(self, known: Programs) -> None:
        """Check each connector. `known`: what other tunnels have seen of their programs just now."""
        self._check_programs(known)
        self._check_origin_ca()
        self._check_ports()

    def _lasting(self) -> Iterable[Connector]:
        """Return one connector for each place: the one that has it, or a successor that is about to take it."""
        tunnel = self._tunnel
        newest = {item.index: item for item in tunnel.connectors if item.is_wanted and item not in tunnel.leaving}
        return [newest.get(number, former) for number, former in tunnel.places.items()]

    def _check_programs(self, known: Programs) -> None:
        """Take in that the program of a living child was replaced: take the new one if that costs nothing, else say it once."""
        tunnel, context = self._tunnel, self._tunnel.context
        paths = {connector: path for connector in self._lasting() if (path := connector.replaced_program(known))}
        if not (paths and tunnel.is_wanted):
            return
        path = next(iter(paths.values()))
        if context.backend.can_overlap:
            context.log("info", f"{path} was replaced: a new connector takes the place of each that runs the old one")
            self._succession.replace(paths, "the program was replaced")
            return
        message = f"{path} was replaced; the connector that runs is the old one: prx restart {context.name} takes the new one"
        costs = ", and changes the URL" if context.backend.url_is_temporary else ""
        context.log("info", message + costs)

    def _check_origin_ca(self) -> None:
        """Take in that `origin_ca` was rotated: a new connector reads it if that costs nothing, else it is said once."""
        tunnel, context = self._tunnel, self._tunnel.context
        found = {connector: rotated for connector in self._lasting() if (rotated := connector.rotated_trust())}
        if not (found and tunnel.is_wanted):
            return
        first = next(iter(found.values()))
        context.log(*first.words(context))
        if not first.trouble and context.backend.can_overlap:
            self._succession.replace(found, "origin_ca has changed")

    def _check_ports(self) -> None:
        """Take in that the fixed port is free, which a connector could not have when it was started beside another.

        One that is still coming up goes on doing that.
        """
        tunnel = self._tunnel
        serving = [connector for connector in self._lasting() if connector.ready > 0 and not connector.is_outdated]
        lacking = [connector for connector in serving if connector.lacks_port]
        found = [item for item in lacking if not item.context.shared.ports.is_held(item.context.client.metrics_port)]
        if found and tunnel.is_wanted and tunnel.context.backend.can_overlap:
            self._succession.replace(found, PORT_IS_FREE)


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
