"""`prx start --held`: prx for another program, which reads its events and needs no process of its own for it.

prx leaves the caller's process tree and session at once, so that the caller has no child to wait for and Ctrl-C on its terminal
is the caller's affair. It ends when no program uses it any more (`prx.app.holders`). An error is the last line of stdout, as
the control socket would report it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

OPTION = "--held"


def is_wanted(arguments: Sequence[str]) -> bool:
    """Return whether the command line is one of `prx start --held`."""
    return list(arguments[:2]) == ["start", OPTION]


def leave_the_caller() -> None:
    """Go on in a process that is no child of the caller's, in a session of its own; the first one ends with exit code 0.

    To be called before there is any thread.
    """
    if os.fork():
        os._exit(0)
    os.setsid()


@contextmanager
def reporting(*, held: bool) -> Iterator[None]:
    """Write the PrxError that ends the block to stdout, as one line of JSON, if prx is `held`; raise it in any case."""
    from prx.control.messages import encode, refusal
    from prx.core.errors import PrxError

    try:
        yield
    except PrxError as error:
        if held:
            with suppress(OSError):
                os.write(1, encode(refusal(error)))
        raise
