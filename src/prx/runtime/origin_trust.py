"""The certificates that a service is trusted for (`origin_ca`): usable at a start, and still those that a connector has read.

A connector reads the file once. If it is rotated, a connector that goes on checks with the old ones, and refuses a service that
has a new certificate. What is written in its place and holds no certificate changes nothing for what runs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError, PrxError, refused
from prx.core.value import Value, value_class
from prx.files.fingerprint import content_fingerprint
from prx.files.reading import LARGEST_CA_FILE, read_plain
from prx.runtime.context import TunnelContext
from prx.runtime.probes.connect import FailureKind, ProbeError, origin_tls


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Rotated(Value):
    """The file holds others than the connector has read. `trouble`: why they cannot be used, empty if they can."""

    trouble: str = ""

    def words(self, context: TunnelContext) -> tuple[str, str]:
        """Return the level and the text of the line that reports it, and what it costs to take the new ones."""
        file = context.settings.origin_ca
        if self.trouble:
            return "error", f"{self.trouble}; the connector that runs goes on with what the file held before"
        if context.backend.can_overlap:
            return "info", f"origin_ca has changed: a new connector, which reads {file}, takes the place of each that runs"
        costs = ", and changes the URL" if context.backend.url_is_temporary else ""
        words = f"the connector that runs has read the former file: prx restart {context.name} takes the new one{costs}"
        return "warn", f"origin_ca has changed ({file}); {words}"


def require_origin_ca(settings: TunnelSettings) -> None:
    """Raise PermanentError if the certificate of the service is to be checked with a file that cannot be used.

    ShortageError if this machine has too little to read it for now.
    """
    if not is_checked(settings):
        return
    try:
        origin_tls(Path(settings.origin_ca))
    except ProbeError as error:
        raise unusable(error, error.words) from error


def unusable(error: ProbeError, message: str) -> PrxError:
    """Return what is raised for a file of certificates that `error` speaks of: not for good if the machine lacks something."""
    if error.trouble is FailureKind.SHORT:
        return refused(message, error.__cause__ or error, kind=PrxError)
    return PermanentError(message, hint=error.hint)


def is_checked(settings: TunnelSettings) -> bool:
    """Return whether the certificate of the service is checked with a file."""
    return bool(settings.origin_ca) and settings.origin.scheme == "https" and settings.origin_is_verified


class OriginTrust:
    """What `origin_ca` held when the child of one connector was started."""

    def __init__(self) -> None:
        self._facts: tuple[int, ...] = ()
        self._read = ""  # by the child that lives
        self._held = ""  # at the last report
        self._settling: tuple[int, ...] = ()  # at the last check
        self._seen: tuple[int, ...] = ()  # when the configuration was last examined

    def started(self, settings: TunnelSettings) -> None:
        """Take note of the file as it is now: a child is about to read it."""
        self._facts = self._settling = self._seen = _facts(settings)
        self._read = self._held = _digest(settings)

    def differs(self, settings: TunnelSettings) -> bool:
        """Return whether the file holds other certificates than the living child has read; not if it cannot be read."""
        now = _digest(settings)
        return bool(now) and now != self._read

    def has_changed(self, settings: TunnelSettings) -> bool:
        """Return whether the file was changed since the last check or start, for a tunnel that waits for that."""
        before, self._seen = self._seen, _facts(settings)
        return self._seen != before

    def rotated(self, settings: TunnelSettings) -> Rotated | None:
        """Return, once for each change, that the living child has read other certificates; None if it has not.

        One that has changed since the last check may still be written: nothing is known of it yet.
        """
        now, before = _facts(settings), self._settling
        self._settling = now
        if now != before or now == self._facts:
            return None
        try:
            require_origin_ca(settings)
        except PermanentError as error:
            self._facts = now
            return Rotated(error.message)
        except PrxError:  # it cannot be read now: the next check tries again
            return None
        self._facts = now
        held, self._held = self._held, _digest(settings)
        return None if held == self._held else Rotated()


def _facts(settings: TunnelSettings) -> tuple[int, ...]:
    """Return what changes with the file; empty if there is none, or none is used."""
    if not is_checked(settings):
        return ()
    try:
        return content_fingerprint(Path(settings.origin_ca).stat())
    except OSError:
        return ()


def _digest(settings: TunnelSettings) -> str:
    if not is_checked(settings):
        return ""
    try:
        return hashlib.sha256(read_plain(settings.origin_ca, limit=LARGEST_CA_FILE)).hexdigest()
    except (OSError, PrxError):
        return ""
