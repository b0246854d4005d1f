"""TLS with a service whose certificates are rotated: each connection is checked with what `origin_ca` holds by then."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

from prx.files.fingerprint import content_fingerprint
from prx.runtime.probes.connect import FailureKind, ProbeError, verifying_tls
from prx.runtime.probes.origin import Trust


class LiveTls:
    """The context of a service on `host`; a file that cannot be used is reported to `say`, once, and changes nothing.

    With nothing that it held before, the system's CAs alone are trusted, as the connector without a relay would do.
    """

    def __init__(self, trust: Trust, host: str, say: Callable[[str], None]) -> None:
        self._trust, self._host, self._say = trust, host, say
        self._facts: tuple[int, ...] | None = None
        self._context: ssl.SSLContext | None = None

    def require(self) -> None:
        """Read the file; raise ProbeError if it cannot be used."""
        self._read(_facts(self._trust.ca_file))

    def context(self) -> ssl.SSLContext:
        """Return what the next connection is made with."""
        if (facts := _facts(self._trust.ca_file)) != self._facts:
            try:
                self._read(facts)
            except ProbeError as error:
                if error.trouble is not FailureKind.SHORT:
                    self._say(f"{error.words}; what was trusted before stays in force")
        return self._context or verifying_tls()

    def _read(self, facts: tuple[int, ...]) -> None:
        """Read the file with these facts; if there is nothing left to read it with now, the next connection tries again."""
        try:
            self._context = self._trust.context(self._host)
        except ProbeError as error:
            self._facts = self._facts if error.trouble is FailureKind.SHORT else facts
            raise
        self._facts = facts


def _facts(file: Path | None) -> tuple[int, ...]:
    try:
        return () if file is None else content_fingerprint(file.stat())
    except OSError:
        return ()
