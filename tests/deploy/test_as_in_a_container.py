"""prx run as the image, Compose and Kubernetes run it, in namespaces of its own: no container engine is there."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from tests.deploy.files import CONTAINERFILE, FAKE_TOKEN, ROOT
from tests.deploy.pid1 import UID, as_pid_1
from tests.e2e.prx_process import PRX, PrxProcess, clean_environment

TOOLS = ("unshare", "nsenter", "setpriv", "ip")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0
        or any(shutil.which(tool) is None for tool in TOOLS)
        or subprocess.run(
            ["unshare", "--mount", "--pid", "--net", "--fork", "true"], capture_output=True, check=False
        ).returncode
        != 0,
        reason="needs root, and namespaces of its own",
    ),
]

# A container's file system out of this machine's: the volumes on a tmpfs, what is closed to others opened at the places that
# are needed, all else read-only. Secret and ConfigMap look as the kubelet makes them.
CONTAINER = r"""
set -e
mount --make-rprivate /
ip link set lo up
mount -t tmpfs -o mode=755 none /mnt
mkdir -p /mnt/etc /mnt/token/..1 /mnt/var /mnt/keep
number=0
for needed in $NEEDED; do mkdir /mnt/keep/$number; mount --bind $needed /mnt/keep/$number; number=$((number + 1)); done
for closed in $CLOSED; do mount -t tmpfs -o mode=755 none $closed; done
number=0
for needed in $NEEDED; do mkdir -p $needed; mount --bind /mnt/keep/$number $needed; number=$((number + 1)); done
printf '%s' "$CONFIG" >/mnt/etc/config.toml
printf '%stoken"\n' "$NAMED" >/mnt/etc/named.toml
printf '%sother"\n' "$NAMED" >/mnt/etc/missing.toml
printf '%s' "$TOKEN" >/mnt/token/..1/token
chown root:65532 /mnt/token/..1/token && chmod 440 /mnt/token/..1/token
ln -s ..1 /mnt/token/..data && ln -s ..data/token /mnt/token/token
mount -t tmpfs -o mode=$MODE,uid=$OWNER,gid=65532 none /mnt/var
for each in $(awk '$2 != "/mnt/var" && $2 !~ "^/(proc|sys|dev)" {print $2}' /proc/mounts | sort -u); do
  mount -o remount,bind,ro "$each" 2>/dev/null || true
done
cd /mnt/var
rights="--no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all"
exec setpriv --reuid=65532 --regid=65532 --clear-groups $rights "$@"
"""


def closed_folders(needed: list[str]) -> list[str]:
    """Return the first folder on the way to each that other users cannot enter."""
    ways = [[*reversed(Path(name).parents), Path(name)] for name in needed]
    found = {next((str(part) for part in way if not part.stat().st_mode & 1), "") for way in ways}
    return sorted(found - {""})


def volume(kind: str) -> dict[str, str]:
    """Return how the volume for the data looks: an emptyDir is root's with the pod's group, the tmpfs of a container prx's."""
    return {"MODE": "2777", "OWNER": "0"} if kind == "emptyDir" else {"MODE": "0700", "OWNER": str(UID)}


@asynccontextmanager
async def container(
    tmp_path: Path, config: str, kind: str, *arguments: str
) -> AsyncIterator[tuple[PrxProcess, psutil.Process]]:
    """Run prx as PID 1 without root, rights and a writable root; yield it, and its process as this machine sees it."""
    needed = [sys.base_prefix, str(ROOT)]
    environ = {
        **clean_environment(tmp_path, PRX_DATA_DIR="/mnt/var/data", PYTHONDONTWRITEBYTECODE="1"),
        **volume(kind),
        "HOME": "/mnt/var",
        "NEEDED": " ".join(needed),
        "CLOSED": " ".join(closed_folders(needed)),
        "CONFIG": config,
        "NAMED": NAMED,
        "TOKEN": FAKE_TOKEN,
    }
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--net", "sh", "-c", CONTAINER, "sh"]
    argv += [PRX, "start", "--json", *arguments, "-c", "/mnt/etc/config.toml"]
    async with as_pid_1(argv, environ=environ, cwd=tmp_path) as running:
        yield running


async def inside(init: psutil.Process, *command: str) -> tuple[int, str]:
    """Run a command in the container as its user; return exit code and output."""
    process = await asyncio.create_subprocess_exec(
        "nsenter", f"--target={init.pid}", "--mount", "--pid", "--net", "--", "setpriv", f"--reuid={UID}", f"--regid={UID}",
        "--clear-groups", "--", *command,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "HOME": "/mnt/var", "PRX_DATA_DIR": "/mnt/var/data"},
    )  # fmt: skip
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


CONFIG = """
[web]
probes = "0.0.0.0:9464"
[tunnel]
local_addr = "127.0.0.1:9464"
health_check_path = "/healthz"
"""
NAMED = '[tunnel.cloudflare]\nmode = "named"\nhostname = "a.example.com"\ntoken = "file:/mnt/token/'
GET = "import sys, urllib.request; print(urllib.request.urlopen('http://127.0.0.1:9464' + sys.argv[1], timeout=9).status)"


@pytest.mark.parametrize("kind", ["emptyDir", "tmpfs"])
async def test_it_runs_in_the_image_as_it_is_meant_to(tmp_path: Path, kind: str) -> None:
    """A tunnel comes up on a read-only root without rights; HEALTHCHECK and probes answer; SIGTERM to PID 1 ends with 0."""
    health = json.loads(CONTAINERFILE.read_text().partition("HEALTHCHECK")[2].partition("CMD ")[2].partition("\n")[0])
    async with container(tmp_path, CONFIG, kind, "--lab") as (prx, init):
        await prx.url()
        assert init.uids().real == UID, prx.story()
        status = Path(f"/proc/{init.pid}/status").read_text()
        assert [line.split()[1] for line in status.splitlines() if line.startswith("Cap")] == ["0" * 16] * 5
        assert (await inside(init, "sh", "-c", "touch /usr/x /mnt/etc/x /x"))[0] != 0
        code, said = await inside(init, PRX, *health[1:])
        assert code == 0, said
        for path in ("/healthz", "/readyz"):
            assert await inside(init, sys.executable, "-c", GET, path) == (0, "200\n"), prx.story()
        init.send_signal(signal.SIGTERM)
        assert await prx.exit_code() == 0, prx.story()
    assert "Traceback" not in "\n".join(prx.lines)


async def test_the_token_of_a_secret_volume_is_read(tmp_path: Path) -> None:
    """A token that only root and the pod's group can read, behind two links, is read; one that is not there is named."""
    async with container(tmp_path, CONFIG, "emptyDir", "--lab") as (_, init):
        code, said = await inside(init, PRX, "config", "check", "-c", "/mnt/etc/named.toml")
        assert code == 0, said
        code, said = await inside(init, PRX, "config", "check", "-c", "/mnt/etc/missing.toml")
        assert code == 2, said
        assert "/mnt/token/other" in said
