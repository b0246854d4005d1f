"""Notice what concerns all tunnels at once: the machine slept, its network came, went or changed, its nameservers are others.

The same beat does what has to be done now and then for all of them (`chores`): writing again what a full disk refused, looking
whether a program was replaced. A chore that fails is tried again at the next beat, and never ends the beat.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from prx.runtime.host.clock import Clock, on_each_beat
from prx.runtime.host.nameservers import Nameservers
from prx.runtime.host.network import Network

EVERY = 2.0  # seconds
SLEPT_AT_LEAST = 2.0  # seconds by which the clock that counts sleep must run ahead of the one that does not
# A pause of this process (SIGSTOP, a frozen container) shows on both clocks alike: so long after the beat was due.
PAUSED_AT_LEAST = 10.0  # seconds

logger = logging.getLogger(__name__)


class ChangeMonitor:
    """Calls `woken` with "sleep", "network" (it is back, or another one), "no network" or "nameservers" (there are others).

    It does the `chores` at each beat.
    """

    def __init__(
        self,
        clock: Clock,
        network: Network,
        woken: Callable[[str], None],
        chores: Sequence[Callable[[], object]] = (),
        nameservers: Nameservers | None = None,
    ) -> None:
        self._clock = clock
        self._woken = woken
        self._network = network
        self._chores = chores
        self._nameservers = nameservers or Nameservers()
        self._network_seen = self._see_network()
        self._drift = clock.boottime() - clock.monotonic()
        self._beat_at = clock.monotonic()

    async def run(self) -> None:
        """Beat forever."""
        await on_each_beat(self._clock, EVERY, self.beat)

    def beat(self) -> None:
        """Compare with the last beat, report what has changed, and do the chores."""
        if self._slept():
            self._woken("sleep")
        network = self._see_network()
        if network is not None:
            if network != self._network_seen and self._network_seen is not None:
                self._woken("network" if network else "no network")
            self._network_seen = network
        if self._nameservers.have_changed() and self._network_seen != "":
            self._woken("nameservers")
        for chore in self._chores:
            try:
                chore()
            except Exception as error:  # noqa: BLE001 - all tunnels depend on this beat; the next one tries again
                logger.debug("a chore failed: %r", error)

    def _slept(self) -> bool:
        now = self._clock.monotonic()
        drift = self._clock.boottime() - now
        slept = drift - self._drift >= SLEPT_AT_LEAST or now - self._beat_at >= EVERY + PAUSED_AT_LEAST
        self._drift, self._beat_at = drift, now
        return slept

    def _see_network(self) -> str | None:
        """Return the fingerprint of the network, empty while there is none, None if it is unknown."""
        up = self._network.up()
        if not up:
            return None if up is None else ""
        return self._network.fingerprint() or None
