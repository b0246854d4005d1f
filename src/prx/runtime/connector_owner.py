"""What a connector asks of the tunnel that it is one of, and tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from prx.core.events import Fact
from prx.core.evidence import Evidence
from prx.runtime.errands import Errands

if TYPE_CHECKING:
    from prx.runtime.connector import Connector


class Owner(Protocol):
    """The tunnel, as one of its connectors knows it. errands: does what is not to end a connector if it fails."""

    errands: Errands

    def take_fact(self, connector: Connector, fact: Fact) -> None:
        """Take in what a connector has to say."""

    def take_input(self, connector: Connector) -> None:
        """Take in that something may have changed about a connector."""

    def is_covered(self, connector: Connector) -> bool:
        """Return whether visitors are served by another connector as well."""

    def is_edge_unaware(self, connector: Connector, evidence: Evidence) -> bool:
        """Return whether the edge may have given prx's request to a connector that had ended."""
