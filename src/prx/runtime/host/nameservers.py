"""Which nameservers this machine asks, by resolv.conf(5): with other ones an outage may be over, and no route shows that."""

from __future__ import annotations

from pathlib import Path


class Nameservers:
    """The nameservers in the file at `path`, a link as a rule. It is read again only if it is another file, or was written to.

    A file that cannot be read, or names none, is being written: then the former ones count.
    """

    def __init__(self, path: Path = Path("/etc/resolv.conf")) -> None:
        self._path = path
        self._version: tuple[int, ...] = ()
        self._known: tuple[str, ...] = ()
        self.have_changed()

    def have_changed(self) -> bool:
        """Return whether others are named there than when this was asked last."""
        try:
            facts = self._path.stat()
            version = (facts.st_dev, facts.st_ino, facts.st_mtime_ns, facts.st_size)
            if version == self._version:
                return False
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return False
        self._version = version
        found = tuple(words[1] for words in map(str.split, lines) if len(words) > 1 and words[0] == "nameserver")
        changed = bool(found) and found != self._known
        self._known = found or self._known
        return changed
