"""A secret that this machine keeps back for now: not a mistake in the configuration, and not a keyring that is absent."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from tests.support.lacks import no_descriptors

from prx.app.load_config import load_configuration
from prx.core.errors import ShortageError
from prx.core.shortage import FOR_NOW
from prx.secrets import keys
from prx.secrets.command import run_for_secret
from prx.secrets.errors import SecretError, SecretShortageError
from prx.secrets.files import read_private
from prx.secrets.keys import KeyFinder, system_keyring
from prx.secrets.store import SecretStore

OPEN_FILES = FOR_NOW[errno.EMFILE].hint
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def private(folder: Path) -> Path:
    """Return a file with a secret in it."""
    file = folder / "secret"
    file.write_text("s3cret")
    file.chmod(0o600)
    return file


WAYS: dict[str, Callable[[Path], object]] = {
    "a file": lambda folder: read_private(private_of(folder)),
    "a program": lambda _: run_for_secret(["sh", "-c", "echo s"], ENVIRONMENT, timeout=5),
    "the secrets file": lambda folder: SecretStore(folder, KeyFinder()).prepare(),
}


def private_of(folder: Path) -> Path:
    """Return the file that `private` has made."""
    return folder / "secret"


@pytest.mark.parametrize("way", WAYS)
def test_it_is_a_shortage_whatever_the_way(tmp_path: Path, way: str) -> None:
    """The error says what helps, and another try can."""
    private(tmp_path)
    with no_descriptors(), pytest.raises(ShortageError) as short:
        WAYS[way](tmp_path)
    assert isinstance(short.value, SecretError)
    assert short.value.hint == OPEN_FILES


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("runtime: epollcreate failed with 24", errno.EMFILE),
        ("sh: 1: Cannot fork", errno.EAGAIN),
        ("fatal error: failed to reserve page summary memory", errno.ENOMEM),
    ],
)
def test_a_helper_that_got_too_little_has_not_refused(words: str, number: int) -> None:
    """A program that ends for lack of something, by its own words, has said nothing about the secret."""
    with pytest.raises(SecretShortageError) as short:
        run_for_secret(["sh", "-c", f"echo '{words}' >&2; exit 2"], ENVIRONMENT, timeout=5)
    assert short.value.hint == FOR_NOW[number].hint
    with pytest.raises(SecretError) as refused:
        run_for_secret(["sh", "-c", "echo 'not signed in' >&2; exit 2"], ENVIRONMENT, timeout=5)
    assert not isinstance(refused.value, ShortageError)


class OutOfReach:
    """A keyring's library that finds no descriptor, and says so in words of its own."""

    def get_password(self, *_: str) -> NoReturn:
        """Fail."""
        raise RuntimeError("no bus") from OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    set_password = delete_password = get_password


def test_a_keyring_out_of_reach_for_now_is_not_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No password is asked for, or taken, in place of a key that the keyring keeps; nor if no thread can ask it."""
    asked: list[bool] = []
    finder = KeyFinder(ask=asked.append, keyring=OutOfReach)  # type: ignore[arg-type]
    with pytest.raises(SecretShortageError) as short:
        finder.create()
    assert short.value.hint == OPEN_FILES

    def no_thread(*_: object) -> NoReturn:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(keys, "call_with_timeout", no_thread)
    with pytest.raises(SecretShortageError) as short:
        finder.create()
    assert short.value.hint == FOR_NOW[errno.EAGAIN].hint
    assert asked == []


def test_a_keyring_whose_library_cannot_be_loaded_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not known whether there is one, and the library does not come to remember that there is none."""
    searched: list[bool] = []
    monkeypatch.setattr("keyring.get_keyring", lambda: searched.append(True))
    with no_descriptors(), pytest.raises(SecretShortageError):
        system_keyring()
    assert searched == []


def test_a_configuration_is_not_wrong_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is named, the exit code is 1 and not 2: what starts prx again goes on trying."""
    file = tmp_path / "prx.toml"
    file.write_text('[tunnel.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = "file:secret"\n')
    file.chmod(0o600)
    private(tmp_path)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as short_of_files:
        short_of_files.setattr("prx.secrets.files.walked", refuse)
        with pytest.raises(ShortageError) as short:
            load_configuration(file, {})
    assert (short.value.exit_code, short.value.hint) == (1, OPEN_FILES)
    assert short.value.message.startswith("tunnel.cloudflare.token: ")
    load_configuration(file, {})
