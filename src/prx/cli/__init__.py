"""The command line: `prx`, one module per command, imported when the command runs.

Nothing is imported at the top: until `main` runs, Ctrl-C is a traceback of the interpreter's.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers read it
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` if `arguments` is None) and return its exit code.

    0 done, or stopped as asked · 1 failed · 2 usage or configuration · 3 permanent, or not running · 4 not ready in time, or
    unknown · 128 + n ended by a second signal n, or by a first one before the work is done (Ctrl-C: 130); 141 if the reader of
    stdout has gone.
    """
    reserve: list[bytes] = []
    try:
        from prx.app.memory import no_collection

        with no_collection():
            from prx.cli.early import prepare
            from prx.core.shortage import RESERVED, reserve

        reserve.append(bytes(RESERVED))
        prepare(arguments)
        code = _run(arguments)
    except KeyboardInterrupt:  # during the imports, or behind `run`
        from prx.cli.early import interrupted

        code = interrupted(arguments)
    except (OSError, MemoryError, ImportError, SystemError) as error:  # during the imports, or of the words for what failed
        reserve.clear()
        from prx.cli.early import complain_of_the_machine

        code = complain_of_the_machine(error)
    if arguments is None:
        _leave(code)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    from prx.app.memory import no_collection

    with no_collection():
        from prx.cli.root import cli
        from prx.ui.errors import run

    return run(cli, arguments)


def _leave(code: int) -> None:
    """End the process if a thread would hold it up; from now on Ctrl-C finds nothing that could be interrupted."""
    import sys
    from signal import SIG_DFL, SIG_IGN, SIGINT, default_int_handler, getsignal, signal

    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, SIG_DFL)
    if "prx.core.signal_table" in sys.modules:
        from prx.core.signal_table import BY_NUMBER, Meaning

        for number, entry in BY_NUMBER.items():  # the interpreter would give them their defaults again, which end the process
            if entry.meaning in {Meaning.LIMIT, Meaning.NOTHING} and callable(getsignal(number)):
                signal(number, SIG_IGN)
    if "prx.cli.ending" in sys.modules:
        from prx.cli.ending import leave_threads

        leave_threads(code)
