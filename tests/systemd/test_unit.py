"""The unit file: systemd accepts it, finds it hardened, and it says what prx promises."""

from __future__ import annotations

import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from prx.config.checker import fields_of
from prx.config.declare import facts_of
from prx.config.schema import CloudflareSettings
from prx.core.errors import PermanentError, PrxError, UsageError
from prx.systemd import place
from prx.systemd.tools import complaints, exposure
from prx.systemd.unit import MARK, STOP_SECONDS, Scope, Unit, quote, render

needs_systemd_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def unit(scope: Scope, config: str = "/etc/prx/config.toml") -> Unit:
    """Describe a service with everything in it."""
    return Unit(
        scope,
        ("/bin/true",),
        Path(config),
        credentials={"prx-token": Path("/etc/credstore/prx-token")},
        environment={"LANG": "C.UTF-8"},
    )


def settings(text: str) -> dict[str, list[str]]:
    """Read NAME=VALUE lines, each name with all its values."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@needs_systemd_analyze
@pytest.mark.parametrize("scope", Scope)
def test_systemd_has_nothing_against_it(tmp_path: Path, scope: Scope) -> None:
    """`systemd-analyze verify` is silent, even about odd paths; it does speak up about a mistake."""
    file = tmp_path / place.NAME
    file.write_text(render(unit(scope, "/etc/prx/a b%c$d'e;f.toml")))
    assert complaints(file) == []
    file.write_text(render(unit(scope)).replace("KillMode=mixed", "KilMode=mixed"))
    assert "KilMode" in " ".join(complaints(file))


@needs_systemd_analyze
def test_system_unit_is_hardened(tmp_path: Path) -> None:
    """`systemd-analyze security` gives at most 2.0 of 10; without the sandbox it would be above 8."""
    file = tmp_path / place.NAME
    file.write_text(render(unit(Scope.SYSTEM)))
    assert float(exposure(file).split()[0]) <= 2.0
    file.write_text("[Service]\nExecStart=/bin/true\n")
    assert float(exposure(file).split()[0]) > 8


@pytest.mark.parametrize("scope", Scope)
def test_it_says_what_prx_promises(scope: Scope) -> None:
    """Readiness, watchdog, graceful stop and the exit codes fit what prx does."""
    said = settings(render(unit(scope)))
    assert said["Type"] == ["notify"]
    assert said["NotifyAccess"] == ["main"]
    assert said["KillMode"] == ["mixed"]
    assert said["ExecStart"] == ["/bin/true start -c /etc/prx/config.toml"]
    assert said["ExecReload"] == ["/bin/true reload -c /etc/prx/config.toml"]
    assert said["RestartPreventExitStatus"] == [f"{UsageError.exit_code} {PermanentError.exit_code}"]
    assert said["LoadCredential"] == ["prx-token:/etc/credstore/prx-token"]
    assert said["NoNewPrivileges"] == ["yes"]
    assert ("DynamicUser" in said) == (scope is Scope.SYSTEM)
    assert ('"PRX_DATA_DIR=/var/lib/private/prx"' in said["Environment"]) == (scope is Scope.SYSTEM)
    # needs capabilities or mount namespaces, which a user's service manager cannot give
    assert scope is Scope.SYSTEM or not {"CapabilityBoundingSet", "ProtectSystem", "PrivateDevices"} & set(said)


def test_stop_takes_longer_than_any_grace_period() -> None:
    """The manager never kills a prx that still drains as long as its configuration allows."""
    bound = facts_of(fields_of(CloudflareSettings)["grace_period_secs"]).maximum
    assert bound is not None
    assert bound + 10 < STOP_SECONDS


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/usr/bin/prx", "/usr/bin/prx"),
        ("100%", "100%%"),
        ("a b", '"a b"'),
        ('say "x"', '"say \\"x\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("it's", '"it\'s"'),
        ("", '""'),
    ],
)
def test_quoting(word: str, written: str) -> None:
    """A word is written so that systemd reads this very word."""
    assert quote(word) == written


def test_put_and_take_away(tmp_path: Path) -> None:
    """The file is written once, readable for all, changed when it must be, and removed again."""
    path = tmp_path / "systemd" / "user" / place.NAME
    assert place.put(path, f"{MARK} 1\n")
    assert not place.put(path, f"{MARK} 1\n")
    assert place.put(path, f"{MARK} 2\n")
    assert path.read_text() == f"{MARK} 2\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [item.name for item in path.parent.iterdir()] == [place.NAME]
    assert place.take_away(path)
    assert not place.take_away(path)


def test_somebody_elses_file_is_left_alone(tmp_path: Path) -> None:
    """A unit file that prx did not write is neither replaced nor removed."""
    path = tmp_path / place.NAME
    path.write_text("[Service]\nExecStart=/usr/local/bin/prx\n")
    with pytest.raises(PrxError, match="was not written by prx"):
        place.put(path, MARK)
    with pytest.raises(PrxError, match="was not written by prx"):
        place.take_away(path)
    assert path.read_text() == "[Service]\nExecStart=/usr/local/bin/prx\n"


def test_where_it_lies(tmp_path: Path) -> None:
    """Each scope has systemd's own folder; a relative XDG_CONFIG_HOME does not count."""
    assert place.unit_path(Scope.SYSTEM, {}) == Path("/etc/systemd/system/prx.service")
    assert place.unit_path(Scope.USER, {"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "systemd/user/prx.service"
    expected = Path("/home/me/.config/systemd/user/prx.service")
    assert place.unit_path(Scope.USER, {"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"}) == expected


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that everybody may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_what_a_system_service_cannot_read_is_refused(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in a home, a closed folder or a closed file is refused with the remedy; an open one is not."""
    file = open_folder / "config.toml"
    file.touch(mode=0o644)
    with pytest.raises(UsageError, match="lies in /tmp, which a system service cannot see"):
        place.require_reachable(file, "the configuration")
    monkeypatch.setattr(place, "_HIDDEN", ("/home",))
    place.require_reachable(file, "the configuration")
    file.chmod(0o640)
    with pytest.raises(UsageError, match="closed to others") as refusal:
        place.require_reachable(file, "the configuration")
    assert refusal.value.hint.startswith(f"chmod o+r {file}")
    file.chmod(0o644)
    open_folder.chmod(0o700)
    with pytest.raises(UsageError, match="closed to others") as refusal:
        place.require_reachable(file, "the configuration")
    assert refusal.value.hint.startswith(f"chmod o+x {open_folder}")


def test_without_systemd_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no systemd runs the machine, nothing is written, and the way out is named."""
    monkeypatch.setattr(place, "BOOTED", tmp_path / "missing")
    with pytest.raises(PermanentError, match="not run by systemd") as refusal:
        place.require_systemd()
    assert "--print" in refusal.value.hint
    monkeypatch.setattr(place, "BOOTED", tmp_path)
    place.require_systemd()
