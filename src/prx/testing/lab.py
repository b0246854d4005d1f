"""The lab as tests use it: in a thread of its own, every method a plain call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from prx.lab import AccessFront, Lab, LabConfig, Protected, PushResult, TunnelState
from prx.lab.events import LabEvent
from prx.lab.faults import Fault
from prx.testing.hosted import Hosted, hosted, refuse_on_loop

_Event = TypeVar("_Event", bound=LabEvent)
_Result = TypeVar("_Result")


class LabInThread:
    """A running lab; `prx.lab.edge` says what each of these does. Safe to use from any thread and from asynchronous tests.

    `events`: everything that has happened in it so far. `lab`: the `Lab` itself, to be touched only through `call`.
    """

    def __init__(self, host: Hosted[Lab], events: list[LabEvent]) -> None:
        self._host = host
        self.lab = host.value
        self.events = events

    @property
    def public(self) -> str:
        """The address for visitors: `http://127.0.0.1:PORT`; the Host header names the tunnel."""
        return self.lab.public

    def url(self, hostname: str) -> str:
        """Return the public URL of a name."""
        return self.lab.url(hostname)

    def call(self, function: Callable[[Lab], _Result]) -> _Result:
        """Call `function(lab)` in the lab's own thread."""
        return self._host.call(function)

    def token(self, hostname: str) -> str:
        """Return the token of the named tunnel of `hostname`, creating it if it does not exist."""
        return self._host.call(lambda lab: lab.token(hostname))

    def tunnels(self) -> tuple[TunnelState, ...]:
        """Return all tunnels, oldest first."""
        return self._host.call(lambda lab: lab.tunnels())

    def push(self, hostname: str, config: Mapping[str, Any]) -> tuple[PushResult, ...]:
        """Push a remote configuration to a tunnel; return one result for each live connection."""
        return self._host.run(self.lab.push(hostname, config))

    def protect(self, hostname: str, front: AccessFront | None = None) -> Protected:
        """Put an Access front before a name."""
        return self._host.call(lambda lab: lab.protect(hostname, front))

    def unprotect(self, hostname: str) -> None:
        """Take the Access front away."""
        self._host.call(lambda lab: lab.unprotect(hostname))

    def login(self, hostname: str, email: str) -> str:
        """Return the value of the cookie `CF_Authorization` of a person who has logged in at a protected name."""
        return self._host.call(lambda lab: lab.login(hostname, email))

    def inject(self, fault: Fault) -> None:
        """Set a fault; see `prx.lab.faults`."""
        self._host.call(lambda lab: lab.inject(fault))

    def clear(self, kind: type[Fault] | None = None) -> None:
        """Clear the fault of a class; None: all of them."""
        self._host.call(lambda lab: lab.clear(kind))

    def play(self, script: str) -> None:
        """Play a script of faults to its end; see docs/reference/lab.md."""
        refuse_on_loop("lab.play")
        self._host.run(self.lab.play(script))

    def wait_for(self, condition: Callable[[Lab], bool], *, within: float = 30) -> None:
        """Wait until `condition(lab)` holds; it is checked, in the lab's thread, now and after every event.

        TimeoutError after `within` seconds.
        """
        refuse_on_loop("lab.wait_for")
        try:
            self._host.run(self.lab.wait_for(condition), within=within)
        except TimeoutError:
            last = "\n".join(map(str, self.events[-10:])) or "nothing"
            raise TimeoutError(f"not within {within:g} s; the lab's last events:\n{last}") from None

    def wait_for_event(self, kind: type[_Event], *, since: int = 0, within: float = 30) -> _Event:
        """Wait for an event of a class (see `prx.lab.events`), not counting the first `since` of all events; return it."""
        found: list[_Event] = []

        def there(_: Lab) -> bool:
            found.extend(event for event in self.events[since:] if isinstance(event, kind))
            return bool(found)

        self.wait_for(there, within=within)
        return found[0]


@contextmanager
def lab_in_thread(config: LabConfig | None = None) -> Iterator[LabInThread]:
    """Run a lab in a thread for the length of a `with`."""
    config = config or LabConfig()
    events: list[LabEvent] = []
    listener = config.on_event

    def note(event: LabEvent) -> None:
        events.append(event)
        if listener is not None:
            listener(event)

    with hosted(lambda: Lab.start(replace(config, on_event=note)), "prx lab") as host:
        yield LabInThread(host, events)
