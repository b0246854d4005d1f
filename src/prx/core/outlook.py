"""What is done next about a tunnel, and when, from the machine and the due times of its timers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prx.core.causes import RESTART_CHANGES, restart_helps
from prx.core.machine import Machine
from prx.core.states import State
from prx.core.value import Value, value_class
from prx.core.verdicts import RESTARTING, Action, Diagnosis


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Step(Value):
    """Something that will be done: what (the name of its timer, or "" for what waits for the operator), when, in words.

    wait: seconds from now on, None for what has no time.
    """

    what: str
    wait: float | None
    words: str


def outlook(machine: Machine, due: Mapping[str, float], now: float) -> tuple[Step, ...]:
    """Return what is done next, the soonest first; `due` has the monotonic second of each timer that was set."""
    timed = [
        Step(name, max(0.0, due[name] - now), words)
        for name in machine.timers
        if name in due and (words := _WORDS[name](machine))
    ]
    return (*sorted(timed, key=lambda step: step.wait or 0.0), *(Step("", None, words) for words in _untimed(machine)))


def restart_words(diagnosis: Diagnosis, *, has_child: bool) -> str:
    """Return whether a restart would change anything about a fault, and what; empty if there is no fault, or no connector."""
    if diagnosis.action is Action.NONE or not has_child:
        return ""
    if restart_helps(diagnosis.cause) and diagnosis.action in RESTARTING:
        return f"a restart helps: {RESTART_CHANGES[diagnosis.cause]}"
    return "a restart of the connector would change nothing about it"


def _untimed(machine: Machine) -> Iterator[str]:
    failures, most = machine.failures.count, machine.settings.max_failures
    if machine.state in {State.STARTING, State.READY, State.DEGRADED} and failures and machine.settings.has_child:
        yield f"{failures} of {most} failures are counted; at {most} the connector is replaced"
    if machine.state is State.FAILED:
        yield "nothing else until you change something: then it is started again by itself"
    elif machine.state is State.IDLE:
        yield f"nothing: it is stopped; prx restart {machine.name} starts it"
    elif machine.state is State.BACKOFF:
        yield "a change of configuration, token, program or network ends the wait"
    elif machine.busy:
        yield "an answer is awaited just now"


def _replace(machine: Machine) -> str:
    costs = ", which costs the URL" if machine.restart_costs_url else ""
    return f"the connector is replaced{costs}, unless it comes back before"


def _steady(machine: Machine) -> str:
    return "the failed tries are forgotten, if it stays up" if machine.attempt else ""


def _grace(machine: Machine) -> str:
    return "the connector is killed, if it has not ended by then"


_WORDS: dict[str, Callable[[Machine], str]] = {
    "check": lambda machine: "the tunnel is checked again" if not machine.busy else "",
    "suspicion": lambda _: "what is seen now is shown, if it lasts",
    "replace": _replace,
    "steady": _steady,
    "grace": _grace,
    "reap": _grace,
    "backoff": lambda machine: f"the connector is started again (try {max(1, machine.attempt)})",
    "recheck": lambda machine: (
        "configuration, token and program are checked for a change" if machine.state is State.FAILED else ""
    ),
}
