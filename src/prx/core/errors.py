"""The exceptions that a user can meet, each with a hint and with the exit code of the command that it ends.

    PrxError                 1   something failed
    ├── UsageError           2   the command line or the configuration must be changed
    │   └── ConfigError      2   the same, found in a file or in the environment: all problems at once
    ├── PermanentError       3   trying again will not help until something outside prx is changed
    │   └── CredentialError  3   the same, and what must be changed is a token
    ├── ShortageError        1   the machine refuses something for now; trying again may help
    └── NotReadyError        4   it was not ready in time; trying again may help

A class exists because a caller acts differently on it. Facts are attributes, and no message ever holds a secret. `code` is one
word for programs: that of the class, or the one that was given, such as the verdict that ended a tunnel.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final

from prx.core.shortage import FOR_NOW, OF_ANY_CALL, Lack, errno_of, lack_of, lacks_memory


class PrxError(Exception):
    """Say what failed (`message`, one line) and what the user can do about it (`hint`, may be empty)."""

    exit_code: ClassVar[int] = 1
    usual_code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.usual_code


def with_hint(words: str, hint: str) -> str:
    """Return words, and behind them what helps, on one line; `hint` may be empty."""
    return f"{words} (hint: {hint})" if hint else words


class UsageError(PrxError):
    """The command line or the configuration asks for something that cannot be."""

    exit_code = 2
    usual_code = "usage"


def unknown_tunnel(name: object, known: Iterable[str], *, among: str = "running", hint: str = "") -> UsageError:
    """Return what every command answers to a `name` that no tunnel has; `among`: of which tunnels `known` are the names."""
    listed = ", ".join(known) or "none"
    space = "" if listed.startswith("\n") else " "
    return UsageError(f"no tunnel is called {str(name)[:80]!r}; {among}:{space}{listed}", hint=hint)


class ConfigError(UsageError):
    """The configuration has problems; `problems` holds every one of them, each a printable line with its place."""

    usual_code = "config"

    def __init__(self, problems: Sequence[str], *, hint: str = "") -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"the configuration has {count}", hint=hint)
        self.problems = tuple(problems)


class PermanentError(PrxError):
    """Restarting will not help: a binary is missing, a token is malformed, a port is taken by another process."""

    exit_code = 3
    usual_code = "permanent"


class CredentialError(PermanentError):
    """The token is missing or malformed; the message names the defect, never the content."""

    usual_code = "credential"


class NotReadyError(PrxError):
    """The wait for readiness ended before readiness came."""

    exit_code = 4
    usual_code = "not_ready"


class ShortageError(PrxError):
    """The machine refuses for now what is needed (`prx.core.shortage`): another try can help, without a change to anything."""


def refused(message: str, error: BaseException, *, hint: str = "", kind: type[PrxError] = PermanentError) -> PrxError:
    """Return what ends a command for which the system did not do what was asked; `error` says why not.

    A `kind`, with `hint`, unless the machine has too little of something for now. Then it is a ShortageError: another try can
    help, and what starts prx again (systemd, a container's engine) has to go on trying.
    """
    lack = lack_of(error)
    return kind(message, hint=hint) if lack is None else ShortageError(message, hint=lack.hint)


REINSTALL: Final = "install prx again: a part of it, or of what it needs, is missing or broken"


def unloaded(error: ImportError | OSError) -> str:
    """Return which module cannot be loaded, and why, in words."""
    match error:
        case ModuleNotFoundError():
            return f"the module {error.name} is missing"
        case ImportError():
            return f"the module {error.name or 'that it needs'} cannot be loaded: {error.msg}"
        case _:
            return f"{error.filename or 'a module'} cannot be read: {error.strerror or error}"


def short_of(error: BaseException) -> ShortageError | None:
    """Return what this machine has no more of, in words, and what helps; None if the error is of another kind.

    Of a group it is the first that is found. An error about a file is not described without the name of that file.
    """
    if isinstance(error, BaseExceptionGroup):
        found = (short_of(one) for one in error.exceptions)
        return next((short for short in found if short is not None), None)
    if isinstance(error, ShortageError):
        return error
    number = errno.ENOMEM if lacks_memory(error) else errno_of(error)
    return shortage(FOR_NOW[number]) if number in OF_ANY_CALL else None


def shortage(lack: Lack) -> ShortageError:
    """Return the error that says what is lacking, and what helps."""
    return ShortageError(f"this machine gives prx {lack.words}", hint=lack.hint)
