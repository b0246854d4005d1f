"""What `prx` does before its command is imported: streams, signals, and words for a machine that refuses the imports."""

from __future__ import annotations

import errno
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import dropwhile
from typing import Final

from prx.cli.held import is_wanted, leave_the_caller

LAB_COMMANDS: Final = frozenset(
    ("token", "push", "protect", "login", "fault", "env", "status")
)  # of `prx lab`: they end by themselves


def prepare(arguments: Sequence[str] | None) -> None:
    """Make streams and signals what a command may rely on; `arguments` as `prx.cli.main` takes them."""
    arguments = _words(arguments)
    open_closed_streams()
    leave_early_when_asked(arguments)
    undo_inherited_signals()
    if is_wanted(arguments):
        leave_the_caller()


def interrupted(arguments: Sequence[str] | None) -> int:
    """Return the exit code of a Ctrl-C before the command runs, or behind it."""
    return 0 if goes_on(_words(arguments)) else 130


def _words(arguments: Sequence[str] | None) -> Sequence[str]:
    return sys.argv[1:] if arguments is None else arguments


def complain_of_the_machine(error: BaseException) -> int:
    """Report what kept the command from being imported, and return its exit code; raise `error` if that is a defect."""
    with suppress(Exception):
        from prx.ui.errors import print_error, short_of

        if (short := short_of(error)) is not None:
            print_error(short)
            return short.exit_code
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        os.write(2, b"error: this machine gives prx no more memory\n")
        return 1
    raise error


def open_closed_streams() -> None:
    """Open /dev/null for a standard stream that was closed before prx began (`prx … <&- >&-`, as some services are started).

    Otherwise the first socket or file that is opened gets its number, and a URL meant for stdout is written into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # the lowest free number is given, and this is the order of the numbers
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115 - pathlib costs start-up time; it stays open as long as prx runs
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)


def undo_inherited_signals() -> None:
    """Receive what the launcher blocked, and learn how children end even if it ignored SIGCHLD: both outlive exec (signal(7)).

    With SIGTERM blocked neither prx nor a child could be asked to end; with SIGCHLD ignored the kernel keeps no exit code. What
    is ignored else stays so: that is how nohup works, and prx catches SIGINT and SIGTERM in any case.
    """
    with suppress(ValueError):  # not the main thread: a program that runs a command in it keeps its own signals
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())


def goes_on(arguments: Sequence[str]) -> bool:
    """Return whether this is a command that goes on until it is stopped, so that a stop is its end and no failure."""
    words = list(dropwhile(lambda word: word in {"-q", "--quiet"}, arguments))
    command, *options = words or [""]
    match command:
        case "start" | "mcp":
            return True
        case "web":
            return not {"--url", "--token"} & {*options}
        case "lab":
            return not any(word in LAB_COMMANDS for word in options)
        case "logs" | "requests":
            return any(word == "--follow" or re.fullmatch("-[a-z]*f.*", word) for word in options)
        case "status":
            return "--watch" in options
    return False


def leave_early_when_asked(arguments: Sequence[str]) -> None:
    """Treat a signal that ends a command which goes on until it is stopped as that stop: exit code 0, without a word.

    Importing what a start needs takes a few tenths of a second. Nothing has been started in that time, so there is nothing to
    end; `prx.app.signals` takes over as soon as there is. A command that only reads has nothing to end at any time. A SIGHUP
    asks a start for a configuration that is not read yet, unless the terminal has gone.
    """
    if not goes_on(arguments):
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(0))
    if "start" in arguments and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        had_terminal = _has_terminal()
        signal.signal(signal.SIGHUP, lambda *_: os._exit(0) if had_terminal and not _has_terminal() else None)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
