"""`prx install cloudflared` as a user runs it: a real process, killed, starved and pointed at a mirror."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.install.mirror import PROGRAM, VERSION, Mirror, whole

from prx.core.errors import PermanentError
from prx.install import programs
from prx.install.pinned import KEPT, PINNED, RELEASES, Machine, pinned_for
from prx.install.platform import choose_asset, this_machine
from prx.install.programs import find_client

DIGEST = hashlib.sha256(PROGRAM).hexdigest()
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "install-cloudflared.md"
# `prx`, with a table whose release is the mirror's; the table is an import-time constant, so it is replaced where it is used
PRX = f"""
import resource, sys
from prx.install import cloudflared as bring, pinned as table
small = table.Release({VERSION!r}, {{key: table.Asset("cloudflared-linux-amd64", {DIGEST!r}) for key in [("linux", "amd64"), bring.this_machine()]}})
bring.install_cloudflared.__kwdefaults__["release"] = small
if sys.argv[1] == "small-disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
from prx.cli.install import install
from prx.ui.errors import run
sys.exit(run(install, ["cloudflared", *sys.argv[2:]]))
"""  # noqa: E501 - a program


def prx(tmp_path: Path, *arguments: str, disk: str = "large-disk") -> subprocess.Popen[str]:
    """Start the command."""
    environ = {"PATH": "/nowhere", "PRX_DATA_DIR": str(tmp_path / "data"), "HOME": str(tmp_path)}
    return subprocess.Popen(
        [sys.executable, "-c", PRX, disk, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end and return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def names(tmp_path: Path) -> list[str]:
    """List what is in the folder of programs, except the lock."""
    return sorted(path.name for path in (tmp_path / "data" / "bin").iterdir() if path.name != ".lock")


def test_path_on_stdout_talk_on_stderr(tmp_path: Path, mirror: Mirror) -> None:
    """Only the path is on stdout, for a script; stderr says which version and digest."""
    code, out, err = end(prx(tmp_path, "--from", mirror.serve(whole())))
    assert (code, out) == (0, f"{tmp_path / 'data/bin/cloudflared'}\n"), err
    assert err == f"installed cloudflared {VERSION} (cloudflared-linux-amd64, SHA-256 {DIGEST})\n"
    code, out, err = end(prx(tmp_path, "--rollback"))
    assert (code, out) == (1, "")
    assert "no cloudflared before" in err


@pytest.mark.parametrize(("number", "leftover"), [(signal.SIGKILL, True), (signal.SIGINT, False)])
def test_killed_in_the_middle_leaves_no_program(tmp_path: Path, mirror: Mirror, number: int, leftover: bool) -> None:
    """Killed half-way there is no program; the next install sweeps up and works."""
    process = prx(tmp_path, "--from", mirror.serve(mirror.half()))
    assert mirror.half_sent.wait(30)
    process.send_signal(number)
    code, out, err = end(process)
    assert code == (-signal.SIGKILL if number == signal.SIGKILL else 130), err
    assert out == ""
    assert "Traceback" not in err
    assert [name.startswith(".partial-") for name in names(tmp_path)] == [True] * leftover
    code, _, err = end(prx(tmp_path, "--from", mirror.serve(whole())))
    assert code == 0, err
    assert names(tmp_path) == ["cloudflared", f"cloudflared-{VERSION}"]


def test_disk_that_takes_no_more(tmp_path: Path, mirror: Mirror) -> None:
    """A write that fails in the middle is said in words and leaves nothing."""
    code, _, err = end(prx(tmp_path, "--from", mirror.serve(whole()), disk="small-disk"))
    assert code == 1
    assert re.fullmatch(
        r"error: cannot write to \S+/bin: file too large\nhint: raise the limit of a file's size: ulimit -f\n", err
    )
    assert names(tmp_path) == []


def test_rollback_and_mirror_exclude_each_other(tmp_path: Path) -> None:
    """A mistaken command line changes nothing."""
    code, _, err = end(prx(tmp_path, "--rollback", "--from", "https://mirror.example.com"))
    assert code == 2
    assert "--rollback downloads nothing" in err
    code, _, err = end(prx(tmp_path, "--rollback"))
    assert code == 1
    assert "installed no cloudflared yet" in err
    assert not (tmp_path / "data").exists()


def test_table_is_what_the_page_says() -> None:
    """The shipped table equals the documented one: version, names, digests."""
    page = PAGE.read_text(encoding="utf-8")
    rows = set(re.findall(r"\| `(cloudflared-\S+)` \| `([0-9a-f]{64})` \| (\S+) \|", page))
    assert rows == {
        (asset.name, asset.sha256, release.version) for release in (PINNED, KEPT) for asset in release.assets.values()
    }
    assert len(rows) == 6
    assert f"installed cloudflared {PINNED.version}" in page
    assert RELEASES in page
    assert programs.HINT == "install it with `prx install cloudflared`"


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [
        ("Linux", "x86_64", "2026.10.0/cloudflared-linux-amd64"),
        ("Linux", "aarch64", "2026.10.0/cloudflared-linux-arm64"),
        ("Linux", "armv7l", "2026.7.2/cloudflared-linux-arm"),
        ("Linux", "i686", "2026.7.2/cloudflared-linux-386"),
        ("Darwin", "arm64", "2026.10.0/cloudflared-darwin-arm64.tgz"),
        ("Darwin", "x86_64", "2026.10.0/cloudflared-darwin-amd64.tgz"),
    ],
)
def test_machines(monkeypatch: pytest.MonkeyPatch, system: str, machine: str, expected: str) -> None:
    """Each machine gets its own asset, of the newest release whose digest is known for it."""
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    release = pinned_for(this_machine())
    assert f"{release.version}/{choose_asset(release, this_machine()).name}" == expected


@pytest.mark.parametrize("machine", [("linux", "riscv64"), ("windows", "amd64"), ("freebsd", "amd64"), ("darwin", "386")])
def test_machine_without_a_known_digest_is_refused(machine: Machine) -> None:
    """No value is guessed: what is in no table is refused, and all that is in one is named."""
    with pytest.raises(PermanentError) as caught:
        choose_asset(pinned_for(machine), machine)
    assert " ".join(machine) in str(caught.value)
    assert "linux arm, linux 386" in str(caught.value)


def test_path_comes_before_what_prx_installed(tmp_path: Path, mirror: Mirror) -> None:
    """A client in PATH wins; without one the installed one is taken, under its own name only."""
    end(prx(tmp_path, "--from", mirror.serve(whole())))
    environ = {"PATH": str(tmp_path / "usr"), "PRX_DATA_DIR": str(tmp_path / "data")}
    assert find_client("cloudflared", environ) == str(tmp_path / "data/bin/cloudflared")
    assert find_client("other", environ) is None
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "cloudflared").write_bytes(PROGRAM)
    os.chmod(tmp_path / "usr" / "cloudflared", 0o755)  # noqa: PTH101 - as short as it gets
    assert find_client("cloudflared", environ) == str(tmp_path / "usr/cloudflared")
