r"""Seal and open the secrets file: AES-256-GCM under a header that is authenticated with it.

Layout, numbers big-endian:

    8   magic                b"prx\0sec\n"
    2   version              1
    2   length of the header (H)
    4   length of the body   (B)
    H   header               JSON: which key opens it (see `KeySpec`)
    B   body                 12 bytes of nonce, then ciphertext and tag; everything before it is the associated data
    32  SHA-256 of all of the above

The tag is what protects; the checksum only separates an accident (a flipped bit, a half copy) from a wrong password, which the
tag alone cannot. Altering the file and repairing the checksum is still caught by the tag. A key seals with a fresh random nonce
each time; 96 random bits are good for 2^32 writes under one key (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import struct
from dataclasses import asdict, dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from prx.core.parsing import parse_json
from prx.secrets.errors import DamagedFileError, SecretError, WrongKeyError

MAGIC: Final = b"prx\0sec\n"
VERSION: Final = 1
KEY_BYTES: Final = 32
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_CHECKSUM_BYTES: Final = 32
_PREFIX: Final = struct.Struct(">8sHHI")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one guess at the master password costs.

    The default is RFC 9106's second recommended choice (section 4): 64 MiB, 3 passes, 4 lanes; 0.1 s on a small machine.
    """

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 4

    def acceptable(self) -> bool:
        """Return whether a file may ask for this: a planted header must not make prx take all memory or run for hours."""
        return 8 * self.lanes <= self.memory_kib <= 1024 * 1024 and 1 <= self.iterations <= 64 and 1 <= self.lanes <= 64


DEFAULT_COST: Final = Cost()


@dataclass(frozen=True, slots=True)
class KeySpec:
    """Say which key opens a file: the keyring entry `id`, or a master password stretched by Argon2id with `salt` and `cost`.

    Exactly one of both is set. It is stored in the clear, in the header.
    """

    keyring_id: str = ""
    salt: bytes = b""
    cost: Cost = DEFAULT_COST

    @property
    def is_password(self) -> bool:
        """Tell a master password from a keyring entry."""
        return not self.keyring_id

    @classmethod
    def for_password(cls, cost: Cost) -> KeySpec:
        """Make the spec of a new password key, with a fresh salt."""
        return cls(salt=os.urandom(_SALT_BYTES), cost=cost)

    def to_json(self) -> bytes:
        """Render the header."""
        fields: dict[str, Any] = {"key": "keyring", "id": self.keyring_id}
        if self.is_password:
            fields = {"key": "argon2id", "salt": base64.b64encode(self.salt).decode(), **asdict(self.cost)}
        return json.dumps(fields, sort_keys=True).encode()

    @classmethod
    def from_json(cls, content: bytes) -> KeySpec:
        """Read the header; ValueError when it is not one."""
        fields = parse_json(content)
        if not isinstance(fields, dict) or not all(isinstance(value, str | int) for value in fields.values()):
            raise ValueError("not a header")
        try:
            if fields["key"] == "keyring":
                return cls(keyring_id=_nonempty(fields["id"]))
            cost = Cost(fields["memory_kib"], fields["iterations"], fields["lanes"])
            salt = base64.b64decode(fields["salt"], validate=True)
            if fields["key"] != "argon2id" or len(salt) != _SALT_BYTES or not cost.acceptable():
                raise ValueError("not a key that is known")
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError("a header with missing or odd fields") from error
        return cls(salt=salt, cost=cost)


def _nonempty(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("an empty name")
    return value


def stretch(password: str, spec: KeySpec) -> bytes:
    """Derive the key from a master password: 32 bytes, the same for the same password and spec."""
    cost = spec.cost
    return Argon2id(
        salt=spec.salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(password.encode())


def seal(plain: bytes, spec: KeySpec, key: bytes) -> bytes:
    """Encrypt `plain`; `spec` says in the clear which key that was."""
    header = spec.to_json()
    overhead = _NONCE_BYTES + 16  # the tag of GCM
    head = _PREFIX.pack(MAGIC, VERSION, len(header), len(plain) + overhead) + header
    nonce = os.urandom(_NONCE_BYTES)
    sealed = head + nonce + AESGCM(key).encrypt(nonce, plain, head)
    return sealed + hashlib.sha256(sealed).digest()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed file taken apart: whole as far as its checksum says, not yet opened."""

    spec: KeySpec
    head: bytes
    nonce: bytes
    ciphertext: bytes

    @classmethod
    def parse(cls, content: bytes) -> Envelope:
        """Take the file apart.

        SecretError when a newer prx wrote it; DamagedFileError when it is empty, cut short, altered, or something else.
        """
        if len(content) < _PREFIX.size:
            raise DamagedFileError(f"is cut short: it has {len(content)} bytes, not even its first {_PREFIX.size}")
        magic, version, header_length, body_length = _PREFIX.unpack_from(content)
        if magic != MAGIC:
            raise DamagedFileError("is not a secrets file of prx: it begins differently")
        if version > VERSION:
            raise SecretError(
                f"has format {version}, written by a newer prx; this one reads up to {VERSION}",
                hint="update prx on this machine",
            )
        head_length = _PREFIX.size + header_length
        expected = head_length + body_length + _CHECKSUM_BYTES
        if len(content) < expected:
            raise DamagedFileError(f"is cut short: it has {len(content)} of {expected} bytes")
        if len(content) > expected or hashlib.sha256(content[:-_CHECKSUM_BYTES]).digest() != content[-_CHECKSUM_BYTES:]:
            raise DamagedFileError("is damaged: its checksum does not match")
        body = content[head_length:-_CHECKSUM_BYTES]
        try:
            spec = KeySpec.from_json(content[_PREFIX.size : head_length])
        except ValueError:
            raise DamagedFileError("has a header that cannot be read") from None
        return cls(spec, content[:head_length], body[:_NONCE_BYTES], body[_NONCE_BYTES:])

    def open(self, key: bytes) -> bytes:
        """Decrypt; WrongKeyError when this is not the key (or when the file was altered and repaired its checksum)."""
        try:
            return AESGCM(key).decrypt(self.nonce, self.ciphertext, self.head)
        except (InvalidTag, ValueError):  # ValueError: a nonce or body too short to be one
            raise WrongKeyError("does not open with this key") from None
