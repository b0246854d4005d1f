"""Which running prx is which: one configuration, one instance, one lock and one control socket.

The key is made from the configuration file if there is one, else from `local_addr`. An address given on the command line in
place of the one in the file makes another configuration of it, and so another instance.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Instance(Value):
    """The files of one instance, in the runtime directory `folder`."""

    folder: Path
    key: str

    @property
    def socket(self) -> Path:
        """Return the path of the control socket."""
        return self.folder / f"{self.key}.sock"

    @property
    def lock(self) -> Path:
        """Return the path of the lock."""
        return self.folder / f"{self.key}.lock"


def instance_key(config: Path | None, local_addr: str) -> str:
    """Return a file name without extension, readable and unique, for the configuration in `config` and `local_addr`.

    `local_addr` is empty if the one in the file counts.
    """
    where = "" if config is None else str(config.resolve())
    digest = hashlib.sha256(os.fsencode(f"{where}\0{local_addr}")).hexdigest()[:10]  # names of files need not be text
    label = local_addr or (config.stem if config else "")
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", label).strip("-.")[:40]
    return f"{readable or 'prx'}-{digest}"


def sockets(folder: Path) -> list[Path]:
    """List the control sockets in `folder`, also those that a killed prx left behind; OSError if it cannot be read.

    No such folder, or something else in its place: there is none.
    """
    try:
        with os.scandir(folder) as items:
            return sorted(Path(item.path) for item in items if item.name.endswith(".sock") and _is_socket(item))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_socket(item: os.DirEntry[str]) -> bool:
    try:
        return stat.S_ISSOCK(item.stat(follow_symlinks=False).st_mode)
    except FileNotFoundError:  # its prx has ended since the folder was read
        return False
