"""What can happen to a tunnel, as it is reported to the machine.

`run` numbers the starts of the child: whatever is said of another run than the present one is late, and is ignored.
"""

from __future__ import annotations

from prx.core.evidence import ChildExit
from prx.core.value import Value, value_class
from prx.core.verdicts import Diagnosis


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Start(Value):
    """The user wants the tunnel up. `retry_in` seconds remain of a rate limit, met in attempt `attempt`, of an earlier prx."""

    retry_in: float = 0.0
    attempt: int = 0


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Stop(Value):
    """The user wants the tunnel down, gracefully."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Kill(Value):
    """The user wants the tunnel down now."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Restart(Value):
    """The user, or a changed configuration, wants a fresh child now.

    asked: by the user, who may take back a stop by it; else a stop that was asked for stands.
    """

    reason: str
    asked: bool = True


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Spawned(Value):
    """The child of this run lives."""

    run: int
    pid: int
    version: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class SpawnFailed(Value):
    """The child of this run could not be started; the diagnosis says whether another try can help."""

    run: int
    diagnosis: Diagnosis


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Exited(Value):
    """The child of this run has ended, been reaped, and been diagnosed."""

    run: int
    pid: int
    exit: ChildExit
    diagnosis: Diagnosis


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Checked(Value):
    """A round of checks is over: what it means, and the public URL that it checked (empty: none known).

    rest: seconds for which another check cannot find out more (`prx.core.cadence.rest_of`).
    """

    run: int
    diagnosis: Diagnosis
    url: str = ""
    rest: float = 0.0


@value_class(frozen=True, slots=True, eq=False, repr=False)
class NotChecked(Value):
    """A round of checks has found nothing out, as prx itself could not ask: what was known stays known."""

    run: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class CheckNow(Value):
    """Something about the child changed just now (a connection came or went): check at once."""

    run: int


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Woken(Value):
    """Something changed that made earlier failures worthless: `what` is network, sleep, binary, token or configuration.

    "nameservers" end the wait of a tunnel that is offline, "no network" is a reason to check at once; neither means more.
    """

    what: str


@value_class(frozen=True, slots=True, eq=False, repr=False)
class TimerFired(Value):
    """The timer `name` that was set under `token` has fired."""

    name: str
    token: int


OfChild = Spawned | SpawnFailed | Exited | Checked | NotChecked | CheckNow
"""What is reported of one run of the child."""

Input = Start | Stop | Kill | Restart | OfChild | Woken | TimerFired
