"""A machine without memory is recognized as such, also if the interpreter lost the reason."""

from __future__ import annotations

import errno

import pytest

from prx.core.errors import short_of
from prx.core.shortage import lacks_memory


def behind(reason: Exception, error: Exception, how: str = "context") -> Exception:
    """Return `error` as it is if it was raised while `reason` was handled: `from` that (cause), `from None`, or neither."""
    error.__context__ = reason
    if how == "cause":
        error.__cause__ = reason
    error.__suppress_context__ = how != "context"
    return error


LACKS = {
    "Python's own": MemoryError(),
    "the system's": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "the dynamic loader's": ImportError("_struct.so: failed to map segment from shared object"),
    "lost in the interpreter": SystemError("error return without exception set"),
    "lost in a function": SystemError("<built-in function open> returned NULL without setting an exception"),
    "lost by what was done about it": behind(MemoryError(), AttributeError("a name")),
    "named as the reason": behind(ImportError("cannot allocate memory in static TLS block"), KeyError("a name"), "cause"),
    "two steps behind": behind(behind(OSError(errno.ENOMEM, "Cannot allocate memory"), ValueError()), KeyError("a name")),
}


@pytest.mark.parametrize("name", LACKS)
def test_it_is_said_in_words(name: str) -> None:
    """Alone, and in a group as a task raises it, it is memory that this machine lacks."""
    error = LACKS[name]
    assert lacks_memory(error)
    for shown in (error, ExceptionGroup("unhandled errors in a TaskGroup", [ValueError(), error])):
        short = short_of(shown)
        assert short is not None
        assert "gives prx no more memory" in short.message


OTHERS = {
    "another error of the interpreter": SystemError("bad argument to internal function"),
    "another error of the system": OSError(errno.EPERM, "no"),
    "a defect": ValueError(),
    "raised in place of it, for good": behind(MemoryError(), ValueError("what was found"), "none"),
    "raised when nothing had come": behind(BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), TimeoutError()),
}


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
def test_a_defect_is_none(error: Exception) -> None:
    """What else goes wrong is not blamed on the machine."""
    assert not lacks_memory(error)
    assert short_of(error) is None
