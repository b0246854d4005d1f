"""Secrets and configurations as containers mount them: real mounts, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.files.conftest import STRANGER, Place

from prx.secrets.errors import SecretError
from prx.secrets.sources import SecretSources

_READ = """
import sys
from pathlib import Path
from prx.core.errors import PrxError
from prx.secrets.sources import SecretSources
for name in sys.argv[1:]:
    try:
        print(SecretSources(environ={}).resolve(f"file:{name}").reveal())
    except PrxError as error:
        print(f"refused: {error.message} | {error.hint}")
"""


def mounted(script: str, *names: str) -> list[str]:
    """Run a shell script in a mount namespace, then read `names` there as secrets; return one line for each."""
    whole = f"set -e\n{script}\nexec {sys.executable} -P -c '{_READ}' {' '.join(names)}"
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", whole], capture_output=True, text=True, check=False, timeout=60, cwd="/"
    )
    if "unshare:" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip(f"no mounts here: {ended.stderr.strip()}")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


def test_swarm_secrets(place: Place) -> None:
    """0444, root's, on a tmpfs at /run/secrets, is read; one that others can write, or that is another user's, is not."""
    lines = mounted(
        f"""mount -t tmpfs -o mode=755 none /run; mkdir /run/secrets
        echo good >/run/secrets/token; chmod 444 /run/secrets/token
        echo bad >/run/secrets/open; chmod 446 /run/secrets/open
        echo bad >/run/secrets/theirs; chmod 444 /run/secrets/theirs; chown {STRANGER} /run/secrets/theirs""",
        "/run/secrets/token",
        "/run/secrets/open",
        "/run/secrets/theirs",
    )
    assert lines[0] == "good"
    assert [line.startswith("refused: ") for line in lines[1:]] == [True, True]
    assert "cmd:cat /run/secrets/theirs" in lines[2]


def test_compose_secrets(place: Place) -> None:
    """A file of the host with its owner and mode, mounted read-only on its own."""
    place.make("token", "good", mode=0o644, uid=STRANGER)
    lines = mounted(
        f"""mount -t tmpfs -o mode=755 none /run; mkdir /run/secrets; touch /run/secrets/token
        mount --bind {place.folder}/token /run/secrets/token; mount -o remount,bind,ro /run/secrets/token""",
        "/run/secrets/token",
    )
    assert lines == ["good"]


def test_a_read_only_mount_elsewhere(place: Place) -> None:
    """Root's 0444 is accepted where no user can write; the same file without the mount is not, nor is another user's."""
    place.make("vol/token", "good", mode=0o444)
    place.make("vol/theirs", "bad", mode=0o444, uid=STRANGER)
    lines = mounted(
        f"mount --bind {place.folder}/vol {place.folder}/vol; mount -o remount,bind,ro {place.folder}/vol",
        f"{place.folder}/vol/token",
        f"{place.folder}/vol/theirs",
    )
    assert lines[0] == "good"
    assert "lies on a read-only mount" in lines[1]
    with pytest.raises(SecretError, match="0444"):
        SecretSources().resolve(f"file:{place.folder}/vol/token")


def volume(place: Place, *, mode: int = 0o644, uid: int = 0) -> Path:
    """Make a folder as Kubernetes' kubelet fills a Secret volume."""
    place.make("volume/..2026_11_28_17_00_00.1/token", "first", mode=mode, uid=uid)
    root = place.folder / "volume"
    (root / "..data").symlink_to("..2026_11_28_17_00_00.1")
    (root / "token").symlink_to("..data/token")
    root.chmod(0o1777)
    return root


def rotate(place: Place, root: Path, text: str) -> None:
    """Replace the content as the kubelet does: a new folder, a new link renamed over the old one."""
    place.make(f"volume/..2026_11_28_18_00_00.{text}/token", text)
    (root / "..data_tmp").symlink_to(f"..2026_11_28_18_00_00.{text}")
    (root / "..data_tmp").replace(root / "..data")


@pytest.mark.parametrize("mode", [0o644, 0o444, 0o440, 0o400, 0o600])
def test_a_secret_volume_and_its_rotation(place: Place, mode: int) -> None:
    """Two links and a sticky folder, whatever defaultMode makes of the mode; after a rotation the new secret is read."""
    root = volume(place, mode=mode)
    sources = SecretSources()
    assert sources.resolve(f"file:{root}/token").reveal() == "first"
    rotate(place, root, "second")
    assert sources.resolve(f"file:{root}/token").reveal() == "second"


@pytest.mark.parametrize("what", ["owner", "link", "folder"])
def test_what_only_looks_like_a_secret_volume_is_refused(place: Place, what: str) -> None:
    """Links of others, a folder of theirs, or a file of theirs: not only root could change it."""
    root = volume(place, uid=STRANGER if what == "owner" else 0)
    if what == "link":
        os.chown(root / "..data", STRANGER, STRANGER, follow_symlinks=False)
    if what == "folder":
        os.chown(root, STRANGER, STRANGER)
    with pytest.raises(SecretError) as caught:
        SecretSources().resolve(f"file:{root}/token")
    assert "first" not in caught.value.message


def test_links_of_our_own_are_followed_for_a_secret(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """~/.token that leads to a dotfiles folder: only we can turn it; in a folder of others it is refused."""
    place.make("dotfiles/token", "good", mode=0o600)
    (place.home / ".token").symlink_to(place.folder / "dotfiles" / "token")
    monkeypatch.setenv("HOME", str(place.home))
    assert SecretSources().resolve("file:~/.token").reveal() == "good"
    theirs = place.make_folder("theirs", uid=STRANGER)
    (theirs / "token").symlink_to(place.folder / "dotfiles" / "token")
    with pytest.raises(SecretError, match="symbolic link, which others can turn"):
        SecretSources().resolve(f"file:{theirs}/token")


def test_a_named_secret_may_be_the_hosts(place: Place) -> None:
    """Root in a container reads a file of the host's user by its whole path; beside the configuration it is refused."""
    path = place.make("token", "good", mode=0o600, uid=STRANGER)
    assert SecretSources().resolve(f"file:{path}").reveal() == "good"
    with pytest.raises(SecretError, match="belongs to uid 4242"):
        SecretSources(base=place.folder).resolve("file:token")


@pytest.mark.parametrize("kind", ["9p", "vfat", "cifs", "drvfs"])
def test_a_file_system_without_modes_gets_a_hint_that_works(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chmod does nothing on drvfs (WSL) and the like: the hint names `cmd:cat` and `env:`."""
    path = tmp_path / "token"
    path.write_text("x")
    path.chmod(0o755)
    monkeypatch.setattr("prx.secrets.files.file_system_of", lambda _: kind)
    with pytest.raises(SecretError) as caught:
        SecretSources().resolve(f"file:{path}")
    assert caught.value.hint.startswith(f"chmod does nothing on a {kind} file system")
    assert f"cmd:cat {path}" in caught.value.hint
    assert "env:NAME" in caught.value.hint


def test_a_configuration_in_a_configmap(place: Place) -> None:
    """The volume's folder has mode 0777 and the mount is read-only: found and named, with a token in it, it is used."""
    place.make("cm/..v1/prx.toml", '[tunnel.cloudflare]\ntoken = "x"\n')
    root = place.folder / "cm"
    (root / "..data").symlink_to("..v1")
    (root / "prx.toml").symlink_to("..data/prx.toml")
    root.chmod(0o777)
    check = f"{sys.executable} -P -m prx config check"
    script = f"""set -e
    mount --bind {root} {root}; mount -o remount,bind,ro {root}; cd {root}
    {check}; {check} -c {root}/prx.toml"""
    environ = place.environ
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], env=environ, capture_output=True, text=True, check=False, timeout=60
    )
    if "unshare:" in ended.stderr or "mount:" in ended.stderr:
        pytest.skip("no mounts here")
    assert ended.stdout.splitlines() == ["ok: prx.toml", f"ok: {root}/prx.toml"], ended.stderr
    refused = place.run("config", "check", cwd=root)
    assert refused.returncode == 2
