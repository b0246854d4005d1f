"""Lines of a flood are shown as any others: by `prx logs`, and on the dashboard."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from prx.cli.logs import logs
from prx.logs.files import RotatingFile
from prx.logs.records import LogRecord, fold_block
from prx.web.journal import LOOK_BACK, Wanted, lines


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a log with two floods, of two tunnels, and records of prx around them."""
    monkeypatch.setenv("PRX_DATA_DIR", str(tmp_path))
    path = tmp_path / "logs" / "prx-1.log"
    log = RotatingFile(path)
    for second, tunnel in enumerate(("web", "api")):
        block = b"".join(b'{"level":"warn","message":"%s %d","ip":"::1"}\n' % (tunnel.encode(), line) for line in range(7_000))
        said = LogRecord(f"2026-11-22T17:12:1{second}.000Z", tunnel, "info", f"before {tunnel}").to_json().encode()
        log.write([said, fold_block(f"2026-11-22T17:12:1{second}.123Z", tunnel, "cloudflared", block)[0]])
    log.close()
    return path


@pytest.mark.usefixtures("path")
def test_prx_logs_shows_each_line() -> None:
    """Each line of a flood has its time, tunnel, level and message; `--json` makes a record of it."""
    shown = CliRunner().invoke(logs, ["-n", "2"]).stdout.splitlines()
    assert shown == [f"2026-11-22T17:12:11.123Z warn  api: cloudflared | api {number}" for number in (6998, 6999)]
    (record,) = CliRunner().invoke(logs, ["-n", "1", "--json", "--all"]).stdout.splitlines()
    expected = {"tunnel": "api", "level": "warn", "message": "api 6999", "source": "cloudflared", "ip": "::1"}
    assert json.loads(record) == {"at": "2026-11-22T17:12:11.123Z", **expected}
    web = CliRunner().invoke(logs, ["web", "-n", "10000"]).stdout.splitlines()
    assert [line.rpartition(" ")[2] for line in web] == ["web", *map(str, range(7_000))]


def test_the_dashboard_shows_each_line(path: Path) -> None:
    """The last lines that fit are found below the record that says whose they are, in order."""
    found = lines(path, Wanted(lines=3))
    assert [(one.tunnel, one.level, one.message) for one in found] == [("api", "warn", f"api {n}") for n in (6997, 6998, 6999)]
    assert [one.message for one in lines(path, Wanted(text="6000"))] == ["api 6000"]
    assert len(lines(path, Wanted(lines=10_000))) == LOOK_BACK
