"""A part of prx that fails: it comes again if that can help, and is reported once for each cause."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from prx.core.errors import ConfigError, PermanentError, PrxError, UsageError
from prx.runtime.bulkhead import keep_running
from prx.runtime.host.clock import SystemClock


class Untimed(SystemClock):
    """A clock that does not wait; its waits are noted."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Note it."""
        self.waits.append(seconds)


def failing(*errors: Exception) -> Callable[[], Awaitable[None]]:
    """Work that fails so often, and then ends."""
    left = list(errors)

    async def work() -> None:
        if left:
            raise left.pop(0)

    return work


@pytest.mark.parametrize(
    "error", [PermanentError("no such module", hint="install it"), UsageError("a bad name", hint="rename"), ConfigError(["a"])]
)
async def test_what_only_comes_again_ends_the_part(error: PrxError) -> None:
    """A failure that is for good is reported with its remedy, and not tried again."""
    told: list[str] = []
    clock = Untimed()
    await keep_running("hooks", failing(error, error), clock, told.append)
    helps = f" (hint: {error.hint})" if error.hint else ""
    assert told == [f"hooks cannot run: {error.message}{helps}"]
    assert clock.waits == []


async def test_a_cause_is_reported_once_until_it_is_another() -> None:
    """A part that cannot run for hours writes no line a minute; what changes is reported, and also what comes back."""
    told: list[str] = []
    clock = Untimed()
    full, none = OSError(28, "No space left on device"), OSError(24, "Too many open files")
    await keep_running("log", failing(*[full] * 9, none, full, PrxError("x")), clock, told.append)
    assert [text.partition(": ")[2].partition(" (")[0] for text in told] == [
        "OSError: No space left on device", "OSError: Too many open files", "OSError: No space left on device", "PrxError: x",
    ]  # fmt: skip
    assert clock.waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
