"""A stop that comes while things come up."""

import asyncio

import pytest

from prx.app.stop_request import StopRequest


async def forever() -> None:
    """Wait for what does not come."""
    await asyncio.Event().wait()


async def done() -> None:
    """Wait for nothing."""


async def test_a_step_that_is_done_is_in_time() -> None:
    """Without a stop a step takes as long as it takes."""
    stop = StopRequest()
    assert await stop.in_time(done())
    assert not stop.made


async def test_a_stop_ends_the_step_under_way() -> None:
    """A wait for what does not come ends with the stop."""
    stop = StopRequest()
    asyncio.get_running_loop().call_soon(stop.make)
    assert not await stop.in_time(forever())


async def test_a_stop_ends_every_later_step() -> None:
    """A stop that came before a step, even before the first, ends that too."""
    stop = StopRequest()
    stop.make()
    assert not await stop.in_time(forever())
    assert not await stop.in_time(forever())


async def test_a_time_out_of_the_step_itself_is_no_stop() -> None:
    """What fails by its own time-out is reported as that, not taken for a stop."""

    async def late() -> None:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError, match="no answer"):
        await StopRequest().in_time(late())
