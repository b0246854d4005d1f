"""Which start of a connector is a restart, and what it is put down to: the verdict under which it was scheduled, or `asked`.

A tunnel may have several connectors: the first start of each is no restart, and each has a cause of its own.
"""

from __future__ import annotations

from typing import Final

ASKED: Final = "asked"
"""The cause of a restart that the operator, or a changed configuration, asked for."""


class RestartCauses:
    """The starts of one tunnel's connectors, each known by its number in the tunnel."""

    def __init__(self) -> None:
        self._verdict = ""
        self._seen: set[int] = set()
        self._scheduled: dict[int, str] = {}

    def verdict(self, new: str) -> None:
        """Take in that the tunnel's verdict is `new`."""
        self._verdict = new

    def scheduled(self, connector: int, verdict: str = "") -> None:
        """Take in that a connector is to be started again, or replaced, under its own `verdict`; empty: under the tunnel's."""
        self._scheduled[connector] = verdict or self._verdict or ASKED

    def cancelled(self, connector: int) -> None:
        """Take in that it is kept."""
        self._scheduled.pop(connector, None)

    def started(self, connector: int, restart: object) -> str:
        """Take in a start; return its cause, empty if it is none of a connector that takes another's place.

        restart: whether it is, as the event says; None, of an older prx: if the connector was seen before.
        """
        again = connector in self._seen if restart is None else bool(restart)
        cause = self._scheduled.pop(connector, ASKED)
        self._seen.add(connector)
        return cause if again else ""
