"""The place that a value came from, and a mistake together with its place."""

from __future__ import annotations

from typing import Final, Literal

from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Origin(Value):
    """The place that a value came from. `place`: the file or the variable; `line`: counted from 1, 0 if there is none."""

    kind: Literal["default", "file", "environment", "command line"]
    place: str = ""
    line: int = 0

    def __str__(self) -> str:
        if self.kind == "environment":
            return f"environment variable {self.place}"
        if self.kind == "file":
            return f"{self.place}:{self.line}" if self.line else self.place
        return self.kind


DEFAULT: Final = Origin("default")
COMMAND_LINE: Final = Origin("command line")
_RANKS: Final = ("default", "file", "environment", "command line")


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Problem(Value):
    """One mistake: its place, the dotted name of the key, and what is wrong, as a text that completes `KEY: …`."""

    origin: Origin
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.key}: {self.text}"

    @property
    def order(self) -> tuple[int, int, str]:
        """Sort by source, then by line."""
        return _RANKS.index(self.origin.kind), self.origin.line, self.key
