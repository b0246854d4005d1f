"""Nothing that could not be read is taken for absent: not a configuration, a secret, a log, or what is remembered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prx.cli import main
from prx.cli.logs import _latest
from prx.cloudflare_api import cert
from prx.config.paths import find_config
from prx.core.errors import PrxError
from prx.files.presence import files_in, is_file, is_there
from prx.ui import say

NOBODY = 65534


@contextmanager
def closed(folder: Path) -> Iterator[None]:
    """Take the right to search `folder` away from this process, be it root's."""
    mode, user = folder.stat().st_mode, os.geteuid()
    folder.chmod(0)
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of a user whose configuration lies in it, too."""
    place = tmp_path / "data"
    (place / "prx").mkdir(parents=True)
    monkeypatch.chdir("/")
    monkeypatch.setenv("PRX_DATA_DIR", str(place))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place))
    monkeypatch.setattr(say, "_quiet", False)
    return place


def exit_code(line: str, capsys: pytest.CaptureFixture[str], closing: Path) -> int:
    """Run a command with and without a right to its folder, and return the second exit code. The first loads what it needs."""
    main(line.split())
    main(["secret", "get", "none"])
    capsys.readouterr()
    with closed(closing):
        return main(line.split())


def test_what_is_there(tmp_path: Path) -> None:
    """A file, a folder and a link that leads nowhere are; what no folder has, and what would lie below a file, is not."""
    file, link = tmp_path / "file.log", tmp_path / "link.log"
    file.touch()
    link.symlink_to("gone")
    assert all(map(is_there, [file, tmp_path, link]))
    assert not any(map(is_there, [tmp_path / "gone", file / "below", tmp_path / "no" / "where"]))
    assert set(files_in(tmp_path, ".log")) == {file, link}
    assert files_in(tmp_path / "gone", ".log") == files_in(file, ".log") == []


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """A closed folder, a circle of links, a name that is too long."""
    (tmp_path / "circle").symlink_to("circle")
    for path in (tmp_path / "circle" / "x", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"too long|Too many levels"):
            is_there(path)
    with closed(tmp_path), pytest.raises(PermissionError):
        is_there(tmp_path / "x")
    with closed(tmp_path), pytest.raises(PermissionError):
        files_in(tmp_path, ".log")


def test_a_configuration_in_a_closed_folder_is_not_passed_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tunnel that came up with the defaults would lack the guards that the file gives it."""
    (folder / "prx/config.toml").write_text("[tunnel]\nrequire_access = true\n")
    with closed(folder / "prx"):
        assert find_config() is not None
    assert exit_code("config check", capsys, folder / "prx") == 2
    assert "config.toml: cannot be read: permission denied" in capsys.readouterr().err


def test_a_closed_current_folder_has_no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may be given in any folder: in one of another user, too."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    with closed(tmp_path):
        assert find_config(cwd=tmp_path) is None


@pytest.mark.parametrize("line", ["secret list", "secret get x", "secret delete x"])
def test_secrets_in_a_closed_folder_are_not_gone(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither are there no secrets yet, nor none of this name."""
    assert exit_code(line, capsys, folder) != 0
    said = capsys.readouterr().err
    assert "permission denied" in said.lower()
    assert "no secret" not in said


def test_logs_in_a_closed_folder_are_not_gone(folder: Path) -> None:
    """`prx logs` says what it may not read, and not that nothing was ever logged."""
    (folder / "logs").mkdir()
    for config in (None, folder / "prx.toml"):
        with pytest.raises(PrxError, match="there are no logs"):
            _latest(config)
        with closed(folder / "logs"), pytest.raises(PermissionError):
            _latest(config)


def test_what_cannot_be_read_is_not_forgotten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`prx forget` does not claim that nothing was remembered."""
    assert exit_code("forget", capsys, folder) == 1
    said = capsys.readouterr().err
    assert "nothing was forgotten: " in said
    assert "nothing was remembered" not in said


@pytest.mark.parametrize("name", ["config.yml", "none.yml"])
def test_what_only_this_user_would_read_is_absent_if_it_may_not_be_read(tmp_path: Path, name: str) -> None:
    """Cloudflared's own files in a folder of another user concern neither the cloudflared nor the prx of this one."""
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "config.yml").touch()
    assert is_file(folder / name) is (name == "config.yml")
    with closed(folder):
        assert not is_file(folder / name)


@pytest.mark.parametrize("named", [False, True])
def test_a_cert_pem_out_of_reach_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    """`prx setup` goes on to say how to sign in; a folder that it may not search was an error of its own."""
    folder = tmp_path / ".cloudflared"
    folder.mkdir()
    (folder / "cert.pem").touch()
    monkeypatch.setattr(cert, "_SYSTEM", (str(folder),))
    environ = {"HOME": str(tmp_path)} | ({"TUNNEL_ORIGIN_CERT": str(folder / "cert.pem")} if named else {})
    assert cert.find_cert(environ) == folder / "cert.pem"
    with closed(folder):
        assert cert.find_cert(environ) is None
