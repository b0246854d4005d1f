"""Ask a person at the terminal for what must not be shown."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click

from prx.core.errors import PrxError
from prx.core.signal_table import ALWAYS, ENDING, is_free
from prx.ui.errors import print_note

if TYPE_CHECKING:
    from prx.secrets.value import Secret

_TRIES: Final = 3
_MIN_PASSWORD: Final = 8  # characters; NIST SP 800-63B, 3.1.1: the least for a password that a person chooses


def ask_password(new: bool) -> Secret:
    """Ask on the terminal for the master password, without showing it; a new one twice."""
    from prx.secrets.value import Secret

    if not new:
        return Secret(hidden("Master password: "))
    for _ in range(_TRIES - 1):  # what was typed before, such as the secret itself, is not lost by a slip here
        try:
            return _new_password()
        except PrxError as error:
            print_note(f"{error.message}: once more")
    return _new_password()


def _new_password() -> Secret:
    from prx.secrets.value import Secret

    password = Secret(hidden("New master password: "))
    if len(password.reveal()) < _MIN_PASSWORD:
        raise PrxError(f"the master password is too short: expected at least {_MIN_PASSWORD} characters")
    if Secret(hidden("The same again: ")) != password:
        raise PrxError("the two passwords differ")
    return password


def hidden(words: str) -> str:
    """Ask for a line without showing it; click.Abort if none comes (Ctrl-C, Ctrl-D)."""
    from getpass import getpass

    try:
        with _interrupting():
            return getpass(words)
    except (EOFError, KeyboardInterrupt):
        print_note("")  # the question's line is left
        raise click.Abort from None


@contextmanager
def _interrupting() -> Iterator[None]:
    """Make what asks for an end raise KeyboardInterrupt, whatever it means elsewhere: getpass then repairs the terminal."""
    # a shell may have it ignore Ctrl-C, as one does for what runs in the background; a question is asked in the foreground
    wanted = [number for number in ENDING if is_free(number) or (number in ALWAYS and signal.getsignal(number) is not None)]
    old = {number: signal.signal(number, signal.default_int_handler) for number in wanted}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
