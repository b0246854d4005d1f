"""`prx install cloudflared --upgrade` beside a running prx: what is changed over, what is left alone, and what is reported."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.prx_process import clean_environment, prx_start
from tests.install.mirror import INSTALL, MACHINE, PROGRAM, Mirror, release, whole
from tests.support.child import Child, running
from tests.support.origin import serving

from prx.cli.upgrade import User, outdated, runs
from prx.core.errors import PermanentError, PrxError, ShortageError, UsageError
from prx.core.shortage import FOR_NOW
from prx.install import trial
from prx.install.cloudflared import Installed, install_cloudflared
from prx.install.fetch import Bounds

CONFIG = """
[tunnels.web]
local_addr = "127.0.0.1:{port}"
[tunnels.web.cloudflare]
mode = "named"
hostname = "web.localhost"
cloudflared_path = "{program}"
grace_period_secs = 1
[tunnels.fast]
local_addr = "127.0.0.1:{port}"
[tunnels.fast.cloudflare]
cloudflared_path = "{program}"
grace_period_secs = 1
"""


def connector(version: str) -> bytes:
    """Return a program that is the builtin connector and calls itself cloudflared `version`."""
    said = f'[ "$1" = --version ] && echo "cloudflared version {version} (built 2099)" && exit\n'
    return f'#!/bin/sh\n{said}{sys.executable} -m prx.lab.connector "$@"\n'.encode()


class Machine:
    """A user's machine: `install` puts a version into its data directory from a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = clean_environment(folder)
        self.program = folder / "data" / "bin" / "cloudflared"

    def install(self, version: str, *arguments: str) -> tuple[int, str]:
        """Run the command with the release `version`; return its exit code and what it said on stderr."""
        content = connector(version)
        file = self.folder / f"asset-{version}"
        file.write_bytes(content)
        words = [version, hashlib.sha256(content).hexdigest(), *(arguments or ("--from", str(file), "--upgrade"))]
        command = [sys.executable, "-c", INSTALL, *words]
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=90, check=False)
        assert done.stdout == (f"{self.program}\n" if done.returncode == 0 else ""), done.stderr
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr


async def test_a_named_tunnel_changes_over_and_a_quick_one_is_left_alone(tmp_path: Path) -> None:
    """The command waits for the named tunnel, whose URL never goes down; the quick one keeps connector and URL, and says so."""
    machine = Machine(tmp_path)
    code, said = machine.install("2099.1.0")
    assert code == 0, said
    assert "no tunnel that runs is concerned" in said
    with serving() as origin:
        (tmp_path / "prx.toml").write_text(CONFIG.format(program=machine.program, port=origin.port))
        await _change_over(machine, tmp_path)


async def _change_over(machine: Machine, folder: Path) -> None:
    async with prx_start("--lab", environ=machine.environ, cwd=folder) as prx:
        for name in ("web", "fast"):
            await prx.event("state_changed", tunnel=name, new="ready")
        before = len(prx.events)
        code, said = await asyncio.to_thread(machine.install, "2099.2.0")
        assert code == 0, said + prx.story()
        assert "web: runs cloudflared 2099.2.0 now" in said
        assert "fast: the old cloudflared runs on; prx restart fast takes 2099.2.0, and changes the URL" in said
        started = [event for event in prx.events[before:] if event["event"] == "child_started"]
        assert [(event["tunnel"], event["version"]) for event in started] == [("web", "2099.2.0")]
        changed = [event for event in prx.events[before:] if event["event"] in {"state_changed", "url_changed"}]
        assert changed == [], prx.story()
        assert await prx.stop() == 0


async def test_an_upgrade_that_is_there_already_changes_nothing(tmp_path: Path) -> None:
    """Without a running prx, and a second time, the command succeeds and says that nothing is concerned."""
    machine = Machine(tmp_path)
    for _ in range(2):
        code, said = machine.install("2099.1.0")
        assert (code, said.count("no tunnel that runs is concerned")) == (0, 1), said


async def test_who_runs_an_older_file_is_found_later_too(tmp_path: Path) -> None:
    """A connector that was left on the old file is known by what it runs, also when nothing has to be installed any more."""
    for version in ("1", "2"):
        shutil.copy("/bin/sleep", tmp_path / f"cloudflared-{version}")
    link = tmp_path / "cloudflared"
    link.symlink_to("cloudflared-1")
    async with running([str(link), "60"], Child, env=dict(os.environ), cwd=tmp_path) as child:
        user = User(1, "fast", "quick", frozenset({child.process.pid}))
        assert runs(child.process.pid, link)
        assert not runs(child.process.pid, tmp_path / "other" / "cloudflared")
        assert outdated([user], link) == []
        link.unlink()
        link.symlink_to("cloudflared-2")
        assert outdated([user], link) == [user]
        (tmp_path / "cloudflared-1").unlink()
        assert outdated([user], link) == [user]
        assert runs(child.process.pid, link)
        assert not runs(os.getpid(), link)


async def bring(folder: Path, content: bytes = PROGRAM, **more: object) -> Installed:
    """Install `content` as the release VERSION from a file."""
    file = folder.parent.parent / "asset"
    file.write_bytes(content)
    return await install_cloudflared(folder, release=release(content), machine=MACHINE, file=file, **more)  # type: ignore[arg-type]


async def test_a_file_is_taken_like_a_download(folder: Path) -> None:
    """The published file itself is copied, verified, run once, and put into use; it stays where it was."""
    done = await bring(folder)
    assert done.path.read_bytes() == PROGRAM
    assert (folder.parent.parent / "asset").read_bytes() == PROGRAM


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("missing", UsageError, "asset is not there"),
        ("folder", UsageError, "found a directory, expected a file"),
        ("fifo", UsageError, "found a FIFO, expected a file"),
        ("other", PermanentError, "is not the file that prx expects"),
        ("cut", PermanentError, "is not the file that prx expects"),
        ("large", PrxError, "expected at most 1000: this is no cloudflared"),
    ],
)
async def test_a_file_that_is_not_the_one(tmp_path: Path, folder: Path, kind: str, error: type[PrxError], words: str) -> None:
    """What is no file, another file, or a part of the file is refused at once, in words, and leaves nothing."""
    file = tmp_path / "asset"
    match kind:
        case "folder":
            file.mkdir()
        case "fifo":
            os.mkfifo(file)
        case "other" | "cut" | "large":
            file.write_bytes({"other": b"#!/bin/sh\n", "cut": PROGRAM[:-1], "large": PROGRAM}[kind])
    bounds = Bounds(size=1000) if kind == "large" else None
    with pytest.raises(error, match=words):
        await install_cloudflared(folder, release=release(), machine=MACHINE, file=file, bounds=bounds)
    assert {path.name for path in folder.iterdir()} <= {".lock"}
    assert kind not in {"other", "cut"} or file.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/bin/sh\necho cloudflared version 2098.1.0\n", "says 'cloudflared version 2098.1.0', expected version 2099.1.0"),
        (b"#!/bin/sh\nexit 1\n", "says '', expected version 2099.1.0"),
        (b"\x7fELF for another machine", "cannot be run here: exec format error"),
        (b"#!/no/such/interpreter\n", "cannot be run here: no such file or directory"),
        (b"#!/bin/sh\nexec sleep 100\n", r"has not ended within 0\.2 s"),
    ],
)
async def test_what_does_not_run_is_not_put_into_use(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    """A verified program that says another version, or cannot be run here, changes nothing: the one before stays in use."""
    old = b"#!/bin/sh\necho version 2099.0.0\n"
    base = mirror.serve(whole(old), "2099.0.0")
    await install_cloudflared(folder, release=release(old, "2099.0.0"), machine=MACHINE, base=base)
    if "within" in words:
        monkeypatch.setattr(trial, "WITHIN", 0.2)
    with pytest.raises(PrxError, match=words):
        await install_cloudflared(folder, release=release(content), machine=MACHINE, base=mirror.serve(whole(content)))
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cloudflared", "cloudflared-2099.0.0"]
    assert (folder / "cloudflared").read_bytes() == old


@pytest.mark.parametrize(
    ("said", "number"),
    [("runtime: eventfd failed with 24", errno.EMFILE), ("fatal error: failed to reserve page summary memory", errno.ENOMEM)],
)
async def test_what_could_not_be_tried_for_now_is_tried_again(
    mirror: Mirror, folder: Path, tmp_path: Path, said: str, number: int
) -> None:
    """A program that this machine gives too little has not said another version: the next install tries it, as it is there."""
    flag = tmp_path / "enough"
    content = f"#!/bin/sh\n[ -e {flag} ] || {{ echo '{said}' >&2; exit 2; }}\necho version 2099.1.0\n".encode()
    with pytest.raises(ShortageError, match="cannot say its version") as short:
        await install_cloudflared(folder, release=release(content), machine=MACHINE, base=mirror.serve(whole(content)))
    assert (short.value.exit_code, short.value.hint) == (1, FOR_NOW[number].hint)
    assert not (folder / "cloudflared").exists()
    flag.touch()
    done = await install_cloudflared(folder, release=release(content), machine=MACHINE, base="https://127.0.0.1:1")
    assert not done.downloaded
