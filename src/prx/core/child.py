"""The child of one connector, as the machine knows it: which run it is, whether it lives, and how it is ended.

A child that was asked to end before it lives is ended once it does. Its end has two stages, each with its own timer: a grace
after SIGTERM, and after SIGKILL the time until another one (timer reap), should the first not have helped.
"""

from __future__ import annotations

from prx.core import effects as do
from prx.core import events, inputs
from prx.core.evidence import ChildExit, ExitCause
from prx.core.outbox import Outbox
from prx.core.states import ChildState

REAP_LIMIT = 5.0  # seconds from SIGKILL to the next SIGKILL, should the first not have helped


class Child:
    """The child of the connector of the tunnel `name`; `run` numbers its starts, from 1 on."""

    def __init__(self, name: str, out: Outbox) -> None:
        self.run = 0
        self.state = ChildState.NONE
        self._name = name
        self._out = out
        self._kill_when_spawned = False

    @property
    def exists(self) -> bool:
        """Return whether there is a child, or one on its way."""
        return self.state is not ChildState.NONE

    # ------------------------------------------------------------------ its life

    def renew(self) -> None:
        """Take in that another child is on its way: a new run."""
        self.run += 1
        self.state = ChildState.SPAWNING
        self._kill_when_spawned = False

    def spawn(self, protocol: str) -> None:
        """Have the child of this run started, speaking `protocol` to the edge."""
        self._out.add(do.Spawn(self.run, protocol))

    def take_for_alive(self) -> None:
        """Take in that others keep the URL up: there is no child to start."""
        self.state = ChildState.ALIVE

    def on_spawned(self, spawned: inputs.Spawned, protocol: str) -> None:
        """Take in that the child lives."""
        self.state = ChildState.ALIVE
        self._out.publish(
            events.ChildStarted(tunnel=self._name, pid=spawned.pid, version=spawned.version, connector=0, protocol=protocol)
        )

    def on_exited(self, exited: inputs.Exited, *, stopping: bool) -> None:
        """Take in that the child has ended; `stopping` if it had been asked to."""
        self.state = ChildState.NONE
        end = exited.exit
        self._out.publish(
            events.ChildExited(
                tunnel=self._name,
                pid=exited.pid,
                code=end.code,
                signal=end.signal,
                result=_result(end, stopped=stopping, killed="reap" in self._out.timers),
                cause=str(ExitCause.STOPPED if stopping else end.cause),
                detail="" if stopping else end.detail,
            )
        )

    def forget(self) -> None:
        """Take in that there is none: it could not be started, or was never one."""
        self.state = ChildState.NONE

    # ------------------------------------------------------------------ its end

    def terminate(self) -> None:
        """Ask the child to end; one that does not live yet is asked by `end_as_asked`."""
        if self.state is ChildState.ALIVE:
            self._out.add(do.Terminate(self.run))

    def end_as_asked(self) -> None:
        """Have a child that now lives ended as was asked before it did."""
        if self._kill_when_spawned:
            self.on_overdue()
        else:
            self._out.add(do.Terminate(self.run))

    def kill(self) -> None:
        """End the child now, or as soon as it lives; until then its grace runs on."""
        if self.state is ChildState.ALIVE:
            self.on_overdue()
        else:
            self._kill_when_spawned = True

    def on_overdue(self) -> None:
        """Take in that the child has not ended in time: kill it, and once more if it is still there after a while."""
        self._out.drop_timer("grace")
        self._out.set_timer("reap", REAP_LIMIT)
        if self.state is ChildState.ALIVE:
            self._out.add(do.Kill(self.run))
        else:
            self._kill_when_spawned = True


def _result(end: ChildExit, *, stopped: bool, killed: bool) -> str:
    """Return why a child ended in one word: clean, timeout, signal, permanent or crash."""
    if stopped:
        return "timeout" if killed else "clean"
    if end.cause in {ExitCause.AUTH, ExitCause.CONFIG}:
        return "permanent"
    if end.cause is ExitCause.UPDATED:
        return "clean"
    return "crash" if end.signal is None else "signal"
