"""Find the key of the secrets file: in the operating system's keyring, or by stretching a master password.

A new file gets, in this order: the password in PRX_MASTER_KEY where that is set (setting it is a wish, and automation must not
depend on a desktop), else a random key kept in the keyring, else a password that is asked for. An existing file says itself
what opens it. PRX_MASTER_KEY is always a password: any text does, also 32 random bytes as base64, and the same text typed at
the prompt opens the same file.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from prx.secrets.crypto import DEFAULT_COST, KEY_BYTES, Cost, KeySpec, stretch
from prx.secrets.errors import SecretError, WrongKeyError
from prx.secrets.value import Secret

SERVICE: Final = "prx"  # under this name the keyring shows our entries
MASTER_KEY_VARIABLE: Final = "PRX_MASTER_KEY"


AskPassword = Callable[[bool], Secret]


class Keyring(Protocol):
    """What we use of a backend of the `keyring` library."""

    def get_password(self, service: str, username: str) -> str | None:
        """Give what is stored, None when nothing is."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store it."""

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""


def system_keyring() -> Keyring | None:
    """Give the operating system's keyring, None where there is none that can be trusted to keep a key.

    The library ranks its backends: below 1 are those that store nothing, always fail, or write plain files.
    """
    try:
        import keyring  # noqa: PLC0415 - it looks through all installed backends, which costs every other command 0.1 s

        backend = keyring.get_keyring()
        return backend if backend.priority >= 1 else None
    except Exception:  # noqa: BLE001 - a third-party backend may raise anything; a broken keyring is no keyring
        return None


def password_user(keyring_id: str) -> str:
    """Name the keyring entry of a key."""
    return f"secrets file {keyring_id}"


@dataclass(frozen=True)
class KeyFinder:
    """Find existing keys and make new ones.

    `master_key` is the password from the environment; `ask` prompts for one, told whether a new one is chosen (None: nobody is
    there); `keyring` gives the keyring to use. SecretError when no way leads to a key, WrongKeyError when the keyring has none.
    """

    master_key: Secret | None = None
    ask: AskPassword | None = None
    keyring: Callable[[], Keyring | None] = system_keyring
    cost: Cost = DEFAULT_COST

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], ask: AskPassword | None = None) -> KeyFinder:
        """Take the master password from PRX_MASTER_KEY, where it is set and not empty; SecretError when it is no text."""
        try:
            return cls(Secret(environ.get(MASTER_KEY_VARIABLE, "")) or None, ask)
        except ValueError:
            raise SecretError(f"{MASTER_KEY_VARIABLE} is not UTF-8 text", hint="base64 makes text of any bytes") from None

    def find(self, spec: KeySpec) -> bytes:
        """Give the key of an existing file."""
        if not spec.is_password:
            return self._from_keyring(spec)
        return stretch(self._password(new=False).reveal(), spec)

    def create(self, *, want_keyring: bool | None = None, password: Secret | None = None) -> tuple[KeySpec, bytes]:
        """Make a new key, and the spec that will find it again.

        want_keyring: True for the keyring and nothing else, False for a password, None for the order above.
        password: the new master password, where it is known already.
        """
        use_password = password is not None or want_keyring is False or (want_keyring is None and self.master_key is not None)
        if not use_password and (made := self._create_in_keyring()):
            return made
        if want_keyring:
            raise SecretError("this machine has no keyring that can keep a key", hint="use a master password")
        spec = KeySpec.for_password(self.cost)
        return spec, stretch((password or self._password(new=True)).reveal(), spec)

    def forget(self, spec: KeySpec) -> None:
        """Remove a key that opens nothing any more from the keyring; silently, it is only tidiness."""
        try:
            if not spec.is_password and (backend := self.keyring()):
                backend.delete_password(SERVICE, password_user(spec.keyring_id))
        except Exception:  # noqa: BLE001, S110 - see system_keyring; a key left behind opens no file
            pass

    def _password(self, *, new: bool) -> Secret:
        password = self.master_key or (self.ask(new) if self.ask else None)
        if not password:
            raise SecretError(
                "needs its master password",
                hint=f"run the command on a terminal to be asked for it, or set {MASTER_KEY_VARIABLE}",
            )
        return password

    def _from_keyring(self, spec: KeySpec) -> bytes:
        backend = self.keyring()
        if backend is None:
            raise SecretError(
                "its key is in the keyring, which cannot be reached from here",
                hint="run this in the session of the desktop, or move to a password there: prx secret rotate --to password",
            )
        try:
            stored = backend.get_password(SERVICE, password_user(spec.keyring_id))
        except Exception as error:  # noqa: BLE001 - see system_keyring
            raise SecretError(f"the keyring does not answer ({type(error).__name__})", hint="is it locked?") from None
        return _decode(stored)

    def _create_in_keyring(self) -> tuple[KeySpec, bytes] | None:
        """Store a new key and read it back: only a keyring that really keeps it counts."""
        spec, key = KeySpec(keyring_id=secrets.token_hex(8)), os.urandom(KEY_BYTES)
        user, text = password_user(spec.keyring_id), base64.b64encode(key).decode()
        try:
            backend = self.keyring()
            if backend is None:
                return None
            backend.set_password(SERVICE, user, text)
            return (spec, key) if backend.get_password(SERVICE, user) == text else None
        except Exception:  # noqa: BLE001 - see system_keyring
            return None


def _decode(stored: str | None) -> bytes:
    try:
        key = base64.b64decode(stored or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        found = "no key" if stored is None else "something that is no key"
        raise WrongKeyError(f"the keyring has {found} for this secrets file")
    return key
