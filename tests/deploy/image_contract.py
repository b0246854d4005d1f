"""The image, built by its recipe and run without a container engine: `make image` runs this; `pytest` alone does not.

A Debian takes the place of the base image. umoci makes an OCI image of the result and unpacks it; what is run is what the
unpacked image says. No engine, no registry and no seccomp filter of an engine's is part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.deploy import openrc_run
from tests.deploy.files import CONTAINERFILE, ROOT
from tests.deploy.pid1 import UID, as_pid_1
from tests.deploy.recipe import Builder, Settings
from tests.e2e.prx_process import PrxProcess
from tests.e2e.test_as_init import zombies_last
from tests.support.child import run

pytestmark = pytest.mark.timeout(1200)
WORK = ROOT / ".venv" / "image"
# As a container runs it: a read-only root with /proc, /dev and two volumes on a tmpfs, no network but loopback, no right.
CONTAINER = r"""
set -e
mount --make-rprivate /
mount --bind "$ROOT" "$ROOT"
mount -t proc -o nosuid,nodev,noexec none "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs -o mode=1777 none "$ROOT/tmp"
mount -t tmpfs -o mode=0700,uid=65532,gid=65532 none "$ROOT/var/lib/prx"
mount -o remount,bind,ro "$ROOT"
ip link set lo up
rights="--no-new-privs --inh-caps=-all --ambient-caps=-all --bounding-set=-all"
exec chroot "$ROOT" setpriv --reuid=65532 --regid=65532 --clear-groups $rights env --chdir="$WORKDIR" "$@"
"""


def umoci(*words: str | Path) -> None:
    """Run umoci."""
    subprocess.run(["umoci", *map(str, words)], check=True)


@pytest.fixture(scope="module")
def built() -> Iterator[Settings]:
    """Build the image `.venv/image/layout:prx`, and yield what its recipe says."""
    shutil.rmtree(WORK / "stages", ignore_errors=True)
    shutil.rmtree(WORK / "layout", ignore_errors=True)
    (WORK / "stages").mkdir(parents=True)
    real = Path(os.environ.get("PRX_TEST_CLOUDFLARED") or ROOT / ".venv" / "real" / "cloudflared")
    builder = Builder(WORK / "stages", base(), ROOT, real if real.is_file() else None)
    builder.build(CONTAINERFILE.read_text())
    image, said = f"{WORK / 'layout'}:prx", builder.settings
    umoci("init", "--layout", WORK / "layout")
    umoci("new", "--image", image)
    umoci("unpack", "--image", image, WORK / "stages" / "new")
    shutil.rmtree(WORK / "stages" / "new" / "rootfs")
    builder.root.rename(WORK / "stages" / "new" / "rootfs")
    umoci("repack", "--image", image, WORK / "stages" / "new")
    words = [f"--config.user={said.user}", f"--config.workingdir={said.workdir}", f"--config.stopsignal={said.stop_signal}"]
    words += [f"--config.env={name}={value}" for name, value in said.environment.items()]
    words += [f"--config.label={name}={value}" for name, value in said.labels.items()]
    words += [f"--config.exposedports={port}" for port in said.ports]
    words += [f"--config.entrypoint={word}" for word in said.entrypoint] + [f"--config.cmd={word}" for word in said.command]
    umoci("config", "--image", image, *words)
    yield said
    shutil.rmtree(WORK / "stages")


def base() -> Path:
    """Return a Debian with Python and pip in their places of the official image, made once."""
    folder = WORK / "base"
    if not (folder / "usr" / "local" / "bin" / "pip").exists():
        shutil.rmtree(folder, ignore_errors=True)
        WORK.mkdir(parents=True, exist_ok=True)
        include = "--include=python3,python3-venv,ca-certificates"
        unshare = ["unshare", "--mount"]  # what debootstrap mounts goes with it, also if it is interrupted
        command = [*unshare, "debootstrap", "--variant=minbase", include, "bookworm", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for link, target in {"python": "/usr/bin/python3", "pip": "/usr/bin/false"}.items():
            (folder / "usr" / "local" / "bin" / link).symlink_to(target)
    return folder


@pytest.fixture(scope="module")
def bundle(built: Settings) -> Iterator[dict[str, Any]]:
    """Unpack the image as a runtime does, and yield its configuration."""
    assert built.user == f"{UID}:{UID}"
    folder = WORK / "bundle"
    shutil.rmtree(folder, ignore_errors=True)
    umoci("unpack", "--image", f"{WORK / 'layout'}:prx", folder)
    yield json.loads((folder / "config.json").read_text())
    shutil.rmtree(folder)


def test_the_image_says_what_the_recipe_says(built: Settings, bundle: dict[str, Any]) -> None:
    """User, folder, variables and command arrive in the configuration that a runtime reads."""
    process = bundle["process"]
    assert (process["user"]["uid"], process["user"]["gid"], process["cwd"]) == (UID, UID, built.workdir)
    assert process["args"] == [*built.entrypoint, *built.command] == ["prx", "start", "-c", "/etc/prx/config.toml"]
    assert {f"{name}={value}" for name, value in built.environment.items()} <= set(process["env"])
    assert built.stop_signal == "SIGTERM"
    assert not [word for word in process["env"] if "TOKEN" in word or "SECRET" in word]


@asynccontextmanager
async def container(bundle: dict[str, Any], folder: Path, *arguments: str) -> AsyncIterator[tuple[PrxProcess, psutil.Process]]:
    """Run the image's program as PID 1 with other arguments; yield it, and its process as this machine sees it."""
    process = bundle["process"]
    environ = dict(word.split("=", 1) for word in process["env"])
    script = {"ROOT": str(WORK / "bundle" / "rootfs"), "WORKDIR": process["cwd"], "PATH": os.environ["PATH"]}
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--net", "sh", "-c", CONTAINER, "sh"]
    argv += ["-i", *(f"{name}={value}" for name, value in environ.items()), process["args"][0], *arguments]
    async with as_pid_1(argv, environ=script, cwd=folder) as running:
        yield running


async def inside(bundle: dict[str, Any], init: psutil.Process, *command: str) -> tuple[int, str]:
    """Run a command in the container, as an engine's `exec` does."""
    rights = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "env", "-i"]
    words = ["nsenter", f"--target={init.pid}", "--mount", "--pid", "--net", "--root", "--wd", "--", *rights]
    done = await run([*words, *bundle["process"]["env"], *command], env=dict(os.environ))
    return done.code, done.out + done.err


def configured(client: str) -> None:
    """Mount a configuration that names the client."""
    rootfs = WORK / "bundle" / "rootfs"
    if client == "real" and (rootfs / "usr/local/bin/cloudflared").read_bytes()[:4] != b"\x7fELF":
        pytest.skip("no real cloudflared was at hand: `make cloudflared`, or PRX_TEST_CLOUDFLARED")
    (rootfs / "etc" / "prx").mkdir(exist_ok=True)
    path = "builtin" if client == "builtin" else "/usr/local/bin/cloudflared"
    (rootfs / "etc" / "prx" / "config.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{path}"\n')


VISIT = """
import sys, urllib.parse, urllib.request
url = urllib.parse.urlsplit(sys.argv[1])
request = urllib.request.Request(f"http://127.0.0.1:{url.port}/", headers={"Host": url.netloc})
answer = urllib.request.urlopen(request, timeout=20)
print(answer.status, "hello" in answer.read().decode().lower())
"""


@pytest.mark.parametrize("client", ["builtin", "real"])
async def test_the_image_runs(bundle: dict[str, Any], built: Settings, tmp_path: Path, client: str) -> None:
    """PID 1 is prx without root, rights and a writable root; visitors are served, HEALTHCHECK holds, SIGTERM ends with 0."""
    configured(client)
    words = ["start", "--json", "--lab", "--hello", "-c", "/etc/prx/config.toml"]
    async with container(bundle, tmp_path, *words) as (prx, init):
        url = await prx.url()
        assert init.uids().real == UID, prx.story()
        status = Path(f"/proc/{init.pid}/status").read_text()
        assert [line.split()[1] for line in status.splitlines() if line.startswith("Cap")] == ["0" * 16] * 5
        assert (await inside(bundle, init, "sh", "-c", "touch /x /usr/x /opt/prx/x"))[0] != 0
        assert (await inside(bundle, init, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline"))[1].split()[1].endswith("prx")
        said = await inside(bundle, init, *built.healthcheck)
        assert said[0] == 0, said
        assert await inside(bundle, init, "python", "-c", VISIT, url) == (0, "200 True\n")
        connectors = [each for each in init.children(recursive=True) if "tunnel" in each.cmdline()]
        assert connectors
        init.send_signal(signal.SIGTERM)
        assert await prx.exit_code() == 0, prx.story()
        assert not any(each.is_running() for each in connectors)
    assert "Traceback" not in "\n".join(prx.lines)


async def test_pid_1_collects_what_is_left_to_it(bundle: dict[str, Any], tmp_path: Path) -> None:
    """A process that its parent leaves behind in the container is collected, and leaves no zombie."""
    configured("builtin")
    words = ["start", "--json", "--lab", "--hello", "-c", "/etc/prx/config.toml"]
    async with container(bundle, tmp_path, *words) as (prx, init):
        await prx.url()
        leave = "import os\nif not os.fork(): os.setsid(); os.fork() or os.execlp('sleep', 'sleep', '0.2')"
        assert (await inside(bundle, init, "python", "-c", leave))[0] == 0
        assert not await zombies_last(init), prx.story()


@pytest.mark.parametrize(("verdict", "health"), [("origin_down", 0), ("misconfigured", 1)])
async def test_what_is_unhealthy(bundle: dict[str, Any], built: Settings, tmp_path: Path, verdict: str, health: int) -> None:
    """A service that is down makes nothing unhealthy or not ready; a tunnel that has failed does, and prx lives on."""
    configured("builtin")
    name = WORK / "bundle" / "rootfs" / "etc" / "prx" / "config.toml"
    path = "builtin" if verdict == "origin_down" else "/no/such/program"
    table = '[tunnels.{0}]\nlocal_addr = "127.0.0.1:1"\n[tunnels.{0}.cloudflare]\ncloudflared_path = "{1}"\n'
    name.write_text('[web]\nprobes = "0.0.0.0:9464"\n' + table.format("web", "builtin") + table.format("it", path))
    async with container(bundle, tmp_path, "start", "--json", "--lab", "-c", "/etc/prx/config.toml") as (prx, init):
        await prx.event("verdict_changed", tunnel="it", new=verdict)
        await prx.event("verdict_changed", tunnel="web", new="origin_down")
        assert (await inside(bundle, init, *built.healthcheck))[0] == health
        for page, status in {"healthz": 200, "readyz": 503 if health else 200}.items():
            assert await inside(bundle, init, "python", "-c", PAGE, page) == (0, f"{status}\n"), prx.story()


PAGE = """
import sys, urllib.error, urllib.request
try:
    print(urllib.request.urlopen(f"http://127.0.0.1:9464/{sys.argv[1]}", timeout=9).status)
except urllib.error.HTTPError as error:
    print(error.status)
"""


def test_openrc_runs_it(built: Settings, tmp_path: Path) -> None:
    """OpenRC starts prx as its own user, reloads it, starts it again after a kill, stops it; a start needs a configuration."""
    folder = WORK / "openrc"
    shutil.rmtree(folder, ignore_errors=True)
    umoci("unpack", "--image", f"{WORK / 'layout'}:prx", folder)
    openrc_run.prepare(folder / "rootfs", tmp_path / "packages")
    said = openrc_run.story(folder / "rootfs")
    expected = ["start 0", "user prx", "logged offline", "reload 0", "logged configuration", "started again", "stop 0", "gone"]
    found = [said.find(f"\n{words}") for words in (*expected, "without 1")]
    assert -1 not in found, said
    assert found == sorted(found), said
    assert "/etc/prx/agent.toml is not there" in said
    shutil.rmtree(folder)
