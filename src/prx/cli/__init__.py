"""The command line: `prx`, one module per command, imported when the command runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` where `arguments` is None) and return its exit code.

    0 done, or stopped as asked · 1 failed · 2 usage or configuration · 3 permanent, or not running · 4 not ready in time, or
    unknown · 128 + n ended by a second signal n (a second Ctrl-C: 130).
    """
    leave_early_when_asked(sys.argv[1:] if arguments is None else arguments)
    from prx.cli.ending import run
    from prx.cli.root import cli

    return run(cli, arguments)


def leave_early_when_asked(arguments: Sequence[str]) -> None:
    """Let a signal that comes before `prx start` has begun anything be a stop as asked: exit code 0, without a word.

    Importing what a start needs takes a few tenths of a second. Nothing has been started in that time, so there is nothing to
    end; `prx.cli.signals` takes over as soon as there is.
    """
    if not arguments or arguments[0] != "start":
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: os._exit(0))
