"""`prx install cloudflared` on a file system that refuses something: real mounts, in a mount namespace of the test's own."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.install.mirror import INSTALL, MACHINE, PROGRAM, VERSION, Mirror, release, whole
from tests.support.namespaces import NEEDS_MOUNTS

from prx.core.errors import PermanentError, PrxError, ShortageError
from prx.install.cloudflared import install_cloudflared

OLD = b"#!/bin/sh\necho version 2099.0.0\n"


class Disk:
    """A tmpfs as the data folder, on which the old program is in use before it begins to refuse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700)
        self.installs = [self._install("old", OLD, "2099.0.0"), self._install("new", PROGRAM, VERSION)]

    def _install(self, name: str, content: bytes, version: str) -> str:
        asset, script = self.folder / name, self.folder / "install.py"
        asset.write_bytes(content)
        script.write_text(INSTALL)
        return f"{sys.executable} {script} {version} {hashlib.sha256(content).hexdigest()} --from {asset} 2>&1; echo code $?"

    def lines(self, options: str, refuse: str, allow: str = "true") -> list[str]:
        """Mount, install the old program, have the disk refuse, install the new one; then allow it, and install that again."""
        old, new = self.installs
        state = f"readlink {self.data}/bin/cloudflared; find {self.data}/bin -name '.partial*'"
        steps = [
            f"mount --make-rprivate / && mount -t tmpfs -o mode=0700,{options} none {self.data} || exit 9",
            old, f"{refuse} || exit 9", new, state, f"{allow} || exit 9", new, state,
        ]  # fmt: skip
        environ = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PRX_DATA_DIR": str(self.data), "HOME": str(self.folder)}
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", "\n".join(steps)],
            env=environ, cwd=self.folder, capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        assert "Traceback" not in ended.stdout + ended.stderr
        return ended.stdout.splitlines()


@NEEDS_MOUNTS
@pytest.mark.parametrize(
    ("options", "refuse", "allow", "code", "words", "hint"),
    [
        ("size=200k", "true", "mount -o remount,size=2m {data}", 1, "no space left on device", "make room"),
        ("size=2m", "head -c 1900k /dev/zero > {data}/fill", "rm {data}/fill", 1, "no space left on device", "make room"),
        ("nr_inodes=5", "true", "mount -o remount,nr_inodes=20 {data}", 1, "no space left on device", "make room"),
        ("nr_inodes=6", "true", "mount -o remount,nr_inodes=20 {data}", 1, "no space left on device", "make room"),
        ("nr_inodes=7", "true", "mount -o remount,nr_inodes=20 {data}", 1, "no space left on device", "make room"),
        (
            "size=2m", "mount -o remount,ro {data}", "mount -o remount,rw {data}", 3,
            "cannot write to {data}/bin: read-only file system", "set PRX_DATA_DIR to a directory of your own",
        ),
        (
            "size=2m", "mount -o remount,noexec {data}", "mount -o remount,exec {data}", 3,
            "cannot be run here: permission denied; it was not put into use", "is it mounted noexec?",
        ),
        (
            "size=2m", "mkdir {data}/bin/cloudflared-2099.1.0", "rmdir {data}/bin/cloudflared-2099.1.0", 1,
            "cannot write to {data}/bin/cloudflared-2099.1.0: is a directory", "",
        ),
        ("size=2m", "head -c 100k {folder}/new > {data}/bin/cloudflared-2099.1.0", "true", 0, "installed cloudflared", ""),
    ],
    ids=["small", "full", "no inode", "none for a link", "none for two", "read-only", "noexec", "in the way", "half-written"],
)  # fmt: skip
def test_the_old_program_stays_until_the_new_one_can_be_used(
    tmp_path: Path, options: str, refuse: str, allow: str, code: int, words: str, hint: str
) -> None:
    """What the disk refuses is said with what helps, nothing of a download stays, and once it is allowed it works."""
    disk = Disk(tmp_path)
    refuse, allow, words = (text.format(data=disk.data, folder=tmp_path) for text in (refuse, allow, words))
    said = "\n".join(disk.lines(options, refuse, allow))
    old, _, rest = said.partition("code 0\n")
    assert "installed cloudflared 2099.0.0" in old
    refused, _, after = rest.partition(f"code {code}\n")
    assert words in refused, said
    assert hint in refused, said
    first, second = f"cloudflared-{'2099.1.0' if code == 0 else '2099.0.0'}\n", "cloudflared-2099.1.0"
    assert after.startswith(first), said
    assert after.removeprefix(first).endswith(f"code 0\n{second}"), said


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.ENOSPC, ShortageError, "make room"),
        (errno.EDQUOT, ShortageError, "make room, or raise the quota"),
        (errno.EIO, ShortageError, ""),
        (errno.EROFS, PermanentError, "set PRX_DATA_DIR to a directory of your own"),
        (errno.EPERM, PermanentError, "set PRX_DATA_DIR to a directory of your own"),
    ],
)
async def test_what_the_disk_refuses_at_the_last_moment(
    mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[PrxError], hint: str
) -> None:
    """An error of the sync that ends a download is said with what helps, and leaves nothing of it."""

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=f"cannot write to {folder}: {os.strerror(number).lower()}") as refusal:
        await install_cloudflared(folder, release=release(), machine=MACHINE, base=mirror.serve(whole()))
    assert refusal.value.hint == hint
    assert {path.name for path in folder.iterdir()} <= {".lock"}
