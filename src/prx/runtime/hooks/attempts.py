"""How often a delivery that fails is tried: a few times at once, then now and then for as long as it may be wanted.

Theory of operation. A receiver that is just being restarted is back within `RETRIES`. Another one, or a network that is away
(often the very trouble that is to be reported), takes longer. So what could not be delivered is kept: it is tried again after
the waits of `LATER`, and at once when it is `woken`, by the network's return or by something new for the same receiver. It ends
with success, with a refusal, when it is not wanted any more, and after `KEPT_SECONDS` at the latest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from prx.core.backoff import Schedule
from prx.core.durations import in_whole_words
from prx.core.value import Value, value_class
from prx.runtime.alarm import Alarm
from prx.runtime.hooks.kinds import HookError
from prx.runtime.host.clock import Clock

RETRIES: Final = Schedule((1.0, 5.0, 15.0))

LATER: Final = Schedule((60.0, 120.0, 300.0, 600.0, 900.0))
"""A quarter of an hour at most: a hundred requests a day burden no receiver, and none is back for long without the news."""

KEPT_SECONDS: Final = 24 * 3600.0
"""For how long a delivery is kept at most, counted also while the machine sleeps."""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Outcome(Value):
    """What came of so many tries: `trouble` is what went wrong in the last one, empty if it worked. kept: it is tried again."""

    tries: int
    trouble: str = ""
    kept: bool = False


async def deliver_repeatedly(deliver: Callable[[], Awaitable[None]], clock: Clock) -> Outcome:
    """Call `deliver` until it works or the waits of `RETRIES` are used up."""
    tries = 1
    while True:
        outcome, again = await _try(deliver, tries)
        if not again or tries > len(RETRIES.delays):
            return outcome
        await clock.sleep(RETRIES.delay(tries))
        tries += 1


async def deliver_in_the_end(
    deliver: Callable[[bool], Awaitable[None]],
    clock: Clock,
    woken: Alarm,
    *,
    report: Callable[[Outcome], None],
    is_wanted: Callable[[], bool],
    superseded: Callable[[float], str] = lambda _: "",
) -> bool:
    """Call `deliver(late)` until it works or there is no more point in it; return whether it has worked.

    `report` gets the outcome of the first tries, and, if it was kept, that of the last one. `is_wanted` is asked before each
    later try, and ends it without a word. `superseded(seconds)` is asked after one that failed, with how long it has been kept:
    it returns why that was the last one, empty if it was not.
    """
    woken.clear()
    outcome = await deliver_repeatedly(lambda: deliver(False), clock)
    report(outcome)
    since, waits = clock.boottime(), 0
    while outcome.kept:
        waits += 1
        await woken.unless(clock.sleep(LATER.delay(waits)))
        if woken.is_set():
            woken.clear()
            waits = 0
        if not is_wanted():
            return False
        outcome, _ = await _try(lambda: deliver(True), outcome.tries + 1)
        kept = clock.boottime() - since
        why = f"dropped after {in_whole_words(KEPT_SECONDS)}" if kept >= KEPT_SECONDS else superseded(kept)
        if outcome.kept and why:
            outcome = Outcome(outcome.tries, f"{why}: {outcome.trouble}")
        if not outcome.kept:
            report(outcome)
    return not outcome.trouble


async def _try(deliver: Callable[[], Awaitable[None]], number: int) -> tuple[Outcome, bool]:
    """Deliver once; return what came of it, and whether another try soon may help."""
    try:
        await deliver()
    except HookError as error:
        return Outcome(number, str(error), kept=not (error.permanent or error.refused)), not error.permanent
    except Exception as error:  # noqa: BLE001 - a defect in a hook must not end the supervision of all tunnels
        return Outcome(number, f"{type(error).__name__}: {error}"), True
    return Outcome(number), False
