"""The place that a value came from, and a mistake together with its place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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


class Origins(Mapping[str, Origin]):
    """The origin of every key by its dotted name; kept of those alone that something names, as most have their default.

    shared: the keys of the whole prx. tables: the names of those of tunnels; each has the keys `of_table`. written: the origins
    of all keys that are written somewhere; those of other names are left out.
    """

    def __init__(
        self, *, shared: Iterable[str], tables: Iterable[str], of_table: Iterable[str], written: Mapping[str, Origin]
    ) -> None:
        self._shared = dict.fromkeys(shared)
        self._tables = dict.fromkeys(tables)
        self._of_table = dict.fromkeys(of_table)
        self._written = {name: origin for name, origin in written.items() if self._is_key(name)}

    def __getitem__(self, name: str) -> Origin:
        if (origin := self._written.get(name)) is not None:
            return origin
        if self._is_key(name):
            return DEFAULT
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        yield from self._shared
        for table in self._tables:
            yield from (f"{table}.{name}" for name in self._of_table)

    def __len__(self) -> int:
        return len(self._shared) + len(self._tables) * len(self._of_table)

    def _is_key(self, name: str) -> bool:
        ends = [at for at, letter in enumerate(name) if letter == "."]
        return name in self._shared or any(name[:at] in self._tables and name[at + 1 :] in self._of_table for at in ends)


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
