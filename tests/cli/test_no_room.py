"""A full disk, played by a limit on the size of files (setrlimit(2): writing ends with EFBIG): reported in words."""

import asyncio
import errno
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from tests.cli.home import PRX, Home

from prx.app.probes_server import ProbesServer
from prx.config import paths
from prx.config.source import _read
from prx.control import unixpath
from prx.core.errors import PrxError
from prx.files.rule import Claim
from prx.install import trial
from prx.ui.errors import describe_os_error
from prx.web import keys


def run(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run prx where no file can grow."""
    command = ["prlimit", "--fsize=0", *PRX, *arguments]
    return subprocess.run(command, env=home.environ, cwd=home.folder, capture_output=True, text=True, timeout=40, check=False)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["start", "--hello", "--lab"], ".lab: file too large"),
        (["lab"], "in the temporary folder: "),
        (["config", "init", "-c", "new.toml"], "new.toml: file too large"),
    ],
)
def test_no_room(home: Home, arguments: list[str], place: str) -> None:
    """The place is named, there is no traceback, and no half file is left that would be taken for a whole one."""
    done = run(home, *arguments)
    assert done.returncode == 1
    warnings = ("warn: the history", "warn: the log")  # they have no room either
    first = next(line for line in done.stderr.splitlines() if not line.startswith(warnings))
    assert first.startswith("error: ")
    assert place in first
    assert "Traceback" not in done.stderr
    assert not (home.folder / "new.toml").exists()


@pytest.mark.parametrize(("number", "code"), [(errno.EROFS, 3), (errno.EACCES, 3), (errno.ENOSPC, 1)])
def test_what_helps(number: int, code: int) -> None:
    """Room may be there later; a file system that may not be written will not change by itself."""
    error = OSError(number, "words", "/place")
    assert describe_os_error(error, Path("/elsewhere")).exit_code == code
    assert describe_os_error(error).message == "/place: words"
    assert describe_os_error(OSError(number, "words"), Path("/elsewhere")).message == "/elsewhere: words"


def test_only_room_helps_if_there_is_none() -> None:
    """For a file system that may not be written to the hint is not to make room."""
    assert describe_os_error(OSError(errno.ENOSPC, "words", "/place")).hint.startswith("make room, or ")
    assert describe_os_error(OSError(errno.EROFS, "words", "/place")).hint == "set PRX_DATA_DIR to a directory of your own"


async def _probes() -> None:
    async with ProbesServer("127.0.0.1:0", {}):
        pass


# What a start needs of the system: what is refused, and what asks for it.
NEEDED: dict[str, tuple[Any, str, Callable[[Path], object]]] = {
    "a directory": (Path, "mkdir", lambda folder: paths.ensure_private_dir(folder / "new")),
    "a socket": (socket.socket, "bind", lambda folder: unixpath.listen(folder / "prx.sock")),
    "a key": (keys, "write_new", lambda folder: keys.load_key(folder / "web.key")),
    "a port": (socket.socket, "listen", lambda _: asyncio.run(_probes())),
    "a process": (asyncio, "create_subprocess_exec", lambda folder: asyncio.run(trial.require_version(folder / "x", "1"))),
}
CODES = {
    errno.ENOSPC: 1, errno.EDQUOT: 1, errno.EMFILE: 1, errno.ENOMEM: 1, errno.EIO: 1, errno.EACCES: 3, errno.EROFS: 3,
}  # fmt: skip


@pytest.mark.parametrize("number", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("need", NEEDED)
def test_a_shortage_is_never_permanent(need: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a machine lacks for now ends prx with 1: systemd does not start again what ended with 3, or with 2."""
    place, call, ask = NEEDED[need]

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(place, call, refuse)
    with pytest.raises(PrxError) as refused:
        ask(tmp_path)
    monkeypatch.undo()
    assert refused.value.exit_code == CODES[number]


@pytest.mark.parametrize(("number", "code"), [(errno.EMFILE, 1), (errno.EIO, 1), (errno.ESTALE, 1), (errno.EISDIR, 2)])
def test_a_configuration_that_cannot_be_read_for_now(
    number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that a failing disk or an absent server keeps back is no wrong configuration."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("prx.config.source.read_trusted", refuse)
    with pytest.raises(PrxError) as refused:
        _read(tmp_path / "prx.toml", Claim.NAMED, {})
    assert refused.value.exit_code == code
