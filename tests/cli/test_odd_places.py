"""Odd places to stand: no home, names that are not text, folders that are gone or closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.cli.home import PRX, Home

from prx.config.paths import config_file, data_dir, user_config_file
from prx.control.instance import instance_key
from prx.core.errors import PermanentError
from prx.files.people import expanded

NAMES = [b"caf\xe9", b"\xff\xfe", b"new\nline", b"a b'c\"d", "日本".encode(), b"--help"]
NOBODY = 12345  # a user that the database does not know
COMMANDS = (("status",), ("url",), ("config", "init"), ("logs",), ("secret", "list"), ("start",), ("start", "--lab"), ("stop",))


@pytest.mark.parametrize("name", NAMES)
def test_folder_names_that_are_not_text(home: Home, name: bytes) -> None:
    """The current folder, the home and the data folder may have any name: every command works, and prints their very bytes."""
    folder = Path(os.fsdecode(os.path.join(os.fsencode(home.folder), name)))  # noqa: PTH118 - bytes
    folder.mkdir()
    environ = home.environ | {"HOME": str(folder), "PRX_DATA_DIR": str(folder / "data")}

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*PRX, *arguments], env=environ, cwd=folder, capture_output=True, timeout=60, check=False)

    whole = folder / "prx.toml"
    made = run("config", "init", "-c", str(whole))
    assert (made.returncode, made.stdout) == (0, os.fsencode(whole) + b"\n")
    assert run("config", "check", "-c", str(whole)).stdout == b"ok: " + os.fsencode(whole) + b"\n"
    assert run("config", "path").stdout == b"prx.toml\n"
    assert run("config", "show", "--origin").returncode == 0
    started = run("start", "--lab", "--hello", "--ttl", "1s", "--json")
    assert started.returncode == 0, started.stderr
    assert all(json.loads(line) for line in started.stdout.splitlines())
    assert run("logs").returncode == 0
    assert run("status").returncode == 3
    assert run("secret", "list").returncode == 0
    for ended in (
        run("config", "check", "-c", str(folder / "none")),
        run("secret", "get", "x"),
        run("config", "init", "-c", str(whole)),
    ):
        assert ended.returncode in {1, 2}
        assert b"Traceback" not in ended.stderr


def test_instances_are_told_apart_by_bytes() -> None:
    """Two files whose names differ in bytes that are no text are two instances; the key is a plain file name."""
    keys = {instance_key(Path(f"/srv/{os.fsdecode(name)}/prx.toml"), "") for name in NAMES}
    keys |= {instance_key(Path(f"/srv/{os.fsdecode(name)}.toml"), "") for name in NAMES}
    assert len(keys) == 2 * len(NAMES)
    assert all(key.isascii() and "/" not in key and "\n" not in key for key in keys)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unknown user")


def as_nobody(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run prx as a user without an entry in the user database, without HOME, who may read the interpreter."""
    who = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    env = {"PATH": "/usr/bin:/bin"} | environ
    return subprocess.run(
        [*who, *reads, *PRX, *arguments], env=env, text=True, capture_output=True, timeout=60, check=False, cwd="/"
    )


@needs_root
@pytest.mark.parametrize("command", COMMANDS)
def test_no_home_is_told_in_a_line(command: tuple[str, ...]) -> None:
    """An arbitrary uid without HOME: what is missing, and that PRX_DATA_DIR helps."""
    ended = as_nobody(*command)
    assert ended.returncode == 3
    assert ended.stderr == (
        f"error: user {NOBODY} has no home: HOME is not set, and the user database does not know this user\n"
        "hint: set PRX_DATA_DIR to a directory of your own, or HOME\n"
    )


@needs_root
def test_with_a_data_folder_no_home_is_needed(tmp_path: Path) -> None:
    """PRX_DATA_DIR is enough: the configuration lies there, too."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    data = folder / "data"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return as_nobody(*arguments, PRX_DATA_DIR=str(data))

    assert run("config", "init").stdout == f"{data}/config.toml\n"
    assert run("config", "check").stdout == f"ok: {data}/config.toml\n"
    assert run("status").returncode == 3
    assert run("secret", "list").returncode == 0
    assert "is not running" in run("stop").stderr


@pytest.mark.parametrize("name", ["~/x.toml", "~nobody-here/x", "~"])
def test_a_home_that_is_not_known_is_no_traceback(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in a variable, a reference or a setting needs a home; without one a PermanentError names what is missing."""
    monkeypatch.setattr("pwd.getpwuid", dict[int, object]().__getitem__)
    with pytest.raises(PermanentError):
        expanded(name, {})
    with pytest.raises(PermanentError):
        config_file(None, {"PRX_CONFIG": name})
    with pytest.raises(PermanentError):
        data_dir({"PRX_DATA_DIR": name})
    with pytest.raises(PermanentError):
        user_config_file({})
    assert config_file(None, {}, Path("/nowhere")) is None


@pytest.mark.parametrize("command", [("status",), ("config", "check"), ("config", "path"), ("logs",), ("stop",), ("start",)])
@pytest.mark.parametrize("data", ["whole", "relative"])
def test_a_current_folder_that_is_gone(home: Home, command: tuple[str, ...], data: str) -> None:
    """Every command works or says in a line what is wrong; none ends with a traceback."""
    gone = home.folder / "gone"
    gone.mkdir()
    script = f"import os, sys; os.rmdir({str(gone)!r}); from prx.cli import main; sys.exit(main({list(command)!r}))"
    environ = home.environ | ({"PRX_DATA_DIR": "relative"} if data == "relative" else {})
    ended = subprocess.run(
        [sys.executable, "-P", "-c", script], env=environ, cwd=gone, text=True, capture_output=True, timeout=60, check=False
    )
    assert ended.returncode in {0, 1, 2, 3}
    assert "Traceback" not in ended.stderr
    if command == ("start",):
        assert "the current folder does not exist any more" in ended.stderr


@pytest.mark.parametrize("state", ["gone", "closed"])
def test_the_lab_stands_anywhere(tmp_path: Path, state: str) -> None:
    """The Cap'n Proto library would abort the process without a current folder that it can open."""
    folder = tmp_path / "here"
    folder.mkdir()
    if state == "closed" and os.geteuid() == 0:
        who = ["setpriv", f"--reuid={NOBODY}", "--clear-groups"]  # the modules are loaded from folders that all can read
        if not _is_open_to_all(sys.executable):
            pytest.skip("the interpreter lies where only root can read")
    else:
        who = []
    script = (
        "import os\n"
        + ("os.rmdir(os.getcwd())" if state == "gone" else "")
        + "\nimport prx.lab.protocol.rpc.schema\nprint(os.getcwd())"
    )
    folder.chmod(0o755 if state == "gone" else 0)
    ended = subprocess.run(
        ["sh", "-c", 'cd "$0" || cd /; exec "$@"', str(folder), *who, sys.executable, "-P", "-c", script],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "/\n", "")


def _is_open_to_all(path: str) -> bool:
    return all(part.stat().st_mode & 0o1 for part in Path(path).resolve().parents)


@pytest.mark.parametrize(
    ("odd", "command"),
    [
        ("too long", "status"),
        ("too long", "logs"),
        ("loop", "logs"),
        ("a file", "report"),
        ("device", "logs"),
        ("logs is a file", "logs"),
        ("history is a file", "report"),
        ("run is a loop", "stop"),
    ],
)
def test_a_data_folder_that_is_none(home: Home, odd: str, command: str) -> None:
    """Whatever stands in the place of the data folder or of one in it: a line with a place, no traceback, and no guess."""
    data = home.folder / "data"
    match odd:
        case "too long":
            data = home.folder / ("x" * 300)
        case "loop":
            data.symlink_to(data)
        case "a file":
            data.write_text("")
        case "device":
            data = Path("/dev/null")
        case "run is a loop":
            data.mkdir(0o700)
            (data / "run").symlink_to("run")
        case _:
            data.mkdir(0o700)
            (data / odd.partition(" ")[0]).write_text("")
    ended = home.run(command, PRX_DATA_DIR=str(data))
    assert "Traceback" not in ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.returncode == (4 if odd in {"too long", "loop", "run is a loop"} else 1)  # not 3: nothing is known


@pytest.mark.parametrize(
    ("command", "code", "stderr"),
    [
        ("nope", 2, "2>/dev/full"),
        ("status", 3, "2>/dev/full"),
        ("config check -c wrong.toml", 2, "2>/dev/full"),
        ("config check", 0, "2>/dev/full"),
        ("config show", 0, "2>/dev/full"),
        ("config path", 0, "2>/dev/full"),
        ("secret list", 0, "2>/dev/full"),
        ("status", 3, "2>&-"),
    ],
)
def test_the_exit_code_does_not_depend_on_stderr(home: Home, command: str, code: int, stderr: str) -> None:
    """A full disk behind stderr, or none at all, costs the words and not the exit code: errors, warnings and notes alike."""
    (home.folder / "wrong.toml").write_text("nonsense\n")
    if command in {"config check", "config show"}:  # with a warning, with a note
        secret = (
            "[tunnel]\nhook_secret = 'cmd:true'\n" if command == "config show" else "[tunnel]\non_url = ['no-such-program']\n"
        )
        (home.folder / "prx.toml").write_text(secret)
    line = f"{' '.join(PRX)} {command} {stderr}"
    ended = subprocess.run(["sh", "-c", line], env=home.environ, cwd=home.folder, timeout=60, check=False)
    assert ended.returncode == code


@pytest.mark.parametrize("command", ["config schema", "status"])
@pytest.mark.parametrize("how", ["1</dev/null", "1</dev/null 2</dev/null 0>/dev/null"])
def test_a_stream_that_is_open_the_wrong_way_round(home: Home, command: str, how: str) -> None:
    """It is as good as a closed one: the exit code is that of the command, and nothing is said of it."""
    usual = home.run(*command.split())
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {how}', "sh", *PRX, *command.split()],
        env=home.environ, cwd=home.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == usual.returncode
    assert done.stderr in {usual.stderr, ""}


@pytest.mark.parametrize("command", ["config schema", "--help"])
def test_a_pipe_that_does_not_wait_loses_nothing(home: Home, command: str) -> None:
    """A full pipe that its maker has set to O_NONBLOCK is waited for: everything comes, and the exit code is 0."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filling = b"x" * 4096
    with suppress(BlockingIOError):
        while True:
            os.write(writing, filling)
    process = subprocess.Popen(
        [*PRX, *command.split()], env=home.environ, cwd=home.folder, stdin=subprocess.DEVNULL, stdout=writing,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    while not os.get_blocking(writing) and process.poll() is None:
        time.sleep(0.01)  # another process's flag sends no event
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123 - a descriptor
        said = stream.read()
    _, talk = process.communicate(timeout=60)
    assert (process.returncode, talk) == (0, b"")
    assert said.lstrip(b"x").decode().strip() == home.run(*command.split()).stdout.strip()


@pytest.mark.parametrize(
    "left", [{}, {"COMP_WORDS": "prx"}, {"COMP_WORDS": "prx st", "COMP_CWORD": "x"}, {"COMP_WORDS": "prx '", "COMP_CWORD": ""}]
)
def test_a_variable_that_completion_has_left_behind(home: Home, left: dict[str, str]) -> None:
    """_PRX_COMPLETE without what a shell asks beside it is passed over: the command is run."""
    home.environ |= {"_PRX_COMPLETE": "bash_complete"} | left
    done = home.run("version")
    assert (done.returncode, done.stdout.startswith("prx "), done.stderr) == (0, True, "")


@pytest.mark.parametrize("encoding", ["latin-1", "iso8859-15"])
def test_a_character_that_stdout_cannot_have(home: Home, encoding: str) -> None:
    """It is written as its number; the help of prx has such characters."""
    done = subprocess.run(
        [*PRX, "start", "--help"], env=home.environ | {"PYTHONIOENCODING": encoding}, cwd=home.folder, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"\\u2026" in done.stdout
