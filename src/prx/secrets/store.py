"""The secrets file: named secrets, encrypted together, in `secrets.enc` of the data directory.

Every change reads, changes and replaces the whole file under a lock, and keeps the previous file as `secrets.enc.prev`. A file
that does not open is never written over. The key is found before the lock is taken (a person may sit at a password prompt), and
read again under it. `rotate` writes both files again under a new key, so that nothing on disk opens with the old one any
more. A key leaves the keyring only when neither file names it.

An entry's expiry is a reminder that `prx secret list` shows; an expired secret is still given out, since only its issuer knows
whether it works, and a running tunnel must not fall over a date.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prx.core.deadline import Deadline
from prx.core.parsing import parse_json
from prx.files.presence import is_there
from prx.secrets import FILE_NAME
from prx.secrets.crypto import Envelope, KeySpec, seal
from prx.secrets.errors import (
    DamagedFileError,
    SecretError,
    SecretNotFoundError,
    SecretShortageError,
    WrongKeyError,
    secret_error,
)
from prx.secrets.files import MAX_SECRET_BYTES, read_private, write_private
from prx.secrets.keys import KeyFinder
from prx.secrets.value import Secret

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOCK_PAUSE: Final = 0.02  # seconds between two tries for the lock, which is held for milliseconds


@dataclass(frozen=True, slots=True)
class Entry:
    """One secret and its dates, all in UTC."""

    value: Secret
    created: datetime
    updated: datetime
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Opened:
    entries: dict[str, Entry]
    spec: KeySpec
    key: bytes
    sealed: bytes


def require_name(name: str) -> None:
    """Raise SecretError if `name` cannot name an entry."""
    if not _NAME.fullmatch(name):
        raise SecretError(
            f"{name!r} cannot name a secret: expected up to 64 letters, digits, dots, dashes or underscores, "
            "a letter or digit first"
        )


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SecretStore:
    """Read and change the secrets file in `folder`; nothing is touched before the first call.

    `now` returns the time for the entries' dates, `lock_timeout` is in seconds.
    Methods raise SecretError (see `prx.secrets.errors`), always naming the file.
    """

    def __init__(
        self,
        folder: Path,
        keys: KeyFinder,
        *,
        now: Callable[[], datetime] = _utc_now,
        lock_timeout: float = 10.0,
    ) -> None:
        self.path = folder / FILE_NAME
        self.previous_path = folder / f"{FILE_NAME}.prev"
        self._lock_path = folder / f"{FILE_NAME}.lock"
        self._keys = keys
        self._now = now
        self._lock_timeout = lock_timeout
        self._found: dict[KeySpec, bytes] = {}

    def entries(self) -> Mapping[str, Entry]:
        """Return all entries by name, sorted; none when there is no file yet."""
        opened = self._open()
        return dict(sorted(opened.entries.items())) if opened else {}

    def get(self, name: str) -> Entry:
        """Return one entry; SecretNotFoundError when there is none of this name."""
        entries = self.entries()
        if name not in entries:
            raise self._missing(name)
        return entries[name]

    def set(self, name: str, value: Secret, *, expires: datetime | None = None) -> Entry:
        """Store a secret under a new or a known name; the first one makes the file."""
        require_name(name)
        if not 0 < len(value.reveal().encode()) <= MAX_SECRET_BYTES:
            raise SecretError(f"the value for {name!r} is empty or larger than {MAX_SECRET_BYTES} bytes")
        with self._changing(create=True) as opened:
            now, old = self._now(), opened.entries.get(name)
            entry = opened.entries[name] = Entry(value, old.created if old else now, now, expires)
            self._write(opened)
        return entry

    def prepare(self) -> None:
        """Write the file as it is, or an empty one: what would keep a later `set` from working fails now."""
        with self._changing(create=True) as opened:
            self._write(opened)

    def delete(self, name: str) -> None:
        """Remove an entry; SecretNotFoundError when there is none of this name."""
        with self._changing() as opened:
            if opened.entries.pop(name, None) is None:
                raise self._missing(name)
            self._write(opened)

    def rotate(self, *, want_keyring: bool | None = None, password: Secret | None = None) -> None:
        """Encrypt everything again under a new key (see `KeyFinder.create`), the previous copy too."""
        old = self._open_existing()
        with self._naming_file():
            spec, key = self._keys.create(want_keyring=want_keyring, password=password)
        try:
            with self._locked():
                renewed = replace(self._open_existing(), spec=spec, key=key)
                self._put(self.previous_path, self._write(renewed))
        finally:
            self._forget_unless_used(spec)
            self._forget_unless_used(old.spec)

    def key_is_password(self) -> bool | None:
        """Return whether a master password opens the file; None when there is no file yet."""
        spec = self._spec_of(self.path)
        return spec.is_password if spec else None

    @contextlib.contextmanager
    def _changing(self, *, create: bool = False) -> Iterator[_Opened]:
        opened = self._open() if create else self._open_existing()
        made = None if opened else self._make_key()
        try:
            with self._locked():
                opened = self._open()
                if opened is None and made:
                    opened = _Opened({}, *made, b"")
                yield opened or self._open_existing()
        finally:
            if made:
                self._forget_unless_used(made[0])  # another process may have made the file meanwhile

    def _make_key(self) -> tuple[KeySpec, bytes]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise secret_error(f"{self.path.parent}: cannot be made: {(error.strerror or 'error').lower()}", error) from None
        with self._naming_file():
            return self._keys.create()

    def _forget_unless_used(self, spec: KeySpec) -> None:
        if spec.is_password:
            return
        with contextlib.suppress(SecretError):  # a file that cannot be read may still name the key: keep it
            if spec not in {self._spec_of(self.path), self._spec_of(self.previous_path)}:
                self._found.pop(spec, None)
                self._keys.forget(spec)

    def _spec_of(self, path: Path) -> KeySpec | None:
        parsed = self._parse(path)
        return parsed[0].spec if parsed else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(self._lock_path, flags, 0o600)
        except OSError as error:
            raise secret_error(f"{self._lock_path}: cannot be locked: {(error.strerror or 'error').lower()}", error) from None
        try:
            deadline = Deadline(time.monotonic, self._lock_timeout)
            while not _try_lock(descriptor):
                if deadline.is_over:
                    raise SecretError(f"{self.path}: another process has been changing it for {self._lock_timeout:g} seconds")
                time.sleep(_LOCK_PAUSE)
            yield
        finally:
            os.close(descriptor)  # gives the lock back

    def _parse(self, path: Path) -> tuple[Envelope, bytes] | None:
        try:
            if not is_there(path):
                return None
        except OSError as error:
            raise secret_error(f"{path}: {(error.strerror or 'error').lower()}", error) from None
        content = read_private(path, limit=MAX_FILE_BYTES)
        with self._naming_file():
            return Envelope.parse(content), content

    def _open(self) -> _Opened | None:
        parsed = self._parse(self.path)
        if parsed is None:
            return None
        envelope, content = parsed
        with self._naming_file():
            key = self._found.get(envelope.spec) or self._keys.find(envelope.spec)
            entries = _decode(envelope.open(key))
        self._found[envelope.spec] = key
        return _Opened(entries, envelope.spec, key, content)

    def _open_existing(self) -> _Opened:
        opened = self._open()
        if opened is None:
            raise SecretError(f"{self.path}: there is no secrets file yet", hint="prx secret set NAME makes it")
        return opened

    @contextlib.contextmanager
    def _naming_file(self) -> Iterator[None]:
        """Put the file's name before what is wrong with it, and a way back after it."""
        try:
            yield
        except WrongKeyError as error:
            hint = error.hint or "wrong master password (or PRX_MASTER_KEY); nothing was changed"
            raise WrongKeyError(f"{self.path}: {error.message}", hint=hint) from None
        except DamagedFileError as error:
            hint = f"nothing was changed; the previous copy is {self.previous_path}" if self.previous_path.exists() else ""
            raise DamagedFileError(f"{self.path}: {error.message}", hint=hint) from None
        except SecretError as error:
            kind = SecretShortageError if isinstance(error, SecretShortageError) else SecretError
            raise kind(f"{self.path}: {error.message}", hint=error.hint) from None

    def _write(self, opened: _Opened) -> bytes:
        """Replace the file, keeping what it held as the previous copy; return what was written."""
        content = seal(_encode(opened.entries), opened.spec, opened.key)
        if len(content) > MAX_FILE_BYTES:
            raise SecretError(f"{self.path}: would grow to {len(content)} bytes, expected at most {MAX_FILE_BYTES}")
        if opened.sealed:
            self._put(self.previous_path, opened.sealed)
        self._put(self.path, content)
        self._found[opened.spec] = opened.key
        return content

    def _put(self, path: Path, content: bytes) -> None:
        try:
            write_private(path, content)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise secret_error(f"{path}: cannot be written: {reason}", error, hint="what it held is still there") from None

    def _missing(self, name: str) -> SecretNotFoundError:
        return SecretNotFoundError(f"there is no secret {name!r} in {self.path}", hint="prx secret list shows the names")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _encode(entries: Mapping[str, Entry]) -> bytes:
    def rendered(entry: Entry) -> dict[str, str | None]:
        return {
            "value": entry.value.reveal(),
            "created": entry.created.isoformat(),
            "updated": entry.updated.isoformat(),
            "expires": entry.expires.isoformat() if entry.expires else None,
        }

    return json.dumps({name: rendered(entry) for name, entry in entries.items()}).encode()


def _decode(plain: bytes) -> dict[str, Entry]:
    def parsed(fields: dict[str, str]) -> Entry:
        created, updated = (datetime.fromisoformat(fields[name]) for name in ("created", "updated"))
        expires = datetime.fromisoformat(fields["expires"]) if fields["expires"] else None
        return Entry(Secret(fields["value"]), created, updated, expires)

    try:
        return {name: parsed(fields) for name, fields in parse_json(plain).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DamagedFileError("opens, but does not hold what prx writes") from None
