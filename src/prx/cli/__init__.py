"""The command line: `prx`, one module per command, imported when the command runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from prx.cli.held import is_wanted, leave_the_caller


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` if `arguments` is None) and return its exit code.

    0 done, or stopped as asked · 1 failed · 2 usage or configuration · 3 permanent, or not running · 4 not ready in time, or
    unknown · 128 + n ended by a second signal n (a second Ctrl-C: 130).
    """
    try:
        open_closed_streams()
        words = sys.argv[1:] if arguments is None else arguments
        leave_early_when_asked(words)
        undo_inherited_signals()
        if is_wanted(words):
            leave_the_caller()
        from prx.app.memory import no_collection

        with no_collection():
            from prx.cli.root import cli
            from prx.ui.errors import run

        code = run(cli, arguments)
    except KeyboardInterrupt:  # during the imports, or behind `run`
        code = 130
    if arguments is None and "prx.cli.ending" in sys.modules:
        from prx.cli.ending import leave_threads

        leave_threads(code)
    return code


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


def leave_early_when_asked(arguments: Sequence[str]) -> None:
    """Treat a signal that comes before `prx start` has started as a stop that was asked for: exit code 0, without a word.

    Importing what a start needs takes a few tenths of a second. Nothing has been started in that time, so there is nothing to
    end; `prx.app.signals` takes over as soon as there is. A SIGHUP asks for a configuration that is not read yet, unless the
    terminal has gone.
    """
    if not arguments or arguments[0] != "start":
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(0))
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        had_terminal = _has_terminal()
        signal.signal(signal.SIGHUP, lambda *_: os._exit(0) if had_terminal and not _has_terminal() else None)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
