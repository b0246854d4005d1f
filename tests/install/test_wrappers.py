"""Programs that run another one, and the connector that comes with prx: what they need to begin at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import prx
from prx.install.programs import builtin_connector, is_wrapper, needed_environment
from prx.runtime.process.version import ask_version

HOME = {"HOME": "/home/me"}
OTHERS = {
    "TUNNEL_TOKEN": "t",
    "PRX_MASTER_KEY": "k",
    "MISE_GITHUB_TOKEN": "s",
    "LISTEN_FDS": "3",
    "CLOUDFLARE_TUNNEL_TOKEN": "t",
}


def script(path: Path, text: str) -> Path:
    """Write a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_programs_and_wrappers(tmp_path: Path) -> None:
    """A program, also behind a link, is none; a script, a link to one, and a link to a manager are."""
    program = tmp_path / "cloudflared-2099.1.0"
    program.write_bytes(b"\x7fELF")
    link = tmp_path / "bin" / "cloudflared"
    link.parent.mkdir()
    link.symlink_to(program)
    assert not is_wrapper(program)
    assert not is_wrapper(link)
    assert not is_wrapper(tmp_path / "missing")
    assert is_wrapper(script(tmp_path / "cloudflared.sh", "true"))
    manager = tmp_path / "mise"
    manager.write_bytes(b"\x7fELF")
    shim = tmp_path / "shims" / "cloudflared"
    shim.parent.mkdir()
    shim.symlink_to(manager)
    assert is_wrapper(shim)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert not is_wrapper(loop)


def test_a_wrapper_gets_its_home_and_no_secret(tmp_path: Path) -> None:
    """It gets HOME and its manager's variables; no flag of cloudflared, nothing of prx, nothing that is called a secret."""
    shim = script(tmp_path / "cloudflared", "true")
    own = {"ASDF_DATA_DIR": "/a", "MISE_DATA_DIR": "/m", "XDG_DATA_HOME": "/x", "AQUA_ROOT_DIR": "/q", **HOME}
    assert needed_environment((str(shim),), own | OTHERS) == own
    assert needed_environment(("/bin/true",), own | OTHERS) == {}
    assert needed_environment((str(tmp_path / "none"),), own) == {}


@pytest.mark.parametrize(
    "text",
    [
        'test -f "$HOME/.tool-versions" && exec {real} "$@"; echo "No version is set for cloudflared" >&2; exit 126',
        'cd "$HOME" && exec "./$(cat .tool-versions)/cloudflared" "$@"',
        'echo "asdf: reading $HOME/.tool-versions" >&2; exec {real} "$@"',
        'exec env -i HOME="$HOME" {real} "$@"',
    ],
)
async def test_a_shim_that_reads_home_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """A version manager's shim finds the real program, whatever it says before."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".tool-versions").write_text("real")
    real = script(tmp_path / "real" / "cloudflared", "echo cloudflared version 2099.1.0")
    shim = script(tmp_path / "shims" / "cloudflared", text.format(real=real))
    assert await ask_version((str(shim),)) == "cloudflared version 2099.1.0"


@pytest.mark.parametrize("isolated", [False, True])
def test_the_builtin_connector_is_found_where_prx_was(tmp_path: Path, isolated: bool) -> None:
    """Without HOME, site-packages and a folder of its own it finds prx and its libraries, and not a stranger's prx."""
    (tmp_path / "prx").mkdir()
    (tmp_path / "prx" / "__init__.py").write_text("raise SystemExit('the wrong prx')")
    env = {"HOME": str(tmp_path), **needed_environment(builtin_connector(), HOME)}
    command = [*builtin_connector()[:1], *(["-S"] if isolated else []), *builtin_connector()[1:], "--version"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("cloudflared version ")


def test_the_order_of_folders_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found before the standard library stays there; relative and odd entries are left out."""
    own = str(Path(prx.__file__).resolve().parent.parent)
    monkeypatch.setattr(sys, "path", ["/script", "/first", "", ".", "/a:b", "/usr/lib/python3", "/site"])
    paths = needed_environment(builtin_connector(), HOME)["PYTHONPATH"].split(os.pathsep)
    assert paths == ["/first", "/usr/lib/python3", "/site", own]
