"""One tunnel by its name: what is wanted of it outlives the supervision that serves it.

The supervision of a tunnel may fail: a defect, a machine that is short of something. Its children are ended then, and it begins
again after a pause. In that pause, and in the moment in which a stopped tunnel is taken down, no connector is there that could
take a request. So what is wanted is kept here: a stop ends the pause and stands, a restart or a reload ends it at once, and a
tunnel that is asked for while it is taken down comes up again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from prx.config.schema import TunnelSettings
from prx.core import inputs
from prx.core.events import ChildExited, Log, RestartScheduled, StateChanged
from prx.core.states import State
from prx.runtime.bulkhead import words_of
from prx.runtime.bus import Bus
from prx.runtime.host.clock import Clock
from prx.runtime.tunnel import Tunnel

PAUSE = 5.0  # seconds before the supervision of a tunnel that has failed begins again


class Keeper:
    """Keeps the tunnel `name`; `run` returns when it is down and not wanted, or no longer configured.

    begin: returns a new supervision by the configuration in force; None if that has no such tunnel. tunnel: the present
    supervision, or the one that has failed last. is_wanted: it has not been asked to stop.
    """

    def __init__(self, name: str, begin: Callable[[], Tunnel | None], clock: Clock, bus: Bus) -> None:
        self.name = name
        self._begin = begin
        self._clock = clock
        self._bus = bus
        tunnel = begin()
        assert tunnel is not None
        self.tunnel = tunnel
        self.is_wanted = True
        self._is_over = False  # the supervision has failed, or has ended
        self._paused = False
        self._asked = asyncio.Event()  # for something that ends a pause

    @property
    def state(self) -> State:
        """The observed state."""
        return State.BACKOFF if self._paused else self.tunnel.state

    @property
    def can_run(self) -> bool:
        """Return whether a connector may serve as things are, be it one that is leaving, for another tunnel's visitors."""
        leaving = any(item.state not in {State.FAILED, State.IDLE} for item in self.tunnel.leaving)
        return leaving or self.state is not State.FAILED

    @property
    def at_rest(self) -> bool:
        """Return whether nothing is being done just now: only time, or the world, can change something."""
        return self._paused or self.tunnel.at_rest

    def send(self, event: inputs.Input) -> None:
        """Hand an input to the tunnel; what the user wants is kept if there is none that could take it."""
        if isinstance(event, inputs.Start | inputs.Restart):
            self.is_wanted = True
        elif isinstance(event, inputs.Stop | inputs.Kill):
            self.is_wanted = False
        else:
            self.tunnel.send(event)
            return
        self._bus.track_changes(self.name, wanted=self.is_wanted)
        if self._takes_inputs:
            self.tunnel.send(event)
        else:
            self._asked.set()

    def reload(self, settings: TunnelSettings, *, asked: bool) -> None:
        """Take new settings, at once; see `Tunnel.reload`."""
        if self._takes_inputs:
            self.tunnel.reload(settings, asked=asked)
        else:
            self._asked.set()

    async def run(self) -> None:
        """Supervise until the tunnel is down and not wanted, or no longer configured."""
        while True:
            try:
                await self.tunnel.run()
            except Exception as error:  # noqa: BLE001 - a failure of one must not take the others down
                self._is_over = True
                await self._pause_after(error)
            self._is_over = True
            if not (self.is_wanted and await self._begins_again()):
                break
        if self._paused:
            self._paused = False
            self._publish_state(State.BACKOFF, State.IDLE, "stopped as asked")

    @property
    def _takes_inputs(self) -> bool:
        """Return whether the present supervision does; else it is over, or about to end."""
        return not self._is_over and self.tunnel.takes_inputs

    async def _begins_again(self) -> bool:
        """Begin a new supervision; return False if there is to be none."""
        while self.is_wanted:
            try:
                tunnel = self._begin()
            except Exception as error:  # noqa: BLE001 - see `run`
                await self._pause_after(error)
                continue
            if tunnel is None:
                return False
            self.tunnel, self._is_over, self._paused = tunnel, False, False
            self._asked.clear()
            return True
        return False

    async def _pause_after(self, error: Exception) -> None:
        """Report that the supervision has failed, end its children, and wait a while, or until something is asked for."""
        words = words_of(error)
        message = f"its supervision failed and is restarted in {PAUSE:.0f} s: {words}"
        self._bus.publish(Log(tunnel=self.name, level="error", message=message))
        await self.tunnel.abandon()
        if not self._paused:
            state, self._paused = self.tunnel.state, True
            self._publish_abandoned()
            self._publish_state(state, State.BACKOFF, f"its supervision failed: {words}")
        if not self.is_wanted:
            return
        self._bus.publish(RestartScheduled(tunnel=self.name, delay=PAUSE, attempt=1, reason="its supervision failed"))
        timer = self._clock.call_later(PAUSE, self._asked.set)
        try:
            await self._asked.wait()
        finally:
            timer.cancel()
            self._asked.clear()

    def _publish_abandoned(self) -> None:
        """Publish the end of the children, which no supervision was left to see."""
        shown = next((status for status in self._bus.statuses() if status.name == self.name), None)
        for child in () if shown is None else shown.connectors:
            self._bus.publish(
                ChildExited(
                    tunnel=self.name,
                    pid=child.pid,
                    code=None,
                    signal=9,
                    result="signal",
                    detail="ended by prx: its supervision failed",
                    connector=child.connector,
                )
            )

    def _publish_state(self, old: State, new: State, reason: str) -> None:
        if old is not new:
            self._bus.publish(StateChanged(tunnel=self.name, old=old, new=new, reason=reason))
