"""One tunnel under two names: what no file declares was called `default` by older prx, and has the name of its port now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from prx.history.records import Record

_OLD: Final = "default"


def under_one_name(records: Sequence[Record]) -> None:
    """Rename the tunnel `default` in records to what it is called now, if all prx that wrote them served one address alone.

    `records` are those of one key, and are changed in place.
    """
    served = [_served(record.get("tunnels")) for record in records if record["event"] == "prx_started"]
    if not served or None in served or len({address for _, address in filter(None, served)}) != 1:
        return
    names = [name for name, _ in filter(None, served)]
    if names[-1] == _OLD or not {*names, *_named(records)} <= {_OLD, names[-1]}:
        return
    for record in records:
        if record.get("tunnel") == _OLD:
            record["tunnel"] = names[-1]
        elif record["event"] == "prx_started":
            record["tunnels"] = dict(zip([names[-1]], record["tunnels"].values(), strict=True))


def _served(tunnels: object) -> tuple[str, str] | None:
    """Return name and address of the only tunnel that a prx served."""
    if not isinstance(tunnels, dict) or len(tunnels) != 1:
        return None
    ((name, address),) = tunnels.items()
    return str(name), str(address)


def _named(records: Iterable[Record]) -> set[str]:
    return {str(record["tunnel"]) for record in records if record.get("tunnel")}
