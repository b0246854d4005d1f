"""What became of the tunnels: which were verified, which failed for good and why; and the one reason a command ends with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from prx.core.errors import PermanentError, PrxError
from prx.core.events import Event, StateChanged, UrlChanged, VerdictChanged
from prx.core.states import State
from prx.ui.errors import print_error


class Outcome:
    """Follow the tunnels called `names`; `on_settled()` is called once, when each was verified or has failed."""

    def __init__(self, names: Iterable[str], on_settled: Callable[[], None] = lambda: None) -> None:
        self.urls: dict[str, str] = {}
        self.failures: dict[str, PermanentError] = {}
        self._waiting = set(names)
        self._named = len(self._waiting) > 1
        self._on_settled = on_settled
        self._verdicts: dict[str, tuple[str, str]] = {}  # code and hint

    def see(self, event: Event) -> None:
        """Take in an event."""
        fact = event.fact
        match fact:
            case UrlChanged(url=url):
                self.urls[fact.tunnel] = url
                self._settle(fact.tunnel)
            case VerdictChanged(new=verdict, hint=hint):
                self._verdicts[fact.tunnel] = (verdict, hint)
            case StateChanged(new=State.FAILED, reason=reason):
                named = f"{fact.tunnel}: {reason}" if self._named else reason
                code, hint = self._verdicts.get(fact.tunnel, ("", ""))
                self.failures[fact.tunnel] = PermanentError(named, hint=hint, code=code)
                self._settle(fact.tunnel)
            case StateChanged(new=State.STARTING):
                self.failures.pop(fact.tunnel, None)

    def raise_failures(self) -> NoReturn:
        """Print every failure but the last, and raise that one."""
        *others, last = self.failures.values() or [PermanentError("no tunnel is left that could run")]
        for failure in others:
            print_error(failure)
        raise last

    def _settle(self, name: str) -> None:
        if name in self._waiting:
            self._waiting.discard(name)
            if not self._waiting:
                self._on_settled()


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first PrxError in a group, else its first exception: one command ends with one reason."""
    found = [group.exceptions[0]]
    known = group.subgroup(PrxError)
    if known is not None:
        found = list(known.exceptions)
    first = found[0]
    return first_error(first) if isinstance(first, BaseExceptionGroup) else first
