"""What `prx` does before its command is imported: streams, signals, and words for a machine that refuses the imports."""

from __future__ import annotations

import fcntl
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import dropwhile
from types import FrameType
from typing import Final

from prx.cli.held import is_wanted, leave_the_caller
from prx.core.shortage import lacks_memory
from prx.core.signal_table import BY_NUMBER, Meaning, go_on, is_free

_COMPLETE: Final = "_PRX_COMPLETE"  # see `prx completions`
_O_PATH: Final = getattr(os, "O_PATH", 0)
LAB_COMMANDS: Final = frozenset(
    ("token", "push", "protect", "login", "fault", "env", "status")
)  # of `prx lab`: they end by themselves


def prepare(arguments: Sequence[str] | None) -> None:
    """Make streams and signals what a command may rely on; `arguments` as `prx.cli.main` takes them."""
    arguments = _words(arguments)
    open_closed_streams()
    replace_useless_streams()
    show_what_cannot_be_encoded()
    wait_for_readers(arguments)
    forget_useless_completion()
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
        from prx.core.errors import short_of
        from prx.ui.errors import print_error

        if (short := short_of(error)) is not None:
            print_error(short)
            return short.exit_code
    if lacks_memory(error):
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


def replace_useless_streams() -> None:
    """Put /dev/null in the place of a standard stream that is open the wrong way round (`1</dev/null`): as good as closed."""
    for fd, useless in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        with suppress(OSError):
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            if flags & os.O_ACCMODE == useless or flags & _O_PATH:
                nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(nothing, fd)
                os.close(nothing)


def show_what_cannot_be_encoded() -> None:
    """Write a character that the encoding of stdout does not have (`PYTHONIOENCODING=latin-1`) as its number."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict" and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does always


def forget_useless_completion() -> None:
    """Take away what a completion has left in the environment, if it does not ask for one: click would fail on it."""
    asked, position = os.environ.get(_COMPLETE, ""), os.environ.get("COMP_CWORD", "")
    is_whole = "COMP_WORDS" in os.environ and (position.isdecimal() or asked.startswith("fish"))
    if asked.endswith("_complete") and not is_whole:
        del os.environ[_COMPLETE]


def wait_for_readers(arguments: Sequence[str]) -> None:
    """Have a write to stdout or stderr wait for its reader, if the maker of the pipe has it fail instead (O_NONBLOCK).

    A command would lose what does not fit at once. `prx start` writes in threads, and waits for no reader.
    """
    if "start" in arguments:
        return
    for fd in (1, 2):
        with suppress(OSError):
            if not os.get_blocking(fd):
                os.set_blocking(fd, True)


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
    end; `prx.app.signals` takes over as soon as there is. A command that only reads has nothing to end at any time. What means
    nothing goes by. A SIGHUP asks a start for a configuration that is not read yet, unless the terminal has gone.
    """
    if not goes_on(arguments):
        return
    for number, (meaning, _) in BY_NUMBER.items():
        if is_free(number) and meaning is not Meaning.RELOAD:
            signal.signal(number, go_on if meaning is Meaning.NOTHING else _leave)
    if "start" in arguments and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        from prx.runtime.host.terminal import has_terminal  # a start imports its packages in any case

        had_terminal = has_terminal()
        signal.signal(signal.SIGHUP, lambda *_: os._exit(0) if had_terminal and not has_terminal() else None)


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(0)
