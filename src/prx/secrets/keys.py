"""Find the key of the secrets file: in the operating system's keyring, or by stretching a master password.

A new file gets, in this order: the password in PRX_MASTER_KEY if that is set (setting it is a wish, and automation must not
depend on a desktop), else a random key kept in the keyring, else a password that is asked for. An existing file says itself
what opens it. PRX_MASTER_KEY is always a password: any text does, also 32 random bytes as base64, and the same text typed at
the prompt opens the same file.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from prx.core.shortage import lack_behind, lack_of
from prx.secrets.blocking import call_with_timeout
from prx.secrets.crypto import DEFAULT_COST, KEY_BYTES, Cost, KeySpec, stretch
from prx.secrets.errors import SecretError, SecretShortageError, WrongKeyError, secret_error
from prx.secrets.value import Secret

T = TypeVar("T")

SERVICE: Final = "prx"  # under this name the keyring shows our entries
MASTER_KEY_VARIABLE: Final = "PRX_MASTER_KEY"
KEYRING_PATIENCE: Final = 30.0  # seconds: a person may have to type the keyring's own password into a dialogue

AskPassword = Callable[[bool], Secret]


class Keyring(Protocol):
    """What we use of a backend of the `keyring` library."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is stored, None when nothing is."""

    def set_password(self, service: str, username: str, password: str) -> None:
        """Store it."""

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""


def system_keyring() -> Keyring | None:
    """Return the operating system's keyring, None if there is none that can be trusted to keep a key; SecretShortageError.

    The library ranks its backends: below 1 are those that store nothing, always fail, or write plain files.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))  # without a descriptor it would find no backend, and remember that
        import keyring  # noqa: PLC0415 - it searches all installed backends, which costs every other command 0.1 s

        backend = keyring.get_keyring()
        return backend if backend.priority >= 1 else None
    except Exception as error:  # a third-party backend may raise anything; a broken keyring is no keyring
        if lack := lack_of(error) or lack_behind(error):
            raise SecretShortageError(f"this machine gives prx {lack.words}", hint=lack.hint) from error
        return None


def password_user(keyring_id: str) -> str:
    """Name the keyring entry of a key."""
    return f"secrets file {keyring_id}"


@dataclass(frozen=True, slots=True)
class KeyFinder:
    """Find existing keys and make new ones.

    `master_key` is the password from the environment; `ask` prompts for one, saying if a new one is chosen (None: no person is
    there); `keyring` returns the keyring to use, which may take `patience` seconds for an answer.

    SecretError when no way leads to a key, WrongKeyError when the keyring has none, SecretShortageError when it cannot be asked
    for now.
    """

    master_key: Secret | None = None
    ask: AskPassword | None = None
    keyring: Callable[[], Keyring | None] = system_keyring
    cost: Cost = DEFAULT_COST
    patience: float = KEYRING_PATIENCE

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], ask: AskPassword | None = None) -> KeyFinder:
        """Take the master password from PRX_MASTER_KEY, if it is set and not empty; SecretError when it is no text."""
        try:
            return cls(Secret(environ.get(MASTER_KEY_VARIABLE, "")) or None, ask)
        except ValueError:
            raise SecretError(f"{MASTER_KEY_VARIABLE} is not UTF-8 text", hint="base64 makes text of any bytes") from None

    def find(self, spec: KeySpec) -> bytes:
        """Return the key of an existing file."""
        if not spec.is_password:
            return self._from_keyring(spec)
        return stretch(self._password(new=False).reveal(), spec)

    def create(self, *, want_keyring: bool | None = None, password: Secret | None = None) -> tuple[KeySpec, bytes]:
        """Make a new key, and the spec that will find it again.

        want_keyring: True for the keyring and nothing else, False for a password, None for the order above.
        password: the new master password, if it is known already.
        """
        use_password = password is not None or want_keyring is False or (want_keyring is None and self.master_key is not None)
        reason = ""
        if not use_password:
            try:
                return self._create_in_keyring()
            except SecretShortageError:  # it may be there: a password is not what was wanted
                raise
            except SecretError as error:
                reason = error.message
        if want_keyring:
            raise SecretError(f"the key cannot be kept in a keyring: {reason}", hint="use a master password")
        spec = KeySpec.for_password(self.cost)
        return spec, stretch((password or self._password(new=True, reason=reason)).reveal(), spec)

    def forget(self, spec: KeySpec) -> None:
        """Remove a key that opens nothing any more from the keyring; silently, it is only tidiness."""
        user = password_user(spec.keyring_id)
        with contextlib.suppress(SecretError):  # a key left behind opens no file
            if not spec.is_password:
                self._ask_keyring(lambda backend: backend.delete_password(SERVICE, user))

    def _password(self, *, new: bool, reason: str = "") -> Secret:
        password = self.master_key or (self.ask(new) if self.ask else None)
        if not password:
            raise SecretError(
                f"needs a master password, as {reason}" if reason else "needs its master password",
                hint=f"run the command on a terminal to be asked for it, or set {MASTER_KEY_VARIABLE}",
            )
        return password

    def _from_keyring(self, spec: KeySpec) -> bytes:
        try:
            stored = self._ask_keyring(lambda backend: backend.get_password(SERVICE, password_user(spec.keyring_id)))
        except SecretShortageError:
            raise
        except SecretError as error:
            raise SecretError(
                f"its key is in the keyring, and {error.message}",
                hint="unlock the keyring, in the session of the desktop; for a server, move to a password there: "
                "prx secret rotate --to password",
            ) from None
        return _decode(stored)

    def _create_in_keyring(self) -> tuple[KeySpec, bytes]:
        """Store a new key and read it back: only a keyring that really keeps it counts."""
        spec, key = KeySpec(keyring_id=secrets.token_hex(8)), os.urandom(KEY_BYTES)
        user, text = password_user(spec.keyring_id), base64.b64encode(key).decode()

        def keep(backend: Keyring) -> str | None:
            backend.set_password(SERVICE, user, text)
            return backend.get_password(SERVICE, user)

        if self._ask_keyring(keep) != text:
            raise SecretError("the keyring does not keep what it is given")
        return spec, key

    def _ask_keyring(self, do: Callable[[Keyring], T]) -> T:
        """Do something with the keyring, and return the result; SecretError says why that cannot be."""

        def call() -> T:
            backend = self.keyring()
            if backend is None:
                raise SecretError("no keyring can be reached from here")
            return do(backend)

        try:
            return call_with_timeout(self.patience, call)
        except SecretError:
            raise
        except TimeoutError:
            raise SecretError(f"the keyring gave no answer within {self.patience:g} seconds") from None
        except Exception as error:  # noqa: BLE001 - see system_keyring
            raise secret_error(_trouble(error), error, lack=lack_behind(error)) from None


def _trouble(error: Exception) -> str:
    """Return what is wrong with the keyring, without what the backend says, which may quote anything."""
    name = type(error).__name__
    return "the keyring is locked" if name == "KeyringLocked" else f"the keyring does not answer ({name})"


def _decode(stored: str | None) -> bytes:
    try:
        key = base64.b64decode(stored or "", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        found = "no key" if stored is None else "something that is no key"
        raise WrongKeyError(f"the keyring has {found} for this secrets file")
    return key
