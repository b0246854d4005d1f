"""A machine that a real systemd runs, for one test: namespaces of its own on top of this machine's files."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import prx

VARIABLE = "PRX_TEST_SYSTEMD"
_BOOT = Path(__file__).with_name("boot.sh")
_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--ipc", "--net", "--cgroup")
_TOOLS = ("unshare", "nsenter", "systemctl", "ip", "mknod", "chroot")
_MANAGER = Path("/lib/systemd/systemd")
_TRIAL = "mount --make-rprivate / && mount -t tmpfs tmpfs /mnt && mknod /mnt/null c 1 3 && mount -t cgroup2 cgroup2 /mnt"
PRX = "/opt/prx/bin/prx"

# A virtual environment where a system service can see it: prx, its libraries and its Python, as they are here.
_ENVIRONMENT = f"""
set -e
mkdir -p /opt/prx/bin {{site}}
echo 'home = /opt/test/python/bin' >/opt/prx/pyvenv.cfg
ln -s /opt/test/python/bin/python3 /opt/prx/bin/python
printf '/opt/test/source\\n/opt/test/site\\n' >{{site}}/test.pth
printf '#!/opt/prx/bin/python\\nimport sys\\nfrom prx.cli import main\\nsys.exit(main())\\n' >{PRX}
chmod 755 {PRX}
echo /opt/test/python/lib >/etc/ld.so.conf.d/test.conf
ldconfig
"""


@functools.cache
def missing() -> str:
    """Return why no such machine can be had here; empty if it can."""
    if os.environ.get(VARIABLE) != "1":
        return f"{VARIABLE} is not 1: nobody has a systemd booted on his machine unasked"
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root on Linux can boot a systemd"
    absent = [name for name in _TOOLS if shutil.which(name) is None] + ([] if _MANAGER.exists() else ["systemd"])
    if absent:
        return f"no {' and no '.join(absent)} here"
    trial = [*_UNSHARE, "sh", "-c", _TRIAL]
    done = subprocess.run(trial, capture_output=True, text=True, timeout=20, check=False)
    return "" if done.returncode == 0 else f"no machine of its own can be made here: {done.stderr.strip()}"


class Machine:
    """The machine; its commands run as root in it."""

    def __init__(self, init: int) -> None:
        self._init = init

    def run(self, script: str, *, within: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell script in it."""
        environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "SYSTEMD_PAGER": ""}
        return subprocess.run(
            ["nsenter", "-t", str(self._init), "-a", "-r", "-w", "sh", "-c", script],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def ok(self, script: str, *, within: float = 60) -> str:
        """Run a script that must work; return its stdout."""
        try:
            done = self.run(script, within=within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"not within {within} s: {script}\n{self._journal()}") from None
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}{self._journal()}"
        return done.stdout

    def _journal(self) -> str:
        return self.run("journalctl --unit=prx --lines=40 --no-pager").stdout

    def show(self, name: str) -> str:
        """Return one property of the service."""
        return self.ok(f"systemctl show prx --value --property={name}").strip()

    def wait_until(self, condition: str, *, within: float = 40) -> None:
        """Wait until a shell condition holds."""
        self.ok(f"until {condition}; do sleep 0.1; done", within=within)


@contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine with prx in /opt/prx, and end it with everything in it after the block."""
    for name in ("layers", "share"):
        (folder / name).mkdir()
    places = (sys.base_prefix, sysconfig.get_path("purelib"), str(Path(prx.__file__).parents[1]))
    log = folder / "boot.log"
    with log.open("wb") as file, _Readiness(folder / "share" / "ready") as readiness:
        boot = subprocess.Popen(
            [*_UNSHARE, "sh", str(_BOOT), str(folder), *places], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        try:
            assert readiness.comes(within=40), log.read_text()
            machine = Machine(*_children(boot.pid))
            site = f"/opt/prx/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
            machine.ok(_ENVIRONMENT.format(site=site))
            yield machine
        finally:
            for init in _children(boot.pid):
                os.kill(init, signal.SIGKILL)  # and with the init all that runs there; unshare ends after it
            boot.wait(20)


class _Readiness:
    """Where the manager says that it has booted; closed then, as it says more later and hangs if that is not read."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def comes(self, within: float) -> bool:
        """Wait for READY=1, then close."""
        self._socket.settimeout(within)
        with self._socket:
            try:
                while b"READY=1" not in self._socket.recv(4096).split(b"\n"):
                    pass
            except TimeoutError:
                return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
