"""What the tests of secrets share: a cheap way to a key, and a keyring in memory."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prx.secrets.crypto import Cost
from prx.secrets.keys import AskPassword, KeyFinder, Keyring
from prx.secrets.store import SecretStore
from prx.secrets.value import Secret

CHEAP = Cost(memory_kib=8, iterations=1, lanes=1)


class MemoryKeyring:
    """A keyring that works."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.kept[service, username]


class Lab:
    """One data directory, opened with one password or another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keyring = MemoryKeyring()

    def open(
        self,
        *,
        password: str = "",
        ask: AskPassword | None = None,
        keyring: Keyring | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock_timeout: float = 30.0,
    ) -> SecretStore:
        """Open the store in one way or another."""
        keys = KeyFinder(Secret(password) if password else None, ask, lambda: keyring, CHEAP)
        return SecretStore(self.folder, keys, now=now, lock_timeout=lock_timeout)

    def store(self, password: str = "right password") -> SecretStore:
        """Open it with a master password, on a machine without a keyring."""
        return self.open(password=password)

    def keyring_store(self) -> SecretStore:
        """Open it with this lab's keyring."""
        return self.open(keyring=self.keyring)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Return a data directory of its own to each test."""
    return Lab(tmp_path / "data")
