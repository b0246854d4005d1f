"""The exceptions that a user can meet, each with a hint and with the exit code of the command that it ends.

    PrxError                 1   something failed
    ├── UsageError           2   the command line or the configuration must be changed
    │   └── ConfigError      2   the same, found in a file or in the environment: all problems at once
    ├── PermanentError       3   trying again will not help until something outside prx is changed
    │   └── CredentialError  3   the same, and what must be changed is a token
    └── NotReadyError        4   it was not ready in time; trying again may help

A class exists because a caller acts differently on it. Facts are attributes, and no message ever holds a secret. `code` is one
word for programs: that of the class, or the one that was given, such as the verdict that ended a tunnel.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import ClassVar, Final


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


# What a machine may refuse for now (errno(3)), whatever it is asked for, and what helps; empty: it passes by itself.
FOR_NOW: Final = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or raise the quota",
    errno.EFBIG: "raise the limit: ulimit -f",
    errno.EMFILE: "raise the limit: ulimit -n",
    errno.ENFILE: "the whole system has none left: end something",
    errno.EAGAIN: "raise the limit: ulimit -u",
    errno.ENOMEM: "end something, or raise the limit: ulimit -v",
    errno.ENOBUFS: "end something",
    errno.EIO: "",
    errno.ESTALE: "",
    errno.ETXTBSY: "",
}

RESERVED: Final = 2 << 20  # bytes, two arenas of CPython's
reserve: Final[list[bytes]] = []
"""What is given back first if there is no memory, as the words for that take some.

It is filled when a command begins; pages that were never written to (calloc(3)) take addresses alone.
"""

# What CPython says in place of a reason (Objects/call.c, Python/ceval.c); without memory it may have none left for that.
_WITHOUT_REASON = ("without exception set", "without setting an exception")
_LOADERS_WORDS = {  # dlerror(3); the longer before what is in them
    "failed to map segment": errno.ENOMEM,
    "cannot allocate memory": errno.ENOMEM,
    "cannot create shared object descriptor": errno.ENOMEM,
    "too many open files in system": errno.ENFILE,
    "too many open files": errno.EMFILE,
}


def errno_of(error: BaseException) -> int:
    """Return the errno(3) of an error, also if only its kind or its words stand for one; 0 if it has none."""
    match error:
        case MemoryError():
            return errno.ENOMEM
        case SystemError() if _WITHOUT_REASON[0] in str(error) or _WITHOUT_REASON[1] in str(error):
            return errno.ENOMEM
        case ImportError():  # the dynamic loader has words only
            said = str(error).lower()
            for words, number in _LOADERS_WORDS.items():  # a generator that finds no memory complains on stderr
                if words in said:
                    return number
            return 0
        case RuntimeError() if "start new thread" in str(error):
            return errno.EAGAIN
    return getattr(error, "errno", None) or 0


def refused(message: str, error: OSError, *, hint: str = "") -> PrxError:
    """Return what ends a command for which the system did not do what was asked; `error` says why not.

    PermanentError, with `hint`, unless the machine has too little of something for now: then another try can help, and what
    starts prx again (systemd, a container's engine) has to go on trying.
    """
    lacking = FOR_NOW.get(errno_of(error))
    return PermanentError(message, hint=hint) if lacking is None else PrxError(message, hint=lacking)


def lacks_memory(error: BaseException) -> bool:
    """Return whether there was no memory for what failed, or for what failed before and was being handled.

    Python may lose the reason then. No other shortage is sought so: EAGAIN is also what a socket says if nothing has come.
    """
    behind: BaseException | None = error
    seen: set[int] = set()
    while behind is not None and id(behind) not in seen:
        if errno_of(behind) == errno.ENOMEM:
            return True
        seen.add(id(behind))
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return False
