"""The secrets file: entries, keys, and that nothing is ever lost."""

from __future__ import annotations

import fcntl
import stat
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prx.secrets.errors import DamagedFileError, SecretError, SecretNotFoundError, WrongKeyError
from prx.secrets.keys import KeyFinder, system_keyring
from prx.secrets.store import SecretStore
from prx.secrets.value import Secret

if TYPE_CHECKING:
    from tests.secrets.conftest import Lab

START = datetime(2026, 1, 1, tzinfo=UTC)


def values(store: SecretStore) -> dict[str, str]:
    """Return names and plain values."""
    return {name: entry.value.reveal() for name, entry in store.entries().items()}


def test_an_empty_store_has_no_file(lab: Lab) -> None:
    """Looking makes nothing."""
    assert lab.store().entries() == {}
    assert lab.store().key_is_password() is None
    assert not lab.folder.exists()


def test_what_is_set_is_got_in_another_process(lab: Lab) -> None:
    """A second store on the same folder reads what the first one wrote."""
    lab.store().set("b", Secret("vä\nlue"))
    lab.store().set("a", Secret("other"))
    assert list(values(lab.store()).items()) == [("a", "other"), ("b", "vä\nlue")]
    assert lab.store().get("b").value == Secret("vä\nlue")


def test_files_are_private_and_hold_no_plain_text(lab: Lab) -> None:
    """Every file is 0600 in a folder of 0700, and the value is in none of them."""
    for _ in range(2):
        lab.store().set("name-canary", Secret("value-canary"))
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700
    assert {path.name for path in lab.folder.iterdir()} == {"secrets.enc", "secrets.enc.prev", "secrets.enc.lock"}
    for path in lab.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert b"canary" not in path.read_bytes()


def test_dates_are_kept(lab: Lab) -> None:
    """Created stays, updated moves, the expiry is the last one given."""
    now = START
    store = lab.open(password="right password", now=lambda: now)
    store.set("a", Secret("1"), expires=START + timedelta(days=9))
    now += timedelta(days=1)
    store.set("a", Secret("2"))
    entry = lab.store().get("a")
    assert (entry.created, entry.updated, entry.expires) == (START, now, None)


def test_deleting_removes_one(lab: Lab) -> None:
    """The others stay; an unknown name is an error of its own."""
    lab.store().set("a", Secret("1"))
    lab.store().set("b", Secret("2"))
    lab.store().delete("a")
    assert values(lab.store()) == {"b": "2"}
    for act in (lab.store().delete, lab.store().get):
        with pytest.raises(SecretNotFoundError, match="no secret 'a'"):
            act("a")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", ".x", "x" * 65, "ä", "a\n"])
def test_odd_names_are_refused(lab: Lab, name: str) -> None:
    """A name fits into `secret:NAME` and on one line."""
    with pytest.raises(SecretError, match="cannot name a secret"):
        lab.store().set(name, Secret("v"))


@pytest.mark.parametrize("value", ["", "x" * 65_537])
def test_odd_values_are_refused(lab: Lab, value: str) -> None:
    """Nothing and too much are no secrets."""
    with pytest.raises(SecretError, match="empty or larger"):
        lab.store().set("a", Secret(value))


def test_a_wrong_password_changes_nothing(lab: Lab) -> None:
    """Reading and writing both fail with words for a password, and the file stays byte for byte."""
    lab.store().set("a", Secret("1"))
    before = lab.store().path.read_bytes()
    wrong = lab.store("wrong password")
    for act in (lambda: wrong.get("a"), lambda: wrong.set("a", Secret("2")), lambda: wrong.delete("a"), wrong.rotate):
        with pytest.raises(WrongKeyError, match=r"secrets\.enc: does not open") as caught:
            act()
        assert "wrong master password" in caught.value.hint
    assert lab.store().path.read_bytes() == before
    assert not lab.store().previous_path.exists()


def test_a_damaged_file_is_never_written_over(lab: Lab) -> None:
    """A cut file, a flipped bit, a newer version: each has its words, the file stays, and the previous copy is named."""
    lab.store().set("a", Secret("1"))
    lab.store().set("a", Secret("2"))
    store, good = lab.store(), lab.store().path.read_bytes()
    flipped = good[:100] + bytes([good[100] ^ 1]) + good[101:]
    for content, words in [
        (b"", "cut short"),
        (good[:-1], "cut short"),
        (flipped, "checksum"),
        (b"x" * 200, "not a secrets file"),
        (good[:9] + b"\x09" + good[10:], "newer prx"),
    ]:
        store.path.write_bytes(content)
        with pytest.raises(SecretError, match=words) as caught:
            store.set("a", Secret("3"))
        if isinstance(caught.value, DamagedFileError):
            assert str(store.previous_path) in caught.value.hint
        assert store.path.read_bytes() == content
    store.path.write_bytes(store.previous_path.read_bytes())
    assert values(lab.store()) == {"a": "1"}


def test_an_open_secrets_file_is_refused(lab: Lab) -> None:
    """A file that others can read, or a link, is not used."""
    lab.store().set("a", Secret("1"))
    lab.store().path.chmod(0o644)
    with pytest.raises(SecretError, match="mode 0644"):
        lab.store().get("a")
    target = lab.store().path.rename(lab.folder / "elsewhere")
    target.chmod(0o600)
    lab.store().path.symlink_to(target)
    with pytest.raises(SecretError, match="symbolic link"):
        lab.store().set("a", Secret("2"))


def test_the_previous_copy_is_the_content_before(lab: Lab) -> None:
    """One step back is always possible."""
    lab.store().set("a", Secret("1"))
    before = lab.store().path.read_bytes()
    lab.store().set("a", Secret("2"))
    assert lab.store().previous_path.read_bytes() == before


def test_rotating_a_password_leaves_nothing_under_the_old_one(lab: Lab) -> None:
    """After it the new password opens both files and the old one opens neither."""
    lab.store("old password").set("a", Secret("1"))
    lab.store("old password").set("a", Secret("2"))
    lab.store("old password").rotate(want_keyring=False, password=Secret("new password"))
    assert values(lab.store("new password")) == {"a": "2"}
    for path in (lab.store().path, lab.store().previous_path):
        lab.store().path.write_bytes(path.read_bytes())
        with pytest.raises(WrongKeyError):
            lab.store("old password").get("a")
        assert values(lab.store("new password")) == {"a": "2"}


def test_the_keyring_keeps_the_key(lab: Lab) -> None:
    """If there is a keyring no password is asked for, and without it the file does not open."""
    lab.keyring_store().set("a", Secret("1"))
    assert values(lab.keyring_store()) == {"a": "1"}
    assert len(lab.keyring.kept) == 1
    assert lab.store().key_is_password() is False
    lab.keyring.kept.clear()
    with pytest.raises(WrongKeyError, match="no key for this secrets file"):
        lab.keyring_store().get("a")
    with pytest.raises(SecretError, match="its key is in the keyring, and no keyring can be reached"):
        lab.store().get("a")


def test_rotating_in_the_keyring_drops_the_old_key(lab: Lab) -> None:
    """The new key replaces the old one, and moving to a password leaves none."""
    lab.keyring_store().set("a", Secret("1"))
    (old,) = lab.keyring.kept.items()
    lab.keyring_store().rotate(want_keyring=True)
    (new,) = lab.keyring.kept.items()
    assert old != new
    lab.keyring_store().rotate(want_keyring=False, password=Secret("new password"))
    assert lab.keyring.kept == {}
    assert values(lab.store("new password")) == {"a": "1"}


def test_a_rotation_that_fails_keeps_the_old_key(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new file cannot be written, the old file, its key and its entries are all still there."""
    lab.keyring_store().set("a", Secret("1"))
    kept = dict(lab.keyring.kept)

    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("prx.secrets.store.write_private", full)
        with pytest.raises(SecretError, match="no space left"):
            lab.keyring_store().rotate(want_keyring=True)
    assert lab.keyring.kept == kept
    assert values(lab.keyring_store()) == {"a": "1"}


def test_a_rotation_that_stops_half_way_keeps_both_keys(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the folder's sync fails after the rename, it is unknown which file survives a power cut: both must open."""
    from prx.secrets.files import write_private

    lab.keyring_store().set("a", Secret("1"))
    calls: list[str] = []

    def late(path: Path, content: bytes) -> None:
        write_private(path, content)
        calls.append(path.name)
        if path.name == "secrets.enc":
            raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("prx.secrets.store.write_private", late)
        with pytest.raises(SecretError, match="input/output"):
            lab.keyring_store().rotate(want_keyring=True)
    assert calls == ["secrets.enc.prev", "secrets.enc"]
    assert values(lab.keyring_store()) == {"a": "1"}
    lab.store().path.write_bytes(lab.store().previous_path.read_bytes())
    assert values(lab.keyring_store()) == {"a": "1"}


def test_changing_what_is_not_there_says_so(lab: Lab) -> None:
    """Deleting and rotating without a file is an error, asks for nothing and makes nothing."""
    asked: list[bool] = []

    def ask(new: bool) -> Secret:
        asked.append(new)
        return Secret("x")

    store = lab.open(ask=ask)
    acts: list[Callable[[], None]] = [lambda: store.delete("a"), store.rotate]
    for act in acts:
        with pytest.raises(SecretError, match="no secrets file yet"):
            act()
    assert asked == []
    assert not lab.folder.exists()


def test_the_password_is_asked_for_once(lab: Lab) -> None:
    """One store asks once, however often it opens the file; a new file asks for a new password."""
    asked: list[bool] = []

    def ask(new: bool) -> Secret:
        asked.append(new)
        return Secret("asked password")

    for expected in ([True], [True, False]):
        store = lab.open(ask=ask)
        store.set("a", Secret("1"))
        store.get("a")
        store.delete("a")
        assert asked == expected
    assert values(lab.store("asked password")) == {}


def test_without_any_way_to_a_key_the_hint_names_one(lab: Lab) -> None:
    """No keyring, no user to ask, no variable: the hint says what to do."""
    with pytest.raises(SecretError, match="needs a master password, as no keyring can be reached") as caught:
        lab.open().set("a", Secret("1"))
    assert "PRX_MASTER_KEY" in caught.value.hint
    assert not (lab.folder / "secrets.enc").exists()


def test_the_master_key_of_the_environment_comes_before_the_keyring(lab: Lab) -> None:
    """Who sets PRX_MASTER_KEY gets a file that opens with it anywhere; an empty one counts as unset."""
    lab.open(password="from environment", keyring=lab.keyring).set("a", Secret("1"))
    assert lab.keyring.kept == {}
    assert values(lab.store("from environment")) == {"a": "1"}
    assert KeyFinder.from_environment({"PRX_MASTER_KEY": ""}).master_key is None
    assert KeyFinder.from_environment({}).master_key is None
    assert KeyFinder.from_environment({"PRX_MASTER_KEY": "x"}).master_key == Secret("x")
    with pytest.raises(SecretError, match="PRX_MASTER_KEY is not UTF-8"):
        KeyFinder.from_environment({"PRX_MASTER_KEY": "x\udcff"})


class BrokenKeyring:
    """A keyring that fails in one of its ways."""

    def __init__(self, how: str) -> None:
        self.how = how

    def get_password(self, service: str, username: str) -> str | None:
        if self.how == "cannot read":
            raise RuntimeError("locked")
        return "something else" if self.how == "forges" else None

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.how == "cannot write":
            raise RuntimeError("no bus")

    def delete_password(self, service: str, username: str) -> None:
        raise RuntimeError("never works")


def test_a_keyring_that_never_answers_is_given_up(lab: Lab) -> None:
    """A daemon that hangs, or waits for a password that is not typed, ends in words, for a key to find and for one to make."""
    released = threading.Event()

    class Silent(BrokenKeyring):
        def get_password(self, service: str, username: str) -> str | None:
            released.wait(60)
            return None

    lab.keyring_store().set("a", Secret("1"))
    keys = KeyFinder(keyring=lambda: Silent(""), patience=0.05)
    try:
        with pytest.raises(SecretError, match=r"in the keyring, and the keyring gave no answer within 0\.05 seconds"):
            SecretStore(lab.folder, keys).get("a")
        with pytest.raises(SecretError, match="needs a master password, as the keyring gave no answer"):
            SecretStore(lab.folder / "new", keys).set("a", Secret("1"))
    finally:
        released.set()


@pytest.mark.parametrize("how", ["cannot read", "cannot write", "forgets", "forges"])
def test_a_keyring_that_does_not_keep_keys_counts_as_none(lab: Lab, how: str) -> None:
    """Only a keyring that gives back what it was given is used; else a password is."""

    def ask(new: bool) -> Secret:
        return Secret("asked password")

    lab.open(ask=ask, keyring=BrokenKeyring(how)).set("a", Secret("1"))
    assert values(lab.store("asked password")) == {"a": "1"}


@pytest.mark.parametrize("backend", ["keyring.backends.null.Keyring", "keyring.backends.fail.Keyring", "no.such.Backend"])
def test_the_librarys_empty_backends_are_no_keyring(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """The backends that keep nothing, and one that cannot be loaded, count as none."""
    import keyring
    from keyring import core

    monkeypatch.setattr(keyring, "get_keyring", lambda: core.load_keyring(backend))
    assert system_keyring() is None


def test_a_change_waits_for_the_lock_and_not_for_ever(lab: Lab) -> None:
    """While another process holds the lock nothing is written; after the time-out the error says so."""
    lab.store().set("a", Secret("1"))
    with (lab.folder / "secrets.enc.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(SecretError, match="another process"):
            lab.open(password="right password", lock_timeout=0.05).set("a", Secret("2"))
    assert values(lab.store()) == {"a": "1"}


def test_no_change_is_lost_between_writers(lab: Lab) -> None:
    """Many writers at once, the first file included: every entry is there afterwards."""

    def write(number: int) -> None:
        lab.store().set(f"n{number}", Secret(str(number)))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(values(lab.store())) == 12


def test_two_first_writers_leave_one_key_in_the_keyring(lab: Lab) -> None:
    """The key that was made for a file that another process made first is dropped."""

    class LateKeyring:
        """Lets another process make the file while the key is being stored."""

        def set_password(self, service: str, username: str, password: str) -> None:
            lab.keyring.set_password(service, username, password)
            if not lab.store().path.exists():
                lab.keyring_store().set("first", Secret("1"))

        def get_password(self, service: str, username: str) -> str | None:
            return lab.keyring.get_password(service, username)

        def delete_password(self, service: str, username: str) -> None:
            lab.keyring.delete_password(service, username)

    lab.open(keyring=LateKeyring()).set("second", Secret("2"))
    assert values(lab.keyring_store()) == {"first": "1", "second": "2"}
    assert len(lab.keyring.kept) == 1


def test_a_folder_that_cannot_be_made_is_named(lab: Lab) -> None:
    """A file where the folder should be is an error in words."""
    lab.folder.write_text("in the way")
    with pytest.raises(SecretError, match=str(lab.folder)):
        lab.store().set("a", Secret("1"))
