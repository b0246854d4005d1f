"""The incidents that were reported and are not over, kept in a file: the end of each is reported by the prx that sees it.

Without it a receiver that heard of trouble would never hear of its end if prx was killed meanwhile, or restarted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from prx.runtime.host.statefile import StateFile

if TYPE_CHECKING:
    from prx.core.incidents import Open


class OpenIncidents:
    """The open incidents of one prx, by tunnel, in the file at `path` (None: nothing is kept).

    `is_known` returns whether there is still a tunnel of that name. A file that cannot be read or written is as good as none.
    """

    def __init__(self, path: Path | None, is_known: Callable[[str], bool]) -> None:
        self._file = None if path is None else StateFile(path)
        self._is_known = is_known
        self._last: dict[str, Open | None] = {}

    def of(self, tunnel: str) -> Open | None:
        """Return the incident of a tunnel that was reported, by this prx or an earlier one, and is not over."""
        if tunnel not in self._last:
            self._last[tunnel] = self._read(tunnel)
        return self._last[tunnel]

    def _read(self, tunnel: str) -> Open | None:
        if self._file is None:
            return None
        from prx.core.incidents import Open  # noqa: PLC0415 - see prx.runtime.hooks.chosen

        match self._file.load().get(tunnel):
            case {"since": float() | int() as since, "verdicts": [*verdicts]} if 0 < since < 1e11:
                return Open(float(since), tuple(item for item in verdicts if isinstance(item, str)))
        return None

    def keep(self, tunnel: str, incident: Open | None) -> None:
        """Keep what is open of a tunnel now; None: nothing is."""
        if self._file is None or incident == self.of(tunnel):
            return
        self._last[tunnel] = incident
        before = self._file.load()
        after = {name: item for name, item in before.items() if name != tunnel and self._is_known(name)}
        if incident is not None:
            after[tunnel] = {"since": incident.since, "verdicts": list(incident.verdicts)}
        if after != before:
            self._file.save(after)

    def retry(self) -> None:
        """Write what could not be written."""
        if self._file is not None:
            self._file.retry()
