"""Which protocol the connector speaks to the edge: the best one, or the last one after that did not get through."""

from __future__ import annotations

from typing import Final

from prx.core import effects as do
from prx.core.causes import Cause
from prx.core.outbox import Outbox
from prx.core.states import MachineSettings
from prx.core.verdicts import Diagnosis

PROTOCOL_NAMES: Final = {"quic": "QUIC", "http2": "HTTP/2"}
"""What people call the protocols towards the edge."""


class ProtocolChoice:
    """The protocol `current`, best first; the other one is taken only if the user left the choice to prx."""

    def __init__(self, settings: MachineSettings, out: Outbox) -> None:
        self._settings = settings
        self._out = out
        self.current = settings.protocols[0]
        self._switched = False  # because the other one did not get through

    def take(self, settings: MachineSettings) -> None:
        """Take new settings; what was chosen stays chosen, unless it is none of their protocols."""
        self._settings = settings
        if self.current not in settings.protocols:
            self.take_best()

    def take_best(self) -> None:
        """Go back to the best protocol, and forget why another one was chosen."""
        self.current = self._settings.protocols[0]
        self._switched = False

    @property
    def has_other(self) -> bool:
        """Return whether another protocol is left to try."""
        return self._settings.protocol_is_free and self.current != self._settings.protocols[-1]

    def take_other(self, diagnosis: Diagnosis) -> None:
        """Change to the other protocol because of `diagnosis`."""
        self.current = self._settings.protocols[-1]
        self._switched = diagnosis.cause is Cause.UDP_BLOCKED

    def remember(self, diagnosis: Diagnosis) -> None:
        """Ask once to remember the other protocol, after it has connected."""
        if diagnosis.connected and self._switched:
            self._switched = False
            self._out.add(do.RememberProtocol(self.current))
