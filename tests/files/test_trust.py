"""What others could have put there is neither read nor run: the whole program, with files of real users."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.files.conftest import STRANGER, Place

from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError
from prx.files import FileRefusedError
from prx.runtime.hooks.chosen import hooks_of
from prx.runtime.hooks.command import CommandHook
from prx.runtime.hooks.kinds import Change, HookError
from prx.runtime.process.version import ask_version
from prx.secrets.errors import SecretError
from prx.secrets.sources import SecretSources

NAMED = '[tunnel.cloudflare]\nmode = "named"\nhostname = "app.example.com"\ntoken = "cmd:{program}"\n'
CHANGE = Change("web", "https://new.example", "")
COMMANDS = (
    ("config", "check"),
    ("config", "show"),
    ("doctor",),
    ("start", "--ttl", "1s"),
    ("config", "check", "--run-commands"),
)


def plant(place: Place, where: str) -> Path:
    """Plant a `prx.toml` that runs a program, in one of the ways in which others can; return the folder to stand in."""
    text = NAMED.format(program=place.program("bin/planted"))
    match where:
        case "sticky":
            folder = place.make_folder("t", mode=0o1777)
            place.make("t/prx.toml", text, uid=STRANGER)
        case "their folder":
            folder = place.make_folder("t", uid=STRANGER)
            place.make("t/prx.toml", text)
        case "below their folder":
            place.make_folder("t", uid=STRANGER)
            folder = place.make_folder("t/mine")
            place.make("t/mine/prx.toml", text)
        case "writable folder":
            folder = place.make_folder("t", mode=0o777)
            place.make("t/prx.toml", text)
        case "writable file":
            folder = place.make_folder("t")
            place.make("t/prx.toml", text, mode=0o666)
        case "group of theirs":
            folder = place.make_folder("t", mode=0o775)
            os.chown(folder, 0, STRANGER)
            place.make("t/prx.toml", text)
        case "link":
            folder = place.make_folder("t", mode=0o1777)
            (folder / "prx.toml").symlink_to(place.make("mine/other.toml", text))
            os.chown(folder / "prx.toml", STRANGER, STRANGER, follow_symlinks=False)
        case "hard link":
            folder = place.make_folder("t", mode=0o1777)
            (folder / "prx.toml").hardlink_to(place.make("mine/other.toml", text))
        case _:  # their file, moved by root with its owner, in a folder of ours
            folder = place.make_folder("t")
            place.make("t/prx.toml", text, uid=STRANGER)
    return folder


WAYS = (
    "sticky",
    "their folder",
    "below their folder",
    "writable folder",
    "writable file",
    "group of theirs",
    "link",
    "hard link",
    "moved here",
)


@pytest.mark.parametrize("where", WAYS)
def test_a_planted_configuration_is_refused_and_runs_nothing(place: Place, where: str) -> None:
    """Whichever way a `prx.toml` of others came into the current folder: one error with file, owner and mode, exit code 2."""
    folder = plant(place, where)
    for command in (("config", "check", "--run-commands"), ("config", "show")):
        ended = place.run(*command, cwd=folder)
        assert ended.returncode == 2
        assert "prx.toml: owner " in ended.stderr
        assert ", mode 0" in ended.stderr
        assert "hint: " in ended.stderr
        assert "Traceback" not in ended.stderr
    assert place.traces() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_it(place: Place, command: tuple[str, ...]) -> None:
    """No command reads on past a file that it does not trust."""
    ended = place.run(*command, cwd=plant(place, "sticky"))
    assert ended.returncode == 2
    assert "belongs to another user" in ended.stderr
    assert place.traces() == []


def test_the_users_own_file_is_judged_alike(place: Place) -> None:
    """Root whose HOME is still another user's does not run what stands there."""
    text = NAMED.format(program=place.program("bin/planted"))
    place.make("home/.config/prx/config.toml", text, uid=STRANGER)
    ended = place.run("config", "check", "--run-commands")
    assert ended.returncode == 2
    assert "config.toml: owner 4242, mode 0644: it belongs to another user" in ended.stderr
    assert place.traces() == []


@pytest.mark.parametrize("where", ["moved here", "their folder", "below their folder", "sticky", "link"])
def test_a_named_configuration_may_be_anybodys(place: Place, where: str) -> None:
    """`-c FILE` and PRX_CONFIG are the user's choice, as for a file that is mounted into a container."""
    folder = plant(place, where)
    assert place.run("config", "check", "-c", "prx.toml", cwd=folder).returncode == 0
    assert place.run("config", "check", cwd=folder, PRX_CONFIG=str(folder / "prx.toml")).returncode == 0


@pytest.mark.parametrize("where", ["writable folder", "writable file"])
def test_what_everybody_can_write_is_refused_though_named(place: Place, where: str) -> None:
    """A user who names it cannot know who wrote it; the hint has the command that repairs it."""
    folder = plant(place, where)
    ended = place.run("config", "check", "--run-commands", "-c", str(folder / "prx.toml"))
    assert ended.returncode == 2
    assert "can be written by everybody" in ended.stderr
    assert "hint: chmod o-w " in ended.stderr
    assert place.traces() == []


def test_sudo_may_use_what_the_user_behind_it_has(place: Place) -> None:
    """Root by sudo stands in the folders of that user, and of no other."""
    folder = plant(place, "their folder")
    os.chown(folder / "prx.toml", STRANGER, STRANGER)
    assert place.run("config", "check", cwd=folder, SUDO_UID=str(STRANGER)).returncode == 0
    assert place.run("config", "check", cwd=folder, SUDO_UID="4243").returncode == 2


def test_check_show_and_doctor_execute_nothing(place: Place) -> None:
    """A sound file of our own: its programs run with --run-commands only, and what was not resolved is said."""
    text = NAMED.format(program=place.program("bin/token"))
    place.make("prx.toml", text + 'cloudflared_path = "bin/client"\n[tunnel]\non_url = ["bin/token"]\n')
    place.program("bin/client", mode=0o777)
    for command in (("config", "check"), ("config", "show")):
        ended = place.run(*command)
        assert ended.returncode == 0, ended.stderr
        assert "tunnel.cloudflare.token: not resolved, cmd:" in ended.stderr
        assert "--run-commands" in ended.stderr
    said = place.run("doctor").stdout
    assert "not checked: cmd:" in said
    assert "not run: " in said  # the client, which everybody can write
    assert place.traces() == []
    place.run("config", "check", "--run-commands")
    assert place.traces() == ["program"]


PROGRAMS = {
    "beside, theirs": ({"uid": STRANGER}, True),
    "beside, writable": ({"mode": 0o777}, True),
    "absolute, writable": ({"mode": 0o777}, False),
}


@pytest.mark.parametrize("how", PROGRAMS)
async def test_no_program_of_others_is_run(place: Place, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook, a client and a credential helper are judged alike: relative ones as found, absolute ones as named."""
    facts, relative = PROGRAMS[how]
    path = place.program("it.sh", **facts)  # type: ignore[arg-type]  # uid or mode
    monkeypatch.chdir(place.folder)
    word = "./it.sh" if relative else str(path)
    with pytest.raises(HookError, match=r"not run: .*it.sh: owner "):
        await CommandHook(word, place.folder, place.environ).deliver(CHANGE)
    with pytest.raises(FileRefusedError, match=r"it.sh: owner ") as caught:
        await ask_version((word,))
    assert isinstance(caught.value, PermanentError)  # "misconfigured": trying again does not help
    with pytest.raises(SecretError, match=r"it.sh: owner "):
        SecretSources(environ=place.environ, base=place.folder).resolve(f"cmd:{word} arg")
    assert place.traces() == []


async def test_a_program_of_another_user_may_be_named(place: Place) -> None:
    """An absolute path is the user's choice: an administrator's program, a mount."""
    path = place.program("it.sh", uid=STRANGER)
    assert await ask_version((str(path),)) == "token"
    await CommandHook(str(path), place.folder, place.environ).deliver(CHANGE)
    assert SecretSources(environ=place.environ, base=place.folder).resolve(f"cmd:{path}").reveal() == "token"


@pytest.mark.parametrize("text", ["sh it.sh", "sh ./it.sh", "/bin/sh -e it.sh", "sh -- ./it.sh"])
async def test_a_script_that_is_given_to_an_interpreter_is_judged(place: Place, text: str) -> None:
    """`sh ./it.sh` runs the same file as `./it.sh`."""
    place.program("it.sh", uid=STRANGER)
    with pytest.raises(HookError, match=r"not run: .*it.sh: owner 4242"):
        await CommandHook(text, place.folder, place.environ).deliver(CHANGE)
    with pytest.raises(SecretError, match=r"it.sh: owner 4242"):
        SecretSources(environ=place.environ, base=place.folder).resolve(f"cmd:{text}")
    assert place.traces() == []


async def test_a_program_in_a_relative_folder_of_the_path_is_found_not_named(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PATH is the user's, but `.` in it is any current folder."""
    place.program("it", uid=STRANGER)
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("PATH", ".:/usr/bin:/bin")
    with pytest.raises(FileRefusedError, match="owner 4242"):
        await ask_version(("it",))
    with pytest.raises(SecretError, match="owner 4242"):
        SecretSources(environ={"PATH": ".:/usr/bin"}, base=place.folder).resolve("cmd:it")
    assert place.traces() == []


async def test_a_dotenv_file_of_others_is_not_written(place: Place) -> None:
    """The file beside the configuration, a link of others in its place, a folder of theirs; its whole path names it."""
    (envfile,) = hooks_of(TunnelSettings(url_env_file=".env"), place.folder, place.environ)
    theirs = place.make(".env", "A=1\n", uid=STRANGER)
    with pytest.raises(HookError, match=r"not written: .*owner 4242"):
        await envfile.deliver(CHANGE)
    assert theirs.read_text() == "A=1\n"
    shared = place.make_folder("shared", mode=0o1777)
    mine = place.make("mine.txt", "B=1\n")
    (shared / ".env").symlink_to(mine)
    os.chown(shared / ".env", STRANGER, STRANGER, follow_symlinks=False)
    (linked,) = hooks_of(TunnelSettings(url_env_file=".env"), shared, place.environ)
    with pytest.raises(HookError, match="reached through the link"):
        await linked.deliver(CHANGE)
    assert mine.read_text() == "B=1\n"
    (new,) = hooks_of(TunnelSettings(url_env_file="new.env"), place.make_folder("theirs", uid=STRANGER), place.environ)
    with pytest.raises(HookError, match="not there yet"):
        await new.deliver(CHANGE)
    (named,) = hooks_of(TunnelSettings(url_env_file=str(theirs)), place.folder, place.environ)
    await named.deliver(CHANGE)
    assert "PRX_URL=https://new.example" in theirs.read_text()


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero", "folder", "large"])
async def test_another_kind_of_thing_in_the_place_of_any_file(place: Place, kind: str) -> None:
    """Configuration, secret, client, hook, dotenv file: refused at once with its name, whatever stands there."""
    path = place.folder / "thing"
    match kind:
        case "fifo":
            os.mkfifo(path, 0o700)
        case "folder":
            path.mkdir()
        case "large":
            place.make("thing", "#" * 3_500_000, mode=0o600)
        case _:
            path = Path(kind)
    ended = place.run("config", "check", "-c", str(path))
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "found a" in ended.stderr or "bytes" in ended.stderr
    with pytest.raises(SecretError):
        SecretSources(environ=place.environ).resolve(f"file:{path}")
    (envfile,) = hooks_of(TunnelSettings(url_env_file=str(path)), place.folder, place.environ)
    with pytest.raises(HookError):
        await envfile.deliver(CHANGE)
    with pytest.raises(HookError):
        await CommandHook(str(path), place.folder, place.environ).deliver(CHANGE)
    ended = place.run("logs", PRX_DATA_DIR=str(path))
    assert ended.returncode in {1, 3}
    assert "Traceback" not in ended.stderr
