"""The whole: concurrent, bounded, redacted, and the command with its exit codes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import stat
import sys
import time
from pathlib import Path

import pytest
from tests.doctor.conftest import SceneOf
from tests.doctor.test_service import doh
from tests.support.servers import Servers, answer, forever

from prx.doctor import host, reach, report
from prx.doctor.examine import examine
from prx.doctor.finding import Finding, Mark
from prx.logs.redact import Redactor

HANG = 60.0  # seconds; longer than any command may take


async def test_every_check_is_there_and_in_order(scene_of: SceneOf) -> None:
    """The machine comes first, then the tunnels, each with its name."""
    findings = await examine(scene_of())
    names = [finding.check for finding in findings]
    assert names[:2] == ["network", "public-dns"]
    assert {"clock", "edge-tcp", "edge-udp", "proxy", "environment", "stray-config", "program", "token", "service"} < set(names)
    assert {finding.tunnel for finding in findings} == {"", "web"}


async def test_the_lab_asks_for_nothing_outside(scene_of: SceneOf) -> None:
    """With the lab neither DNS nor the edge nor an account is examined: the environment, the connector and the service are."""
    findings = await examine(dataclasses.replace(scene_of(), lab=True))
    checks = ["environment", "stray-config", "program", "service", "event-stream", "host-name"]
    assert [finding.check for finding in findings] in (checks, checks[:4])


async def test_checks_that_hang_or_break_are_bounded(scene_of: SceneOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that hangs is left at the limit, one that breaks is reported, and all others are there."""

    async def hang(*_: object) -> list[Finding]:
        await forever()
        raise AssertionError

    async def break_down(*_: object) -> list[Finding]:
        raise RuntimeError("odd")

    monkeypatch.setattr(reach, "check_edge", hang)
    monkeypatch.setattr(host, "check_proxy", break_down)
    begin = time.monotonic()
    found = {finding.check: finding for finding in await examine(scene_of(), limit=0.5)}
    assert time.monotonic() - begin < 5
    assert (found["edge"].verdict, found["edge"].words) == (Mark.SKIP, "this check did not end within 0.5 s")
    assert found["proxy"].words == "this check met something unexpected: RuntimeError: odd"
    assert "stray-config" in found


def test_nothing_secret_and_nothing_unprintable_is_written(tmp_path: Path) -> None:
    """Lines, JSON and report go through the redactor, and no server's words can move the terminal's cursor."""
    findings = [Finding("service", Mark.FAIL, "it says \x1b[2J hunter2-hunter2", "use hunter2-hunter2", "web")]
    redactor = Redactor(["hunter2-hunter2"])
    file = tmp_path / "report.txt"
    report.write_report(file, findings, 'token = "hunter2-hunter2"', redactor)
    for text in ("\n".join(report.lines(findings, redactor)), report.to_json(findings, redactor), file.read_text()):
        assert "hunter2" not in text
        assert "\x1b" not in text
        assert "[redacted]" in text


def test_report_is_private(tmp_path: Path) -> None:
    """The report is for its owner only, also if the file was there before; a symbolic link is not followed."""
    file = tmp_path / "report.txt"
    file.write_text("x" * 10_000)
    file.chmod(0o644)
    report.write_report(file, [], "", Redactor())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "nothing is wrong" in file.read_text()
    assert "xxx" not in file.read_text()
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        report.write_report(tmp_path / "link", [], "", Redactor())


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ([], "nothing is wrong"),
        ([Mark.OK, Mark.SKIP], "nothing is wrong"),
        ([Mark.FAIL, Mark.WARN, Mark.WARN], "1 failure, 2 warnings"),
    ],
)
def test_summary(marks: list[Mark], words: str) -> None:
    """The last line counts what is wrong."""
    assert report.summary([Finding("x", mark, "") for mark in marks]) == words


async def run_doctor(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str, str]:
    """Run `prx doctor` with a configuration; return exit code, stdout and stderr."""
    file = tmp_path / "prx.toml"
    file.write_text(text)
    file.chmod(0o600)
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "prx", "doctor", "-c", str(file), *arguments),
        env=environ,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(HANG):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_command_with_a_failure(servers: Servers, tmp_path: Path, unused_port: int) -> None:
    """A failure makes exit code 1; lines name check, verdict and remedy; the report holds no secret."""
    server = await doh(servers)
    text = f"""
    [tunnel]
    local_addr = "127.0.0.1:{unused_port}"
    doh = ["{server}"]
    [tunnel.cloudflare]
    cloudflared_path = "builtin"
    mode = "named"
    token = "hunter2hunter2hunter2"
    hostname = "agent.example.com"
    """
    code, out, _ = await run_doctor(tmp_path, text, "--report", "report.txt")
    assert code == 1
    assert f"fail  service      connection refused by 127.0.0.1:{unused_port}\n" in out
    assert f"→ start the service on 127.0.0.1:{unused_port}" in out
    assert "fail  token " in out
    assert out.splitlines()[-1].split()[1].startswith("failure")
    written = (tmp_path / "report.txt").read_text()
    assert "hunter2" not in out + written
    assert "Python" in written
    assert 'hostname = "agent.example.com"' in written


async def test_command_as_json(servers: Servers, tmp_path: Path) -> None:
    """`--json` prints one object on stdout, and exit code and object agree."""
    server = await doh(servers)
    service = await servers.canned(answer(200))
    text = f'[tunnel]\nlocal_addr = "127.0.0.1:{service.port}"\ndoh = ["{server}"]\ncloudflare.cloudflared_path = "builtin"\n'
    code, out, err = await run_doctor(tmp_path, text, "--json")
    found = json.loads(out)
    checks = {check["check"]: check for check in found["checks"]}
    assert checks["service"] == {
        "check": "service",
        "verdict": "ok",
        "words": f"127.0.0.1:{service.port}/ answers 200",
        "remedy": "",
        "tunnel": "default",
    }
    assert checks["public-dns"]["verdict"] == "ok"
    assert code == (0 if found["ok"] else 1)
    assert err == ""


async def test_command_with_a_broken_configuration(tmp_path: Path) -> None:
    """A configuration with mistakes makes exit code 2, and names them."""
    code, out, err = await run_doctor(tmp_path, "[tunnel]\nlocal_adr = 1\n")
    assert (code, out) == (2, "")
    assert "local_adr" in err
    assert "Traceback" not in err


async def test_report_that_cannot_be_written(servers: Servers, tmp_path: Path) -> None:
    """A report into a folder that is not there is an error in words."""
    server = await doh(servers)
    code, _, err = await run_doctor(tmp_path, f'[tunnel]\ndoh = ["{server}"]\n', "--report", "none/report.txt")
    assert code == 1
    assert "the report cannot be written to none/report.txt: No such file or directory" in err
    assert "Traceback" not in err
