"""The words with which programs say that the machine gives them too little for now."""

from __future__ import annotations

import errno
import os

import pytest

from prx.core.shortage import FILES_HINT, MEMORY_HINT, PROCESSES_HINT, shortage_in


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (os.strerror(errno.EMFILE), FILES_HINT),
        (os.strerror(errno.ENFILE), FILES_HINT),
        ("runtime: eventfd failed with 24", FILES_HINT),
        ("runtime: epollcreate failed with -23", FILES_HINT),
        ("listen udp :0: socket: too many open files", FILES_HINT),
        (os.strerror(errno.ENOMEM), MEMORY_HINT),
        ("fatal error: failed to reserve page summary memory", MEMORY_HINT),
        ("runtime: out of memory: cannot allocate 4194304-byte block (4194304 in use)", MEMORY_HINT),
        ("libc.so.6: failed to map segment from shared object", MEMORY_HINT),
        (os.strerror(errno.EAGAIN), PROCESSES_HINT),
        ("runtime: failed to create new OS thread (have 2 already; errno=11)", PROCESSES_HINT),
        ("sh: 1: Cannot fork", PROCESSES_HINT),
        (os.strerror(errno.ETXTBSY), ""),
        (os.strerror(errno.EIO), ""),
        (os.strerror(errno.ESTALE), ""),
    ],
)
def test_words_of_the_system_of_shells_and_of_go(words: str, hint: str) -> None:
    """Each is a shortage, with what helps."""
    found = shortage_in(words)
    assert found is not None
    assert found.hint == hint


@pytest.mark.parametrize(
    "words",
    [
        "",
        "Permission denied",
        "exit status 24",
        "version 2024.11.12",
        "failed with 240",
        "errno=110",
        "no such file or directory",
    ],
)
def test_other_words_are_none(words: str) -> None:
    """A number alone, or an error that lasts, is no shortage."""
    assert shortage_in(words) is None
