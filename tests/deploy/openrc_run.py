"""deploy/openrc/prx, run by Debian's OpenRC in namespaces, with the program of the image in place of an installed one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.deploy.files import DEPLOY, FAKE_TOKEN

PACKAGES = ("openrc", "librc1", "libeinfo1")
CONFIG = """
[tunnel.cloudflare]
mode = "named"
hostname = "a.example.com"
token = "file:/etc/prx/agent.token"
"""
# OpenRC makes these at boot; Debian has no `localmount` of OpenRC's own.
BOOTED = "started starting stopping inactive wasinactive failed hotplugged daemons options exclusive scheduled tmp"
OUTSIDE = r"""
set -e
mount --make-rprivate /
mount -t proc proc "$ROOT/proc"
mount --rbind /dev "$ROOT/dev"
mount -t tmpfs none "$ROOT/run"
ip link set lo up
exec chroot "$ROOT" /bin/sh -c "$STORY"
"""
# A child of supervise-daemon is known by its arguments; it is waited for, ten seconds at most each time.
STORY = f"""
for each in {BOOTED}; do mkdir -p /run/openrc/$each; done
echo default >/run/openrc/softlevel
running() {{
  for each in /proc/[0-9]*; do
    case "$(tr '\\0' ' ' <$each/cmdline)" in */python*prx\\ start*) echo ${{each#/proc/}};; esac
  done
}}
until_it_runs() {{ for each in 1 2 3 4 5 6 7 8 9 10; do running | grep -vx "${{1:-none}}" && return; sleep 1; done; }}
logged() {{
  for each in 1 2 3 4 5 6 7 8 9 10; do grep -q "$1" /var/log/prx.agent.log && echo "logged $1" && return; sleep 1; done
}}
rc-service prx.agent start; echo "start $?"
first=$(until_it_runs); echo "user $(stat -c %U /proc/$first)"
logged offline
rc-service prx.agent reload; echo "reload $?"; logged 'configuration read again'
kill -9 $first; second=$(until_it_runs $first); [ -n "$second" ] && echo "started again"
rc-service prx.agent stop; echo "stop $?"; [ -z "$(running)" ] && echo "gone"
rm /etc/prx/agent.toml; rc-service prx.agent start; echo "without $?"
"""


def prepare(root: Path, work: Path) -> None:
    """Put OpenRC, the script, a user, a configuration and a token into an unpacked image."""
    work.mkdir()
    subprocess.run(["apt-get", "download", "-qq", *PACKAGES], cwd=work, check=True, capture_output=True)
    for package in work.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, work / "tree"], check=True)
    content = subprocess.run(["tar", "-C", work / "tree", "-c", "."], capture_output=True, check=True).stdout
    subprocess.run(["tar", "-C", root, "-x", "--keep-directory-symlink"], input=content, check=True)
    etc = root / "etc"
    lines = {"passwd": "prx:x:990:990::/:/bin/false", "group": "prx:x:990:", "shadow": "prx:*:19000:0:99999:7:::"}
    for name, line in lines.items():
        (etc / name).write_text((etc / name).read_text() + line + "\n")
    _write(etc / "init.d" / "localmount", "#!/sbin/openrc-run\nstart() { :; }\n", 0o755)
    _write(etc / "init.d" / "prx", (DEPLOY / "openrc" / "prx").read_text(), 0o755)
    (etc / "init.d" / "prx.agent").symlink_to("prx")
    (etc / "prx").mkdir(exist_ok=True)
    _write(etc / "prx" / "agent.toml", CONFIG, 0o644)
    _write(etc / "prx" / "agent.token", FAKE_TOKEN, 0o400)
    os.chown(etc / "prx" / "agent.token", 990, 990)


def _write(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    path.chmod(mode)


def story(root: Path) -> str:
    """Return what the services' commands say, from a start to a start that cannot be."""
    environ = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "ROOT": str(root), "STORY": STORY}
    command = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "sh", "-c", OUTSIDE]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr
