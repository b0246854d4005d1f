"""Notice what concerns all tunnels at once: the machine slept, or its network came, went or changed."""

from __future__ import annotations

from collections.abc import Callable

from prx.runtime.clock import Clock
from prx.runtime.network import Network

EVERY = 2.0  # seconds
SLEPT_AT_LEAST = 2.0  # seconds by which the clock that counts sleep must run ahead of the one that does not
# A pause of this process (SIGSTOP, a frozen container) shows on both clocks alike: so long after the beat was due.
PAUSED_AT_LEAST = 10.0  # seconds


class Heartbeat:
    """Tells `woken` "sleep" or "network" when that has happened."""

    def __init__(self, clock: Clock, network: Network, woken: Callable[[str], None]) -> None:
        self._clock = clock
        self._woken = woken
        self._network = network
        self._network_seen = self._see_network()
        self._drift = clock.boottime() - clock.monotonic()
        self._beat_at = clock.monotonic()

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            await self._clock.sleep(EVERY)
            self.beat()

    def beat(self) -> None:
        """Compare with the last beat, and tell what has changed."""
        if self._slept():
            self._woken("sleep")
        network = self._see_network()
        if network != self._network_seen and network:
            self._woken("network")
        self._network_seen = network

    def _slept(self) -> bool:
        now, drift = self._clock.monotonic(), self._clock.boottime() - self._clock.monotonic()
        slept = drift - self._drift >= SLEPT_AT_LEAST or now - self._beat_at >= EVERY + PAUSED_AT_LEAST
        self._drift, self._beat_at = drift, now
        return slept

    def _see_network(self) -> str:
        """Return the fingerprint of the network, empty while there is none."""
        return self._network.fingerprint() if self._network.up() else ""
