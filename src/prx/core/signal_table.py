"""What each signal means to a command that goes on until it is stopped: one table, for its first moment and all the time after.

Not in it, so left as they are: SIGKILL and SIGSTOP, which no program can catch; job control (SIGTSTP, SIGTTIN, SIGTTOU,
SIGCONT); the signs of a defect (SIGSEGV, SIGABRT, SIGSYS …), and by SIGABRT systemd's watchdog ends what hangs; SIGPIPE and
SIGXFSZ, which the interpreter ignores; SIGCHLD and SIGWINCH, each of which one part of prx reads.
"""

from __future__ import annotations

import enum
import signal
from types import FrameType
from typing import Final, NamedTuple


class Meaning(enum.Enum):
    """What a signal asks for."""

    STOP = enum.auto()  # an end; a second one asks for it at once
    LIMIT = enum.auto()  # an end, too; what sends it may repeat it, so a further one changes nothing
    RELOAD = enum.auto()
    NOTHING = enum.auto()


class Entry(NamedTuple):
    """What a signal means, and why it came or why it changes nothing, in words; empty if that needs none."""

    meaning: Meaning
    words: str = ""


_LOG_FILE: Final = "prx opens its log file again by itself after a rotation; SIGHUP reads the configuration again"
_TIMER: Final = "it comes from a timer that the program which started prx left running"
_FILE: Final = "it comes from a file that the program which started prx left open"
_REALTIME: Final = Entry(Meaning.NOTHING)  # for programs that have agreed on them

BY_NAME: Final = {
    "SIGINT": Entry(Meaning.STOP),
    "SIGTERM": Entry(Meaning.STOP),
    "SIGQUIT": Entry(Meaning.STOP),  # a graceful stop, as of nginx and supervisord
    "SIGALRM": Entry(Meaning.LIMIT, "the time that prx was given is over"),  # alarm(2) outlives exec
    "SIGXCPU": Entry(Meaning.LIMIT, "prx has used the processor time that it was given"),
    "SIGPWR": Entry(Meaning.LIMIT, "the power fails, or the container is to end"),  # of lxc-stop(1), among others
    "SIGHUP": Entry(Meaning.RELOAD),
    "SIGUSR1": Entry(Meaning.NOTHING, _LOG_FILE),
    "SIGUSR2": Entry(Meaning.NOTHING, _LOG_FILE),
    "SIGVTALRM": Entry(Meaning.NOTHING, _TIMER),
    "SIGPROF": Entry(Meaning.NOTHING, _TIMER),
    "SIGIO": Entry(Meaning.NOTHING, _FILE),
    "SIGSTKFLT": Entry(Meaning.NOTHING),
}


def _by_number() -> dict[int, Entry]:
    """Return the entries of the signals that this system has."""
    found = {int(getattr(signal, name)): entry for name, entry in BY_NAME.items() if hasattr(signal, name)}
    if hasattr(signal, "SIGRTMIN"):
        found |= dict.fromkeys(range(signal.SIGRTMIN, signal.SIGRTMAX + 1), _REALTIME)
    return found


BY_NUMBER: Final = _by_number()
ENDING: Final = tuple(number for number, entry in BY_NUMBER.items() if entry.meaning in {Meaning.STOP, Meaning.LIMIT})


ALWAYS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""What ends a command that asks, or goes on, whatever its launcher did with them: it must be able to end."""


def go_on(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal that changes nothing."""


def is_free(number: int) -> bool:
    """Return whether prx may catch a signal: its launcher does not ignore it, and no library (a profiler) handles it."""
    return signal.getsignal(number) not in {signal.SIG_IGN, None}
