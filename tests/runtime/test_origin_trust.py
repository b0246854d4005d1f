"""`origin_ca` before a start and while a connector runs: missing, of another kind, empty, no PEM, half written, rotated."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import trustme
from tests.support.lacks import no_descriptors

from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError, ShortageError
from prx.runtime.context import TunnelContext
from prx.runtime.origin_trust import OriginTrust, Rotated, require_origin_ca
from prx.runtime.probes.connect import Endpoint, to_probe_error

FIRST, SECOND = trustme.CA().cert_pem.bytes(), trustme.CA().cert_pem.bytes()
KEY = trustme.CA().private_key_pem.bytes()


def settings(file: Path, **more: str) -> TunnelSettings:
    """An https service whose certificate is checked with `file`."""
    return TunnelSettings(**{"local_addr": "https://127.0.0.1:8443", "origin_ca": str(file), **more})  # type: ignore[arg-type]


def endless(file: Path) -> None:
    """Lead to a device that never ends."""
    file.symlink_to("/dev/zero")


def open_to_all(file: Path) -> None:
    """Write certificates that any user of the machine may replace."""
    file.write_bytes(FIRST)
    file.chmod(0o666)


def in_a_file(file: Path) -> None:
    """Put a file in the place of the folder."""
    file.parent.rmdir()
    file.parent.write_text("")


def removed(file: Path) -> None:
    """Remove the file, or what became of it."""
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)


def written_again(file: Path) -> None:
    """Write other certificates into a new file."""
    removed(file)
    file.write_bytes(SECOND)


def back(file: Path) -> None:
    """Write the first certificates into a new file."""
    removed(file)
    file.write_bytes(FIRST)


BROKEN: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: None,
    "in a file": in_a_file,
    "directory": Path.mkdir,
    "fifo": os.mkfifo,
    "endless": endless,
    "huge": lambda file: file.write_bytes(b"#" * (3 << 20)),
    "empty": Path.touch,
    "words": lambda file: file.write_text("hello\n"),
    "key": lambda file: file.write_bytes(KEY),
    "half": lambda file: file.write_bytes(FIRST[:300]),
    "writable": open_to_all,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_used_is_named_before_a_start(tmp_path: Path, kind: str) -> None:
    """The error has the key, the place and what is expected; nothing is waited for, and nothing endless is read."""
    file = tmp_path / "certs" / "ca.pem"
    file.parent.mkdir()
    BROKEN[kind](file)
    with pytest.raises(PermanentError, match="origin_ca: ") as caught:
        require_origin_ca(settings(file))
    assert str(file) in caught.value.message
    assert "PEM" in caught.value.hint


def test_what_is_not_used_is_not_read(tmp_path: Path) -> None:
    """Without TLS, without a check or without the key the file does not matter."""
    none = tmp_path / "none.pem"
    require_origin_ca(settings(none, local_addr="http://127.0.0.1:8080"))
    require_origin_ca(settings(none, origin_tls_verify="false"))
    require_origin_ca(TunnelSettings(local_addr="https://example.com"))
    none.write_bytes(FIRST)
    require_origin_ca(settings(none))


@pytest.fixture
def rotated(tmp_path: Path) -> Callable[[Callable[[Path], object]], list[Rotated]]:
    """Return what is reported after the file of a running connector was changed: at the first check, then until all is said."""
    file = tmp_path / "ca.pem"
    file.write_bytes(FIRST)
    trust = OriginTrust()
    trust.started(settings(file))

    def change(how: Callable[[Path], object]) -> list[Rotated]:
        how(file)
        assert trust.rotated(settings(file)) is None, "it may still be written"
        return [found for _ in range(3) if (found := trust.rotated(settings(file))) is not None]

    return change


def test_a_rotation_is_reported_once(rotated: Callable[[Callable[[Path], object]], list[Rotated]]) -> None:
    """Other certificates are news; the same ones, in a new file, are not."""
    assert rotated(lambda file: file.write_bytes(FIRST)) == []
    assert rotated(lambda file: file.write_bytes(SECOND)) == [Rotated()]
    assert rotated(lambda file: (file.with_name("new").write_bytes(SECOND), file.with_name("new").replace(file))) == []
    assert rotated(back) == [Rotated()]


def test_what_a_child_has_read_is_compared_with_the_file(tmp_path: Path) -> None:
    """The file differs until a child has read it, also once that was reported; not if it is as it was, or gone."""
    file, trust = tmp_path / "ca.pem", OriginTrust()
    file.write_bytes(FIRST)
    trust.started(settings(file))
    assert not trust.differs(settings(file))
    file.write_bytes(SECOND)
    for _ in range(3):
        trust.rotated(settings(file))
        assert trust.differs(settings(file))
    file.write_bytes(FIRST)
    assert not trust.differs(settings(file))
    file.unlink()
    assert not trust.differs(settings(file))
    file.write_bytes(SECOND)
    trust.started(settings(file))
    assert not trust.differs(settings(file))


def becomes_a_folder(file: Path) -> None:
    """Put a folder in the place of the file."""
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("how", [lambda file: file.write_text("hello"), Path.unlink, becomes_a_folder])
def test_what_cannot_be_used_is_reported_and_changes_nothing(
    rotated: Callable[[Callable[[Path], object]], list[Rotated]], how: Callable[[Path], object]
) -> None:
    """A file that is spoilt under a running connector is named once, and what is written next is news again."""
    (found,) = rotated(how)
    assert found.trouble.startswith("origin_ca: ")
    (found,) = rotated(written_again)
    assert found == Rotated()


def test_a_tunnel_that_failed_notices_the_remedy(tmp_path: Path) -> None:
    """A tunnel that could not start for its file is started when the file is there."""
    file = tmp_path / "ca.pem"
    trust = OriginTrust()
    trust.started(settings(file))
    assert not trust.has_changed(settings(file))
    file.write_bytes(FIRST)
    assert trust.has_changed(settings(file))
    assert not trust.has_changed(settings(file))


@pytest.mark.parametrize(
    ("overlap", "temporary", "level", "words"),
    [(True, False, "info", "takes the place"), (False, True, "warn", "prx restart web takes the new one, and changes the URL")],
)
def test_what_is_said_of_a_rotation(*, overlap: bool, temporary: bool, level: str, words: str) -> None:
    """A named tunnel takes the new file by itself; of a quick one the command is named, and its price."""
    backend = SimpleNamespace(can_overlap=overlap, url_is_temporary=temporary)
    context = SimpleNamespace(name="web", settings=settings(Path("/etc/ca.pem")), backend=backend)
    said = Rotated().words(cast("TunnelContext", context))
    assert said[0] == level
    assert words in said[1]
    assert "/etc/ca.pem" in said[1]
    assert Rotated("origin_ca: x").words(cast("TunnelContext", context))[0] == "error"


def as_a_folder(file: Path) -> None:
    """Make a folder of it."""
    file.mkdir()


OTHERS_FILES: dict[str, Callable[[Path], object]] = {
    "writable": open_to_all,
    "huge": lambda file: file.write_bytes(b"#" * (3 << 20)),
    "fifo": os.mkfifo,
    "directory": as_a_folder,
}


@pytest.mark.parametrize("kind", OTHERS_FILES)
def test_the_systems_authorities_are_not_called_origin_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Both files are read for the service: the one that cannot be used is named, with the variable that helps."""
    good, others = tmp_path / "ca.pem", tmp_path / "system.pem"
    good.write_bytes(FIRST)
    OTHERS_FILES[kind](others)
    monkeypatch.setenv("SSL_CERT_FILE", str(others))
    with pytest.raises(PermanentError) as caught:
        require_origin_ca(settings(good))
    assert caught.value.message.startswith(f"SSL_CERT_FILE: {others}")
    assert "origin_ca" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_what_the_machine_lacks_for_the_systems_authorities_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is at fault then, and another try can help."""
    good, others = tmp_path / "ca.pem", tmp_path / "system.pem"
    good.write_bytes(FIRST)
    others.write_bytes(SECOND)
    monkeypatch.setenv("SSL_CERT_FILE", str(others))
    with no_descriptors(), pytest.raises(ShortageError) as caught:
        require_origin_ca(settings(good))
    assert str(others) in caught.value.message
    assert "ulimit -n" in caught.value.hint
    require_origin_ca(settings(good))


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
@pytest.mark.parametrize(
    ("code", "told"),
    [(19, True), (20, True), (21, True), (18, False), (10, False)],
    ids=["chain", "issuer", "leaf", "signed by itself", "expired"],
)
def test_authorities_that_a_variable_took_away_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int, told: bool
) -> None:
    """A certificate that nothing vouches for may be a good one: what was to vouch for it cannot be read."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "unable to get local issuer certificate"
    endpoint = Endpoint("127.0.0.1", 443)
    assert "SSL_CERT" not in to_probe_error(error, endpoint, 1.0).words
    monkeypatch.setenv(name, str(tmp_path / "none"))
    assert (f"({name}={tmp_path / 'none'} cannot be read)" in to_probe_error(error, endpoint, 1.0).words) is told
    (tmp_path / "none").mkdir()
    assert "SSL_CERT" not in to_probe_error(error, endpoint, 1.0).words
