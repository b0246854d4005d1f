"""Logs in files: set aside when they are full, and no reason to stop when the disk is."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.lab.connector.child import run, token

from prx.lab.connector.log import Log
from prx.lab.connector.log_file import MAX_BYTES, LogFile, LogFolder


class Clock:
    """A clock that goes forward with every look."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 28, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def test_set_aside(tmp_path: Path) -> None:
    """A full file is set aside whole, five of them are kept, and what was there at the start counts."""
    folder = tmp_path / "made" / "here"
    folder.mkdir(parents=True)
    (folder / "cloudflared.log").write_text("old\n")
    log = LogFolder(folder, now=Clock())
    line = "x" * 99_999 + "\n"
    for _ in range(80):
        log.write(line)
    log.close()
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 6
    assert files[-1] == "cloudflared.log"
    assert all(path.stat().st_size <= MAX_BYTES for path in folder.iterdir())
    assert files[0].startswith("cloudflared-2026-11-28T00-00-")


def test_json_in_a_folder(tmp_path: Path) -> None:
    """The lines in the folder are JSON, whatever the console shows."""
    lines: list[str] = []
    log = Log(folder=tmp_path / "logs", sink=lines.append)
    log.info("word", key="ü")
    log.close()
    assert json.loads((tmp_path / "logs" / "cloudflared.log").read_text())["key"] == "ü"


def test_a_full_disk() -> None:
    """Lines that cannot be written are lost, and nothing else."""
    log = LogFile(Path("/dev/full"))
    log.write("line\n")
    log.write("line\n")
    log.close()


def test_a_folder_that_is_taken_away(tmp_path: Path) -> None:
    """A folder that is gone when the file is set aside costs lines only."""
    folder = tmp_path / "logs"
    log = LogFolder(folder, now=Clock())
    log.write("x" * MAX_BYTES + "\n")
    (folder / "cloudflared.log").unlink()
    folder.rmdir()
    log.write("y\n")
    log.write("z\n")
    log.close()


@pytest.mark.parametrize("flag", ["--logfile", "--log-directory"])
async def test_no_place_for_it(tmp_path: Path, flag: str) -> None:
    """A place in which nothing can be written is an error of one line."""
    (tmp_path / "file").write_text("")
    code, out, err = await run(["tunnel", flag, str(tmp_path / "file" / "x"), "run", "--token", token()], tmp_path)
    assert (code, out) == (1, "")
    assert err == f"open {tmp_path / 'file' / 'x'}: not a directory\n"
