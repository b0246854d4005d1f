"""What this machine may refuse a program for now: the one table of it, by number (errno(3)) and by words.

Such a refusal says nothing about what was asked for: not that a file is absent, not that a setting is wrong, not that another
program is at fault. Another try can help. So a caller that meets one goes on with what it knows, or ends with exit code 1, and
has the words and the hint from here.

Which numbers count depends on what was asked for:

* `FOR_NOW`, all of them: for files, programs, processes and threads.
* `RESOURCES`: for connections. There EAGAIN says that nothing has come, or that the queue of a listener is full, and ETIMEDOUT
  or EIO speak of the other side.
* `NO_ROOM`: what a write alone is refused for, so that what needs no write goes on.

Programs have words: those of strerror(3), of shells, of the dynamic loader (dlerror(3)), and of Go's runtime, which gives
numbers as well: `runtime: epollcreate failed with 24`, `failed to create new OS thread (have 2 already; errno=11)` (observed
with Go 1.24 under `ulimit -n`, `-u` and `-v`).
"""

from __future__ import annotations

import errno
import re
from typing import Final, NamedTuple


class Lack(NamedTuple):
    """What there is no more of, as it goes on after "this machine gives prx"; and what helps, empty if it passes by itself."""

    words: str
    hint: str = ""


_MEMORY: Final = "end something, or raise the limit of memory (ulimit -v, the control group)"
PORTS_HINT: Final = (
    "this machine has no port left for another connection to the service: have the service keep connections open (keep-alive)"
)
"""What helps against EADDRNOTAVAIL of a connection, which elsewhere speaks of an address that is not this machine's."""

NO_LOOPBACK: Final = Lack(
    "nothing on this machine can be reached at 127.0.0.1: its loopback interface is down",
    "ip link set lo up; prx goes on by itself then",
)
"""Without it the connector cannot be asked, and most services are not reached. The words are a whole sentence."""

_STORAGE: Final = Lack("no answer from its disk or file server")

FOR_NOW: Final = {
    errno.EMFILE: Lack("no more open files", "raise the limit of open files: ulimit -n"),
    errno.ENFILE: Lack("no more open files", "the whole system has none left: end something"),
    errno.EAGAIN: Lack("no more processes or threads", "raise the limit of processes: ulimit -u"),
    errno.ENOMEM: Lack("no more memory", _MEMORY),
    errno.ENOBUFS: Lack("no more memory for connections", _MEMORY),
    errno.ENOSPC: Lack("no more room on the disk", "make room"),
    errno.EDQUOT: Lack("no more room on the disk", "make room, or raise the quota"),
    errno.EFBIG: Lack("no larger file", "raise the limit of a file's size: ulimit -f"),
    errno.EIO: _STORAGE,
    errno.ESTALE: _STORAGE,
    errno.ETIMEDOUT: _STORAGE,
    errno.ETXTBSY: Lack("no program that is still being written"),
}

RESOURCES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
OF_ANY_CALL: Final = RESOURCES | {errno.EAGAIN}
"""What needs no name of a file to be understood."""

RESERVED: Final = 2 << 20  # bytes, two arenas of CPython's
reserve: Final[list[bytes]] = []
"""What is given back first if there is no memory, as the words for that take some.

It is filled when a command begins; pages that were never written to (calloc(3)) take addresses alone.
"""

# What CPython says in place of a reason (Objects/call.c, Python/ceval.c); without memory it may have none left for that.
_WITHOUT_REASON: Final = ("without exception set", "without setting an exception")

_WORDS: Final = (  # in lower case; the longer before what is in them
    ("too many open files in system", errno.ENFILE),
    ("too many open files", errno.EMFILE),
    ("failed to map segment", errno.ENOMEM),
    ("cannot create shared object descriptor", errno.ENOMEM),
    ("cannot allocate memory", errno.ENOMEM),
    ("out of memory", errno.ENOMEM),
    ("no buffer space available", errno.ENOBUFS),
    ("resource temporarily unavailable", errno.EAGAIN),
    ("cannot fork", errno.EAGAIN),
    ("failed to create new os thread", errno.EAGAIN),
    ("no space left on device", errno.ENOSPC),
    ("disk quota exceeded", errno.EDQUOT),
    ("text file busy", errno.ETXTBSY),
    ("input/output error", errno.EIO),
    ("stale file handle", errno.ESTALE),
)
_NO_MEMORY_IN_GO: Final = r"failed to (?:reserve|allocate) [\w ]*memory"
_NUMBER_IN_GO: Final = r"\b(?:failed with -?|errno=-?)(\d+)\b"
_OTHER_NUMBERS: Final = frozenset({"socket", "ssl"})  # the modules of gaierror and SSLError, whose numbers mean other things


def lack_in(words: str) -> Lack | None:
    """Return what a program lacked by its own words; None if they speak of something else."""
    number = _number_in(words)
    if not number and re.search(_NO_MEMORY_IN_GO, words, re.IGNORECASE):
        number = errno.ENOMEM
    if not number and (named := re.search(_NUMBER_IN_GO, words)):
        number = int(named[1]) if int(named[1]) in OF_ANY_CALL else 0
    return FOR_NOW.get(number)


def _number_in(words: str) -> int:
    said = words.lower()
    for part, number in _WORDS:  # a generator that finds no memory complains on stderr
        if part in said:
            return number
    return 0


def errno_of(error: BaseException) -> int:
    """Return the errno(3) of an error, also if only its kind or its words stand for one; 0 if it has none."""
    match error:
        case MemoryError():
            return errno.ENOMEM
        case SystemError() if _WITHOUT_REASON[0] in str(error) or _WITHOUT_REASON[1] in str(error):
            return errno.ENOMEM
        case ImportError():  # the dynamic loader has words only
            return _number_in(str(error))
        case RuntimeError() if "start new thread" in str(error):
            return errno.EAGAIN
    if type(error).__module__ in _OTHER_NUMBERS:
        return 0
    return getattr(error, "errno", None) or 0


def lack_of(error: BaseException) -> Lack | None:
    """Return what the machine lacked for a file, program, process or thread; None if the error says something about that."""
    return FOR_NOW.get(errno_of(error))


def lack_for_connection(error: BaseException) -> Lack | None:
    """Return what the machine lacked for a connection; None if the error speaks of the other side, or of the way to it."""
    number = errno_of(error)
    return FOR_NOW[number] if number in RESOURCES else None


def lack_behind(error: BaseException, numbers: frozenset[int] = RESOURCES) -> Lack | None:
    """Return what the machine lacked for what failed, or for what failed before and was being handled.

    A library, and Python itself, may lose the reason then. EAGAIN is not sought: it is also what a socket says if nothing has
    come.
    """
    behind: BaseException | None = error
    seen: set[int] = set()
    while behind is not None and id(behind) not in seen:
        if (number := errno_of(behind)) in numbers:
            return FOR_NOW[number]
        seen.add(id(behind))
        if isinstance(behind, BaseExceptionGroup):  # of tries at several addresses
            behind = behind.exceptions[0]
            continue
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    return None


def lack_for_module(error: ImportError | OSError) -> Lack | None:
    """Return what the machine lacked to load a module, also behind a library's words; None if it is missing or broken."""
    return lack_of(error) or lack_behind(error)


def no_memory() -> OSError:
    """Return the system's error of a lack of memory, in the place of one with a number of its own for that."""
    return OSError(errno.ENOMEM, "Cannot allocate memory")


def lacks_memory(error: BaseException) -> bool:
    """Return whether it was memory, for what failed or for what failed before (`lack_behind`)."""
    return lack_behind(error, _ENOMEM) is not None


_ENOMEM: Final = frozenset({errno.ENOMEM})
