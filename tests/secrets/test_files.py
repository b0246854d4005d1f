"""Files with secrets: what is read, what is refused, how they are replaced."""

from __future__ import annotations

import os
import resource
import signal
import socket
import stat
from pathlib import Path

import pytest

from prx.secrets.errors import SecretError
from prx.secrets.files import MAX_SECRET_BYTES, clean_text, read_private, write_private

CANARY = "canary-content"


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """Return a file as it should be."""
    path = tmp_path / "token"
    path.write_text(CANARY)
    path.chmod(0o600)
    return path


def refusal(path: Path) -> str:
    """Return the words with which reading is refused."""
    with pytest.raises(SecretError) as caught:
        read_private(path)
    message = f"{caught.value.message} {caught.value.hint}"
    assert str(path) in message
    assert CANARY not in message
    return message


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read(secret_file: Path, mode: int) -> None:
    """A file for its owner alone is read."""
    secret_file.chmod(mode)
    assert read_private(secret_file) == CANARY.encode()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o622, 0o601, 0o777])
def test_a_file_that_others_can_reach_is_refused_with_the_remedy(secret_file: Path, mode: int) -> None:
    """Any bit for group or others is named, with the command that repairs it."""
    secret_file.chmod(mode)
    message = refusal(secret_file)
    assert f"{mode:04o}" in message
    assert f"chmod 600 {secret_file}" in message


def test_group_bits_pass_for_credentials_only(secret_file: Path) -> None:
    """A systemd credential may carry group bits (its access list), never bits for all."""
    secret_file.chmod(0o440)
    assert read_private(secret_file, allow_group=True)
    secret_file.chmod(0o444)
    with pytest.raises(SecretError, match="0444"):
        read_private(secret_file, allow_group=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file_is_refused(secret_file: Path) -> None:
    """Who owns a file can change it under us."""
    os.chown(secret_file, 12345, -1)
    assert "belongs to uid 12345" in refusal(secret_file)


def test_a_link_is_refused(secret_file: Path, tmp_path: Path) -> None:
    """A symbolic link is not followed, not even to a good file."""
    link = tmp_path / "link"
    link.symlink_to(secret_file)
    assert "symbolic link" in refusal(link)


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    """A pipe without a writer is refused at once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    assert "not a regular file" in refusal(fifo)


def test_sockets_folders_and_devices_are_refused(tmp_path: Path) -> None:
    """Only a regular file holds a secret."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert refusal(tmp_path / "s")
    assert "not a regular file" in refusal(tmp_path)
    assert "not a regular file" in refusal(Path("/dev/zero"))
    assert "no such file" in refusal(tmp_path / "missing")


def test_a_huge_file_is_refused_without_reading_it(secret_file: Path) -> None:
    """One gigabyte is turned away by its size; one byte too many too."""
    os.truncate(secret_file, 1_000_000_000)
    assert "1000000000 bytes" in refusal(secret_file)
    os.truncate(secret_file, MAX_SECRET_BYTES + 1)
    refusal(secret_file)
    os.truncate(secret_file, MAX_SECRET_BYTES)
    assert len(read_private(secret_file)) == MAX_SECRET_BYTES


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"token", "token"),
        (b"token\n", "token"),
        (b"token\r\n", "token"),
        (b"token\n\n\r\n", "token"),
        (b"\xef\xbb\xbftoken\r\n", "token"),
        (b"one\r\ntwo\n", "one\r\ntwo"),
        (b" spaced \n", " spaced "),
    ],
)
def test_what_editors_add_is_dropped(content: bytes, text: str) -> None:
    """Byte order mark and line ends around the value go; what is inside stays."""
    assert clean_text(content, "file:x") == text


@pytest.mark.parametrize("content", [b"", b"\n", b"\xef\xbb\xbf\r\n", b"  \n", b"\xff\xfet\0o\0", b"ab\xff", b"a\0b"])
def test_what_is_no_text_is_refused(content: bytes) -> None:
    """Emptiness, UTF-16, stray bytes and zero bytes are named with their place."""
    with pytest.raises(SecretError, match=r"^file:x: "):
        clean_text(content, "file:x")


def test_a_written_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    """The mode is 0600 from the first moment, and nothing else is left in the folder."""
    old = os.umask(0)
    try:
        write_private(tmp_path / "f", b"one")
        write_private(tmp_path / "f", b"two")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600
    assert (tmp_path / "f").read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]


def test_writing_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    """A planted link cannot lead the write elsewhere."""
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "f").symlink_to("victim")
    write_private(tmp_path / "f", b"new")
    assert (tmp_path / "victim").read_text() == "untouched"
    assert not (tmp_path / "f").is_symlink()


def test_a_disk_that_fills_up_leaves_the_old_file(tmp_path: Path) -> None:
    """When only half of the new content fits, the old file stays and the half one goes."""
    write_private(tmp_path / "f", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match="large"):
            write_private(tmp_path / "f", b"n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "f"]
