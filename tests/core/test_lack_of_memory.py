"""A machine without memory is recognized as such, also if the interpreter lost the reason."""

from __future__ import annotations

import errno

import pytest

from prx.core.errors import lacks_memory
from prx.ui.errors import short_of

LACKS = {
    "Python's own": MemoryError(),
    "the system's": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "the dynamic loader's": ImportError("_struct.so: failed to map segment from shared object"),
    "lost in the interpreter": SystemError("error return without exception set"),
    "lost in a function": SystemError("<built-in function open> returned NULL without setting an exception"),
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


@pytest.mark.parametrize("error", [SystemError("bad argument to internal function"), OSError(errno.EPERM, "no"), ValueError()])
def test_a_defect_is_none(error: Exception) -> None:
    """What else goes wrong is not blamed on the machine."""
    assert not lacks_memory(error)
    assert short_of(error) is None
