"""What the machine may refuse for now: one table, by number and by the words of programs, with one hint for each."""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from pathlib import Path

import pytest

import prx
from prx.core.errors import PermanentError, PrxError, ShortageError, UsageError, refused, short_of
from prx.core.shortage import FOR_NOW, NO_ROOM, RESOURCES, lack_behind, lack_for_connection, lack_in, lack_of


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (os.strerror(errno.EMFILE), errno.EMFILE),
        (os.strerror(errno.ENFILE), errno.ENFILE),
        ("runtime: eventfd failed with 24", errno.EMFILE),
        ("runtime: epollcreate failed with -23", errno.ENFILE),
        ("listen udp :0: socket: too many open files", errno.EMFILE),
        (os.strerror(errno.ENOMEM), errno.ENOMEM),
        ("fatal error: failed to reserve page summary memory", errno.ENOMEM),
        ("runtime: out of memory: cannot allocate 4194304-byte block (4194304 in use)", errno.ENOMEM),
        ("libc.so.6: failed to map segment from shared object", errno.ENOMEM),
        (os.strerror(errno.EAGAIN), errno.EAGAIN),
        ("runtime: failed to create new OS thread (have 2 already; errno=11)", errno.EAGAIN),
        ("sh: 1: Cannot fork", errno.EAGAIN),
        ("write /tmp/x: no space left on device", errno.ENOSPC),
        (os.strerror(errno.EDQUOT), errno.EDQUOT),
        (os.strerror(errno.ETXTBSY), errno.ETXTBSY),
        (os.strerror(errno.EIO), errno.EIO),
        (os.strerror(errno.ESTALE), errno.ESTALE),
    ],
)
def test_words_of_the_system_of_shells_and_of_go(words: str, number: int) -> None:
    """Words and numbers lead to the same row of the table, and so to the same hint."""
    assert lack_in(words) == FOR_NOW[number] == lack_of(OSError(number, "x"))


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Permission denied",
        "exit status 24",
        "version 2024.11.12",
        "failed with 240",
        "errno=110",
        "503 Service Temporarily Unavailable",
        "no such file or directory",
    ],
)
def test_other_words_are_none(words: str) -> None:
    """A number alone, or an error that lasts, is no shortage."""
    assert lack_in(words) is None


def test_what_counts_depends_on_what_was_asked_for() -> None:
    """A queue that is full, a silent server and the resolver's numbers are no lack of this machine's for a connection."""
    for number in (errno.EAGAIN, errno.ETIMEDOUT, errno.EIO, errno.ENOSPC):
        assert lack_of(OSError(number, "x")) is not None
        assert lack_for_connection(OSError(number, "x")) is None
    for number in RESOURCES:
        assert lack_for_connection(OSError(number, "x")) is not None
    assert not NO_ROOM & RESOURCES
    assert lack_of(socket.gaierror(5, "its own 5")) is None
    assert lack_of(ssl.SSLError(5, "its own 5")) is None
    assert lack_of(RuntimeError("can't start new thread")) == FOR_NOW[errno.EAGAIN]


@pytest.mark.parametrize("kind", [PermanentError, UsageError, PrxError])
def test_a_shortage_is_of_no_other_kind(kind: type[PrxError]) -> None:
    """Whatever kind of error it would be else: for now it is a ShortageError (exit code 1), with what helps."""
    short = refused("words", OSError(errno.EMFILE, "x"), hint="another", kind=kind)
    assert (type(short), short.exit_code, short.hint) == (ShortageError, 1, FOR_NOW[errno.EMFILE].hint)
    other = refused("words", OSError(errno.EACCES, "x"), hint="another", kind=kind)
    assert (type(other), other.hint) == (kind, "another")


def test_it_is_found_in_a_group_and_behind_what_a_library_made_of_it() -> None:
    """Tasks raise groups, and libraries errors of their own: the lack is found below both."""
    own = ConnectionError("all attempts failed")
    own.__cause__ = ExceptionGroup("attempts", [OSError(errno.EMFILE, "x")])
    assert lack_behind(own) == FOR_NOW[errno.EMFILE]
    found = short_of(ExceptionGroup("a", [ValueError(), ExceptionGroup("b", [ShortageError("words", hint="help")])]))
    assert found is not None
    assert (found.message, found.hint) == ("words", "help")
    assert short_of(ExceptionGroup("a", [ValueError()])) is None


def test_there_is_one_table_and_one_wording() -> None:
    """No other module lists these numbers, or says how a limit is raised."""
    numbers = re.compile(r"errno\.E(?:MFILE|NFILE|NOMEM|NOBUFS|NOSPC|DQUOT|FBIG|STALE|TXTBSY)\b|ulimit")
    folder = Path(prx.__file__).parent
    found = {
        str(file.relative_to(folder)): sorted(set(numbers.findall(file.read_text())))
        for file in folder.rglob("*.py")
        if numbers.search(file.read_text())
    }
    assert found.keys() <= ALLOWED, found


ALLOWED = {
    "core/shortage.py",
    "core/errors.py",  # MemoryError, which has no number
    "runtime/process/spawn.py",  # the same
    "lab/edge/public/http1_server.py",  # raises what asyncio has swallowed
    "ui/writer.py",  # its theory of operation
}
