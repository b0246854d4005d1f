"""What is done about what a check has found: the verdict's own action, as the settings and the failures so far change it."""

from __future__ import annotations

from typing import Final

from prx.core.causes import Cause, restart_helps
from prx.core.damping import FailureCounter
from prx.core.states import MachineSettings
from prx.core.verdicts import BLUNT, RESTARTING, Action, Diagnosis

_NO_ANSWER: Final = frozenset({Cause.SETTING, Cause.MACHINE})
"""Behind these is no answer, wrong or none: prx itself could not ask, or this machine has too little. It is never counted."""


class RemedyChoice:
    """Choose an action for each diagnosis; `failures` counts those that lead to a replacement once there are enough."""

    def __init__(self, failures: FailureCounter) -> None:
        self._failures = failures

    def choose(self, now: float, diagnosis: Diagnosis, settings: MachineSettings, *, other_protocol: bool) -> Action:
        """Return what is done about a diagnosis at monotonic time `now` (seconds).

        COUNT: it was counted, and there are not yet enough. REPLACE: there are, or it was asked for. WAIT also takes the place
        of a switch to another protocol if there is none (`other_protocol` False).
        """
        match _in_principle(diagnosis, settings):
            case Action.COUNT:
                return Action.REPLACE if self._count(now, diagnosis, settings) else Action.COUNT
            case Action.REPLACE | Action.REPLACE_NOW | Action.FAIL as action:
                return action
            case Action.SWITCH_PROTOCOL if other_protocol:
                return Action.SWITCH_PROTOCOL
            case action:
                self._failures.forget()
                return Action.WAIT if action is Action.SWITCH_PROTOCOL else action

    def _count(self, now: float, diagnosis: Diagnosis, settings: MachineSettings) -> bool:
        """Count a failure; return whether there are enough of them, and they have lasted for long enough."""
        self._failures.add(now, settings.interval)
        lasted = settings.restart_on_any or self._failures.lasted(now) >= diagnosis.patience
        return lasted and self._failures.count >= settings.max_failures


def does_its_part(diagnosis: Diagnosis, settings: MachineSettings) -> bool:
    """Return whether a connector that is up has no share in what is wrong: restarts are for something else."""
    return diagnosis.connected and not _any_counts(diagnosis, settings) and not restart_helps(diagnosis.cause)


def _any_counts(diagnosis: Diagnosis, settings: MachineSettings) -> bool:
    """Return whether the user wants a restart for whatever is wrong, and this may be called a failure."""
    return settings.restart_on_any and diagnosis.cause not in _NO_ANSWER


def _in_principle(diagnosis: Diagnosis, settings: MachineSettings) -> Action:
    """Return the action for a diagnosis: no restart that changes nothing, unless the user wants one for any failure."""
    if diagnosis.verdict in BLUNT and _any_counts(diagnosis, settings) and diagnosis.action not in RESTARTING:
        return Action.COUNT
    if diagnosis.action in RESTARTING and not restart_helps(diagnosis.cause):
        return Action.REPORT
    return diagnosis.action
