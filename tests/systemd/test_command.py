"""`prx service` as a user runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prx.cli import service as command
from prx.systemd import place
from prx.ui.errors import run

CONFIG = """
[tunnel.cloudflare]
mode = "named"
hostname = "agent.example.com"
token = "credential:prx-token"

[access]
client_id = "id.access"
client_secret = "credential:access-secret"
"""


class World:
    """A home with a configuration, on a machine that systemd runs; its programs are not there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.config = folder / ".config" / "prx" / "config.toml"
        self.config.parent.mkdir(parents=True)
        self.config.write_text(CONFIG)
        self.unit = folder / ".config" / "systemd" / "user" / "prx.service"
        self.booted = folder / "booted"
        self.booted.mkdir()
        self._capsys = capsys
        for name in ("XDG_CONFIG_HOME", "PRX_CONFIG", "PRX_DATA_DIR"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("HOME", str(folder))
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(place, "BOOTED", self.booted)

    def prx(self, *arguments: str) -> tuple[int, str, str]:
        """Run `prx service …`; return exit code, stdout and stderr."""
        code = run(command.service, arguments)
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> World:
    """Return a world in which nothing outside of the test's folder is written."""
    return World(tmp_path, monkeypatch, capsys)


def test_user_service_from_install_to_uninstall(world: World) -> None:
    """Install writes the unit and says what to run next; status and uninstall know it."""
    assert world.prx("status", "--user") == (3, f"not installed: there is no {world.unit}\n", "")
    code, out, err = world.prx("install", "--user")
    assert (code, out) == (0, "")
    assert err.splitlines()[0] == f"wrote {world.unit}"
    assert f"next: put the secret prx-token into {world.config.parent}/credstore/prx-token (mode 0600)" in err
    assert "next: systemctl --user daemon-reload && systemctl --user enable --now prx" in err
    text = world.unit.read_text()
    assert f"LoadCredential=access-secret:{world.config.parent}/credstore/access-secret\n" in text
    assert f" start -c {world.config}\n" in text
    assert world.prx("install", "--user")[2].startswith(f"{world.unit} is up to date")
    assert world.prx("status", "--user") == (4, f"{world.unit}: systemd does not answer\n", "")
    assert world.prx("uninstall", "--user")[2].startswith(f"removed {world.unit}\n")
    assert not world.unit.exists()
    assert "nothing was removed" in world.prx("uninstall", "--user")[2]


def test_print_changes_nothing(world: World) -> None:
    """--print gives the unit file on stdout, also if there is no systemd, and writes nothing."""
    world.booted.rmdir()
    code, out, err = world.prx("install", "--user", "--print", "-c", str(world.config))
    assert (code, err) == (0, "")
    assert out.startswith("# Written by `prx service install`")
    assert not world.unit.exists()


def test_machine_without_systemd(world: World) -> None:
    """Without systemd the install is refused for good."""
    world.booted.rmdir()
    code, out, err = world.prx("install", "--user")
    assert (code, out) == (3, "")
    assert "not run by systemd" in err
    assert not world.unit.exists()


def test_configuration_is_checked_first(world: World) -> None:
    """A mistake in the configuration, or a missing one, is shown before anything is written."""
    world.config.write_text('[tunnel]\nlocal_adr = "8080"\n')
    code, _, err = world.prx("install", "--user")
    assert code == 2
    assert "local_adr" in err
    world.config.unlink()
    code, _, err = world.prx("install", "--user")
    assert code == 2
    assert f"there is no configuration at {world.config}" in err
    assert not world.unit.exists()


def test_system_service_sees_no_homes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in a home cannot be run as a system service, and the way out is named."""
    monkeypatch.setattr(place, "_HIDDEN", (str(world.folder),))
    code, _, err = world.prx("install", "--system", "--print", "-c", str(world.config))
    assert code == 2
    assert f"lies in {world.folder}, which a system service cannot see" in err
    assert "--user" in err


def test_data_directory_of_the_user_is_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who keeps prx's files elsewhere finds the service's there too."""
    monkeypatch.setenv("PRX_DATA_DIR", str(world.folder / "my data"))
    _, out, _ = world.prx("install", "--user", "--print")
    assert f'Environment="PRX_DATA_DIR={world.folder}/my data"\n' in out
