"""What a check found out."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import Any


class Mark(enum.StrEnum):
    """The verdict of a check; the words are part of `prx doctor --json`."""

    OK = "ok"
    WARN = "warn"  # works, but something will surprise
    FAIL = "fail"  # this keeps the tunnel from working
    SKIP = "skip"  # could not be checked, or does not concern this set-up


@dataclass(frozen=True, slots=True)
class Finding:
    """One result. `check` names the check, `tunnel` the tunnel that it concerns (empty: the machine).

    `words` is one line for people, and `remedy` what they can do (may be empty).
    """

    check: str
    verdict: Mark
    words: str
    remedy: str = ""
    tunnel: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the public form."""
        return asdict(self)
