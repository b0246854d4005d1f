"""What the machine may refuse a program for now, and the words with which the program says so.

A program that ends because it got no descriptor, process or memory has said nothing about itself: not that it is another
program than was expected, and not that a setting is wrong. Another try can help, so such an end is a crash, never permanent.

The words are those of strerror(3), of shells, and of Go's runtime, which gives numbers of errno(3) in place of words:
`runtime: epollcreate failed with 24`, `failed to create new OS thread (have 2 already; errno=11)` (observed with Go 1.24 under
`ulimit -n`, `-u` and `-v`).
"""

from __future__ import annotations

import re
from typing import Final

from prx.core.value import Value, value_class

FILES_HINT: Final = "raise the limit of open files: ulimit -n"
PROCESSES_HINT: Final = "raise the limit of processes: ulimit -u"
PORTS_HINT: Final = (
    "this machine has no port left for another connection to the service: have the service keep connections open (keep-alive)"
)
MEMORY_HINT: Final = "the machine, or the limit of memory (ulimit -v, the control group), leaves too little"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Shortage(Value):
    """One kind of it; `hint`: what helps, empty if it passes by itself."""

    hint: str = ""


# ENFILE 23, EMFILE 24, EAGAIN 11, ENOMEM 12 (errno(3) of Linux); ETXTBSY, EIO and ESTALE by their words alone
_KINDS: Final = (
    (r"too many open files|\bfailed with -?2[34]\b|\berrno=2[34]\b", Shortage(FILES_HINT)),
    (
        (
            r"cannot allocate memory|no buffer space available|out of memory|failed to (?:reserve|allocate) [\w ]*memory"
            r"|failed to map segment|\b(?:failed with |errno=)-?12\b"
        ),
        Shortage(MEMORY_HINT),
    ),
    (
        r"temporarily unavailable|cannot fork|failed to create new OS thread|\b(?:failed with |errno=)-?11\b",
        Shortage(PROCESSES_HINT),
    ),
    (r"text file busy|input/output error|stale file handle", Shortage()),
)


def shortage_in(words: str) -> Shortage | None:
    """Return what a program lacked by its own words; None if they speak of something else."""
    return next((kind for pattern, kind in _KINDS if re.search(pattern, words, re.IGNORECASE)), None)
