"""A full disk, played by a limit on the size of files (setrlimit(2): writing ends with EFBIG): reported in words."""

import errno
import subprocess
from pathlib import Path

import pytest
from tests.cli.home import PRX, Home

from prx.ui.errors import describe_os_error


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
