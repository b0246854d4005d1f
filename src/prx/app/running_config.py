"""The configuration that the tunnels of one prx run by, and how another one takes its place while they run.

It is the one in force (`prx.app.config_in_force`: what is written) with what the lab works with in the place of connectors and
tokens, and with the addresses that tunnels were given since.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from prx.app.config_in_force import ConfigInForce
from prx.app.inspection import Inspection
from prx.app.joined_lab import JoinedLab
from prx.app.lab_mode import choose_for_lab, renewed_tokens
from prx.app.stop_request import StopRequest
from prx.config.changes import counted_at_the_start
from prx.config.differences import differences
from prx.config.load import Loaded
from prx.config.schema import Config
from prx.core.errors import PrxError
from prx.runtime.host.clock import Clock

if TYPE_CHECKING:
    from prx.app.dashboard import DashboardChild
    from prx.lab import Lab
    from prx.runtime.supervisor import Supervisor


class RunningConfig:
    """What goes by the configuration: lab, supervisor and dashboard, each None as long as it is not there.

    `log(level, message)` publishes a line.
    """

    def __init__(
        self,
        in_force: ConfigInForce,
        inspection: Inspection,
        stop_request: StopRequest,
        clock: Clock,
        log: Callable[[str, str], None],
    ) -> None:
        self.lab: Lab | JoinedLab | None = None
        self.supervisor: Supervisor | None = None
        self.dashboard: DashboardChild | None = None
        self._in_force, self._inspection, self._stop_request = in_force, inspection, stop_request
        self._clock, self._log = clock, log

    def require_supervisor(self) -> Supervisor:
        """Return the supervisor of the tunnels; PrxError if it is not there yet, or about to go."""
        if self.supervisor is None or self._stop_request.made:
            raise PrxError("prx is just starting or stopping", hint="try again in a moment")
        return self.supervisor

    def current(self, loaded: Loaded | None = None) -> Config:
        """Return what tunnels run by if `loaded` is in force (None: what is), with the lab's connector and tokens."""
        config = (loaded or self._in_force.loaded).config
        if self.lab is not None:
            config = choose_for_lab(config, self.lab.token)
        return self._inspection.moved(config)

    def retarget(self, name: str | None, addr: str) -> None:
        """Serve a tunnel from another address, under the same URL; PrxError, and all is as it was, if that cannot be."""
        supervisor = self.require_supervisor()
        with self._inspection.retargeted(self._in_force.config, name, addr):
            self._inspection.fit(self.current())
            supervisor.reload(self.current(), asked=False)  # of the tunnels that wait, none has asked for it

    # ------------------------------------------------------------------ another one (`prx.app.reload.Source`)

    def has_changed(self) -> bool:
        """Return whether something that it comes from has changed since this was asked last; a joined lab answers later."""
        if self._in_force.has_changed():
            return True
        return isinstance(self.lab, JoinedLab) and self.lab.check(self._clock, self._log)

    def read(self) -> Loaded:
        """Return the configuration as it is written now, with the tokens of a joined lab as they are now. Blocks."""
        loaded = self._in_force.read()
        if isinstance(self.lab, JoinedLab):
            self.lab.renew()
            choose_for_lab(loaded.config, self.lab.token)
        return loaded

    def take(self, loaded: Loaded, *, asked: bool) -> list[str]:
        """Put a configuration in force while tunnels run; return what that changes, in words."""
        supervisor, before = self.require_supervisor(), self._in_force.loaded
        costly = supervisor.costly(self.current(loaded))
        if costly and not asked:
            loaded = _with_former(loaded, before, costly)
            self._log("warn", f"settings of {', '.join(costly)} have changed: prx reload takes them, and the URL is lost")
        changes = differences(before.config, loaded.config)
        self._inspection.fit(self.current(loaded))  # raises if that cannot be, before anything has changed
        changes += [*renewed_tokens(self.lab, loaded.config), *supervisor.outdated_inputs()]
        lost = _lost_urls(costly if asked else [], loaded)
        changes += lost
        self._in_force.take(loaded)
        for text in lost:  # a signal has no other answer
            self._log("warn", text)
        supervisor.reload(self.current(), asked=asked)
        for text in counted_at_the_start(before, loaded):
            self._log("warn", text)
        if self.dashboard is not None:
            self.dashboard.check_settings()
        return changes


def _with_former(loaded: Loaded, before: Loaded, names: Iterable[str]) -> Loaded:
    """Return `loaded` with the settings that tunnels of these names had `before`."""
    former = {name: before.config.tunnels[name] for name in names}
    return replace(loaded, config=replace(loaded.config, tunnels={**loaded.config.tunnels, **former}))


def _lost_urls(costly: Iterable[str], loaded: Loaded) -> list[str]:
    """Return a line for each tunnel that loses its URL by `loaded`."""
    renewed, ends = "it takes a new connector, and with it comes another URL", "it ends, and its URL with it"
    return [f"{name}: {renewed if name in loaded.config.tunnels else ends}" for name in costly]
