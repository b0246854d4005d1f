"""The places of prx's configuration and files."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from prx.config.paths import config_file, data_dir, ensure_private_dir, runtime_dir
from prx.core.errors import PermanentError


def test_config_file_order(tmp_path: Path) -> None:
    """-c comes before PRX_CONFIG, that before ./prx.toml, that before the user's own file, and nothing is None."""
    own = tmp_path / "xdg" / "prx" / "config.toml"
    env = {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": "/nowhere"}
    assert config_file(None, env, tmp_path) is None
    own.parent.mkdir(parents=True)
    own.touch()
    assert config_file(None, env, tmp_path) == own
    (tmp_path / "prx.toml").touch()
    assert config_file(None, env, tmp_path) == tmp_path / "prx.toml"
    env["PRX_CONFIG"] = "/missing/one.toml"
    assert config_file(None, env, tmp_path) == Path("/missing/one.toml")
    assert config_file(Path("other.toml"), env, tmp_path) == Path("other.toml")


def test_a_dangling_link_is_not_passed_over(tmp_path: Path) -> None:
    """A prx.toml that leads nowhere is reported by the loader instead of being ignored."""
    (tmp_path / "prx.toml").symlink_to("gone")
    assert config_file(None, {"HOME": "/nowhere"}, tmp_path) == tmp_path / "prx.toml"


@pytest.mark.parametrize(
    ("env", "data", "runtime"),
    [
        ({"HOME": "/h"}, "/h/.local/share/prx", "/h/.local/share/prx/run"),
        ({"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_RUNTIME_DIR": "/r"}, "/d/prx", "/r/prx"),
        ({"HOME": "/h", "XDG_DATA_HOME": "relative", "XDG_RUNTIME_DIR": "r"}, "/h/.local/share/prx", "/h/.local/share/prx/run"),
        ({"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "PRX_DATA_DIR": "/p"}, "/p", "/p/run"),
    ],
)
def test_directories(env: dict[str, str], data: str, runtime: str) -> None:
    """Data and runtime directories follow PRX_DATA_DIR first, then the XDG variables that are absolute."""
    assert (data_dir(env), runtime_dir(env)) == (Path(data), Path(runtime))


def test_a_relative_data_directory_becomes_absolute() -> None:
    """A later change of the current folder does not move prx's files."""
    assert data_dir({"PRX_DATA_DIR": "here"}) == Path.cwd() / "here"


def test_private_directory_is_made_and_kept_private(tmp_path: Path) -> None:
    """Others get no rights, neither in a new directory nor in one that was there."""
    path = ensure_private_dir(tmp_path / "a" / "b")
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    path.chmod(0o755)
    ensure_private_dir(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_folders_above_a_private_one_are_private(tmp_path: Path, umask: int) -> None:
    """Those that prx makes on the way have its mode, too; one that is there keeps its own."""
    (tmp_path / "there").mkdir(mode=0o755)
    before = os.umask(umask)
    try:
        ensure_private_dir(tmp_path / "there" / "a" / "b" / "c")
    finally:
        os.umask(before)
    modes = [(tmp_path / "there" / path).stat().st_mode & 0o777 for path in (".", "a", "a/b", "a/b/c")]
    assert modes == [0o755, 0o700, 0o700, 0o700]


def test_private_directory_refuses_what_others_control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, a file, a directory below a file and another user's directory are refused by name."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").touch()
    for path, words in (("link", "symbolic link"), ("file", "is a file"), ("file/x", "cannot create")):
        with pytest.raises(PermanentError, match=words):
            ensure_private_dir(tmp_path / path)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermanentError, match="expected user 12345"):
        ensure_private_dir(tmp_path / "real")


def test_paths_import_no_library() -> None:
    """`prx url` and `prx status` import this module, so it pulls in the standard library alone."""
    code = "import sys, prx.config.paths; print({'pydantic', 'click', 'rich', 'cryptography'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_relative_home_gives_absolute_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The child runs in a folder of its own, so a path that is handed to it must not depend on the current one."""
    monkeypatch.chdir(tmp_path)
    assert data_dir({"HOME": "here"}) == tmp_path / "here/.local/share/prx"
    assert runtime_dir({"HOME": "here"}) == tmp_path / "here/.local/share/prx/run"
