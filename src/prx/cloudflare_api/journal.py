"""What prx made at Cloudflare, by host name, in `setups.json` of the data directory: private, always whole.

Theory of operation. Before each request that creates something the *intent* is written (a name of its own, or a
mark), after it the id. Whatever happens in between — an error, a lost answer, `kill -9` — the next run finds the thing by its
name and goes on. The file is a hint about whose things are, never the truth about what there is: that is what Cloudflare
answers. It holds no secret.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from prx.config.this_machine import is_this_machine
from prx.core.errors import PermanentError
from prx.core.parsing import parse_json
from prx.files.reading import read_plain
from prx.files.replace import write_whole

FILE_NAME: Final = "setups.json"
_LIMIT: Final = 4 << 20
_VERSION: Final = 1


@dataclass
class TokenMemory:
    """A service token of ours: its id once it is known, and whether its secret has reached its owner."""

    id: str = ""
    delivered: bool = False
    kept_as: str = ""


@dataclass
class Memory:
    """One host name. An id is empty while there is only the intent.

    former_records: the records that the user let us overwrite, whole, to be given back. pin: the one-time PIN was switched on
    by us. secret: the entry of the secrets manager that holds the tunnel's token. file: where the tunnel was written.
    """

    hostname: str
    api: str
    account_id: str = ""
    zone_id: str = ""
    tunnel_name: str = ""
    tunnel_id: str = ""
    record_id: str = ""
    former_records: list[dict[str, Any]] = field(default_factory=list)
    app_name: str = ""
    app_id: str = ""
    aud: str = ""
    service_tokens: dict[str, TokenMemory] = field(default_factory=dict)
    public_paths: list[str] = field(default_factory=list)
    pin: bool = False
    pin_id: str = ""
    secret: str = ""
    file: str = ""


class Journal:
    """The file in the data directory `folder`; PermanentError if it cannot be read, as what is ours would be unknown.

    Who changes it holds the lock of set-ups: each change reads, changes and replaces the whole.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def find(self, hostname: str, api: str) -> Memory:
        """Return what is known about a host name at an API; an empty memory if nothing is."""
        return next((item for item in self.all() if (item.hostname, item.api) == (hostname, api)), Memory(hostname, api))

    def all(self) -> list[Memory]:
        """Return everything that is known."""
        return [memory for item in self._load() if (memory := _memory(item)) is not None]

    def keep(self, memory: Memory) -> None:
        """Write what is known about one host name, at once; what belonged to a lab that is gone is dropped with it."""
        others = [item for item in self.all() if not _same(item, memory) and not _stale(item, memory)]
        self._save([*others, memory])

    def forget(self, memory: Memory) -> None:
        """Drop a host name."""
        self._save([item for item in self.all() if not _same(item, memory)])

    def _save(self, memories: list[Memory]) -> None:
        document = {"version": _VERSION, "setups": [asdict(item) for item in memories]}
        write_whole(self.path, json.dumps(document, indent=1, ensure_ascii=False).encode(), beside=f".{FILE_NAME}.new")

    def _load(self) -> Iterator[Mapping[str, Any]]:
        try:
            document = parse_json(read_plain(self.path, limit=_LIMIT, ours=True))
            items = document["setups"]
            assert isinstance(items, list)
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AssertionError):
            raise PermanentError(
                f"{self.path}: expected the JSON that prx wrote, found something else",
                hint="restore it, or move it away: prx then knows its own things at Cloudflare by their names alone",
            ) from None
        yield from (item for item in items if isinstance(item, dict))


def _same(one: Memory, other: Memory) -> bool:
    return (one.hostname, one.api) == (other.hostname, other.api)


def _stale(item: Memory, current: Memory) -> bool:
    """Return whether this belongs to an earlier lab: each has another port, and ends with its process."""
    lab = is_this_machine(urlsplit(item.api).hostname or "") and is_this_machine(urlsplit(current.api).hostname or "")
    return lab and item.api != current.api and item.hostname == current.hostname


def _memory(item: Mapping[str, Any]) -> Memory | None:
    known = {field.name for field in fields(Memory)}
    values = {name: value for name, value in item.items() if name in known}
    if not isinstance(values.get("hostname"), str) or not isinstance(values.get("api"), str):
        return None
    tokens = values.pop("service_tokens", None)
    memory = Memory(**values)
    for name, kept in tokens.items() if isinstance(tokens, dict) else ():
        if isinstance(kept, dict):
            memory.service_tokens[name] = TokenMemory(
                str(kept.get("id", "")), kept.get("delivered") is True, str(kept.get("kept_as", ""))
            )
    return memory
