"""What passes through the tunnels of one prx: the relays of those that want one, and the address that each one serves.

Nothing of `prx.traffic` is imported as long as no tunnel wants a relay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from prx.config.local_addr import LocalAddr
from prx.config.schema import Config, TunnelSettings
from prx.control.messages import Message
from prx.core.errors import UsageError
from prx.logs.redact import Redactor
from prx.runtime.host.clock import Clock

if TYPE_CHECKING:
    from prx.traffic.inspector import Inspector


class Inspection:
    """The relays of one prx, and the addresses that tunnels were given while it runs.

    folder: returns where caught requests are kept. own_mark: the word that prx's own checks carry.
    """

    def __init__(
        self, clock: Clock, redactor: Redactor, log: Callable[[str, str], None], *, folder: Callable[[], Path]
    ) -> None:
        self.own_mark = os.urandom(24).hex()
        self._clock, self._redactor, self._log, self._folder = clock, redactor, log, folder
        self._inspector: Inspector | None = None
        self._retargeted: dict[str, str] = {}
        self._said: set[str] = set()  # of which tunnels it was said that requests wait

    def moved(self, config: Config) -> Config:
        """Return `config` with the addresses that tunnels were given since."""
        moved = {
            name: replace(config.tunnels[name], local_addr=addr)
            for name, addr in self._retargeted.items()
            if name in config.tunnels
        }
        return replace(config, tunnels={**config.tunnels, **moved}) if moved else config

    def fit(self, config: Config) -> None:
        """Fit the relays to the configuration in force."""
        self._say_what_waits(config)
        if any(tunnel.is_relayed for tunnel in config.tunnels.values()):
            self._redactor.add(self.own_mark)  # it opens every gate of this prx, and hides from `prx requests`
        if self._inspector is None:
            if not any(tunnel.is_relayed for tunnel in config.tunnels.values()):
                return
            from prx.traffic.inspector import Inspector

            self._inspector = Inspector(self._clock, self._redactor, self._log, own=self.own_mark, folder=self._folder())
        self._inspector.take(config)

    def tidy(self, is_settled: Callable[[str], bool]) -> None:
        """End the relays that no connector has any more; see `prx.traffic.inspector.Inspector.tidy`."""
        if self._inspector is not None:
            self._inspector.tidy(is_settled)

    def _say_what_waits(self, config: Config) -> None:
        """Warn once of requests that were kept, if nothing hands them over."""
        folder = self._folder()
        for name, tunnel in config.tunnels.items():
            if tunnel.inspect.catch or name in self._said:
                continue
            self._said.add(name)
            if waiting := len(list((folder / name).glob("*.req"))):
                self._log("warn", f"{name}: {waiting} kept requests wait for `prx start --catch`, which hands them over")

    def child_settings(self, name: str, settings: TunnelSettings) -> TunnelSettings:
        """Return what the connector of a tunnel is to know: the address of its relay, if it has one."""
        return settings if self._inspector is None else self._inspector.child_settings(name, settings)

    async def answer(self, request: Message) -> Message:
        """Answer what is asked of inspected traffic; UsageError (`inspection_off`) if there is none."""
        if self._inspector is None:
            raise UsageError("what passes is not inspected", hint="start it with: prx start --inspect", code="inspection_off")
        return await self._inspector.answer(request)

    @contextmanager
    def retargeted(self, config: Config, name: str | None, addr: str) -> Iterator[None]:
        """Have a tunnel serve another address, under the same URL, unless the block fails; UsageError if that cannot be."""
        tunnels = config.tunnels
        if name is None and len(tunnels) > 1:
            raise UsageError(f"{len(tunnels)} tunnels run here", hint="name the one that is meant")
        name = name or next(iter(tunnels))
        if self._inspector is None or not tunnels[name].is_relayed:
            raise UsageError(
                f"the connector of {name!r} has the address of the service on its command line",
                hint="with --inspect it can be changed; without, `prx start` with the other address gets another URL",
            )
        try:
            moved = str(LocalAddr.parse(addr))
        except ValueError as error:
            raise UsageError(f"{addr!r} is not a local address: expected {error}") from error
        before, self._retargeted = self._retargeted, {**self._retargeted, name: moved}
        try:
            yield
        except BaseException:  # else every later reload would fail at this address
            self._retargeted = before
            raise

    async def close(self) -> None:
        """End the relays."""
        if self._inspector is not None:
            await self._inspector.close()
