"""What can come out of asking one connector for one capability."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """The word in a cell of the table."""

    OK = "ok"
    DIFFERS = "differs"
    NOT_CARRIED = "not carried"
    NOT_APPLICABLE = "–"
    NOT_AVAILABLE = "not available"


_WORST_FIRST = (Verdict.NOT_AVAILABLE, Verdict.DIFFERS, Verdict.NOT_CARRIED, Verdict.OK, Verdict.NOT_APPLICABLE)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts; what does not apply says nothing."""
    return min(verdicts, key=_WORST_FIRST.index)


@dataclass(frozen=True)
class Outcome:
    """A verdict, and what was seen where it is not `ok`."""

    verdict: Verdict
    seen: str = ""


class NotCarriedError(Exception):
    """It did not arrive, and nothing else was disturbed: this way through the tunnel has no room for it."""


class NotAvailableError(Exception):
    """The column cannot be measured here; the text says why."""
