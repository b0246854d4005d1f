"""What is right at a start and wrong at a change: a file that lost what runs was declared with."""

from __future__ import annotations

from pathlib import Path

import pytest

from prx.app.load_config import ConfigurationReader
from prx.config.changes import counted_at_the_start
from prx.core.errors import ConfigError

NAMED = """\
[tunnel]
local_addr = "127.0.0.1:3000"
require_access = true

[tunnel.cloudflare]
mode = "named"
hostname = "app.example.com"
token = "env:TOKEN"
"""
ENVIRON = {"TOKEN": "secret-token", "HOME": "/nowhere"}


def reader(path: Path, text: str, **environ: str) -> ConfigurationReader:
    """Return a reader that has read `text`, which is in force now."""
    path.write_text(text)
    made = ConfigurationReader(path, ENVIRON | environ)
    made.take(made.read())
    return made


def refusal(made: ConfigurationReader) -> str:
    """Return why a change is refused."""
    with pytest.raises(ConfigError) as caught:
        made.read()
    return "\n".join(caught.value.problems)


def test_a_file_that_was_read_and_not_taken_is_not_in_force(file: Path) -> None:
    """What could not be put in force is no measure of what a later file lacks."""
    made = reader(file, '[tunnel]\nlocal_addr = "127.0.0.1:3000"\n')
    file.write_text('[tunnel]\nlocal_addr = "127.0.0.1:3000"\nrequire_access = true\n')
    made.read()  # and its port was taken, for example
    file.write_text('[tunnel]\nlocal_addr = "127.0.0.1:3000"\n')
    assert not made.read().config.tunnels["default"].require_access


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('[web]\nprobes = "9464"\n', '[web]\nprobes = "9465"\n', 1),
        ('[web]\nprobes = "9464"\n', "", 1),
        ("", "[history]\nkeep_days = 0\n", 1),
        ("[history]\nkeep_mb = 1\nkeep_days = 3\n", "[history]\nkeep_mb = 2\nkeep_days = 4\n", 2),
        ('log_level = "debug"\n', 'log_level = "info"\n', 0),
        ('[web]\nlisten = "4141"\n', '[web]\nlisten = "4142"\n', 0),
    ],
)
def test_what_counts_from_the_next_start_is_told_at_a_reload(file: Path, before: str, after: str, expected: int) -> None:
    """A key that a reload does not change is named, with both values; one that it does change is not."""
    tunnel = '\n[tunnel]\nlocal_addr = "127.0.0.1:3000"\n'
    file.write_text(before + tunnel)
    made = ConfigurationReader(file, ENVIRON)
    first = made.read()
    file.write_text(after + tunnel)
    told = list(counted_at_the_start(first, made.read()))
    assert len(told) == expected
    assert all(str(file) in line and "next start" in line for line in told)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a configuration."""
    return tmp_path / "prx.toml"


@pytest.mark.parametrize(
    "rest", ["", "\n\n", "# only a comment\n", 'log_level = "debug"\n', "[tunnels]\n", '[access]\nteam = ""\n']
)
def test_a_file_that_declares_no_tunnel_is_a_mistake_where_there_was_one(file: Path, rest: str) -> None:
    """An emptied file, a comment, other tables: each would be a quick tunnel to port 8080, and is refused with its place."""
    made = reader(file, NAMED)
    file.write_text(rest)
    assert refusal(made).startswith(f"{file}: declares no tunnel")
    file.write_text(NAMED)
    assert made.read().config.tunnels["default"].cloudflare.mode == "named"


@pytest.mark.parametrize("rest", ["", "# nothing\n", 'log_level = "debug"\n'])
def test_it_is_right_at_the_first_start_and_stays_so(file: Path, rest: str) -> None:
    """Who began with the defaults may go on with them; a warning says that they are used."""
    made = reader(file, rest)
    assert any("declares no tunnel" in warning for warning in made.read().warnings)


def test_no_cut_of_a_guarded_tunnel_opens_it(file: Path) -> None:
    """Wherever the file of a guarded tunnel is cut, what is left is refused, or is the same tunnel with the same guards."""
    made = reader(file, NAMED)
    for end in range(len(NAMED)):
        file.write_text(NAMED[:end])
        try:
            settings = made.read().config.tunnels["default"]
        except ConfigError:
            continue
        assert settings.require_access
        assert settings.cloudflare.mode == "named"
        assert settings.local_addr == "127.0.0.1:3000"


LOSSES = {
    "mode": ("[tunnel]\nlocal_addr = '127.0.0.1:3000'\nrequire_access = true\n", "tunnel.cloudflare.mode"),
    "local_addr": (NAMED.replace('local_addr = "127.0.0.1:3000"\n', ""), "tunnel.local_addr"),
    "require_access": (NAMED.replace("require_access = true\n", ""), "tunnel.require_access"),
}


@pytest.mark.parametrize("key", LOSSES)
def test_the_silent_loss_of_a_guard_is_refused(file: Path, key: str) -> None:
    """A key that says what is made public, and for whom, does not fall back to its default by not being there."""
    made = reader(file, NAMED)
    file.write_text(LOSSES[key][0])
    assert f"{file}: {LOSSES[key][1]}: found nothing, expected a value" in refusal(made)


def test_a_guest_list_is_not_lost_in_silence(file: Path) -> None:
    """A quick tunnel for named guests does not open to all because its list is not there any more; an empty list is meant."""
    text = '[tunnel]\nlocal_addr = "127.0.0.1:3000"\n[tunnel.cloudflare]\n'
    made = reader(file, text + 'allowed_mail = ["you@example.com"]\n')
    file.write_text(text)
    assert "tunnel.cloudflare.allowed_mail: found nothing" in refusal(made)
    file.write_text(text + "allowed_mail = []\n")
    made.read()


def test_a_watched_url_does_not_become_a_quick_tunnel(file: Path) -> None:
    """`backend = "none"` runs no child; without that line prx would make the service public."""
    made = reader(file, '[tunnel]\nbackend = "none"\npublic_url = "https://a.example"\n')
    file.write_text("[tunnel]\n")
    assert "tunnel.backend: found nothing" in refusal(made)


def test_what_is_written_out_is_meant(file: Path) -> None:
    """The same change, written, is taken; so is the loss of a key that guards nothing, and of one tunnel among several."""
    made = reader(file, NAMED + "[tunnels.web]\nmax_failures = 5\n[tunnels.db]\nlocal_addr = '127.0.0.1:5000'\n")
    written = '[tunnel]\nlocal_addr = "127.0.0.1:8080"\nrequire_access = false\ncloudflare.mode = "quick"\n[tunnels.web]\n'
    file.write_text(written)
    assert list(made.read().config.tunnels) == ["default", "web"]


def test_several_tunnels_that_all_vanish_are_missed(file: Path) -> None:
    """`[tunnels.NAME]` are declarations like `[tunnel]`."""
    made = reader(file, "[tunnels.a]\nlocal_addr = '127.0.0.1:1'\n[tunnels.b]\nlocal_addr = '127.0.0.1:2'\n")
    file.write_text("[tunnels.a]\nlocal_addr = '127.0.0.1:1'\n")
    assert list(made.read().config.tunnels) == ["a"]
    file.write_text("[access]\n")
    assert "declares no tunnel" in refusal(made)


@pytest.mark.parametrize("how", ["gone", "folder", "half", "not ours to trust"])
def test_a_file_that_cannot_be_used_any_more_changes_nothing(file: Path, tmp_path: Path, how: str) -> None:
    """Gone, replaced, half written, or open to everybody: refused with the place, and read again once it is well."""
    made = reader(file, NAMED)
    file.unlink()
    match how:
        case "folder":
            file.mkdir()
        case "half":
            file.write_text(NAMED[:40])
        case "not ours to trust":
            file.write_text(NAMED)
            file.chmod(0o666)
    assert str(file) in refusal(made)
    if file.is_dir():
        file.rmdir()
    file.unlink(missing_ok=True)
    file.write_text(NAMED)
    made.read()


def test_prx_stays_with_the_file_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `prx.toml` that goes does not give way to the user's own file, nor that to a `prx.toml` that comes."""
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "config" / "prx" / "config.toml"
    own.parent.mkdir(parents=True)
    own.write_text("[tunnel]\nmax_failures = 7\n")
    made = ConfigurationReader(None, {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert made.read().path == own
    Path("prx.toml").write_text("[tunnel]\nmax_failures = 8\n")
    assert made.read().path == own
    other = ConfigurationReader(None, {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert other.read().path == Path("prx.toml")
    Path("prx.toml").unlink()
    assert "prx.toml: there is no such file" in refusal(other)
