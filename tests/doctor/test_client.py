"""Checks of the client program and of the token."""

import base64
import json
import uuid
from pathlib import Path

import pytest
from tests.doctor.conftest import SceneOf, by_check

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.tunnel_token import TunnelToken
from prx.doctor.account import check_account
from prx.doctor.client import check_program, check_token
from prx.doctor.finding import Mark
from prx.secrets.value import Secret

TUNNEL = uuid.UUID(int=7)


def program(folder: Path, text: str, mode: int = 0o755) -> str:
    """Write a program that says its version."""
    file = folder / "cloudflared"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(mode)
    return str(file)


def using(path: str) -> TunnelSettings:
    """Return settings with this program."""
    return TunnelSettings(cloudflare=CloudflareSettings(cloudflared_path=path))


async def test_program_and_version_are_named(tmp_path: Path) -> None:
    """A current cloudflared is fine, and its version and place are shown."""
    path = program(tmp_path, "echo 'cloudflared version 2026.8.2 (built 2026-08-20-1000 UTC)'")
    [finding] = await check_program("web", using(path))
    assert (finding.verdict, finding.words) == (Mark.OK, f"cloudflared 2026.8.2 at {path}")


async def test_old_program_is_a_failure(tmp_path: Path) -> None:
    """A cloudflared that is too old is a failure, with what is needed."""
    path = program(tmp_path, "echo 'cloudflared version 2021.1.1'")
    [finding] = await check_program("web", using(path))
    assert finding.verdict is Mark.FAIL
    assert "2021.1.1 is too old: 2022.6.0 or later is needed" in finding.words
    assert finding.remedy


@pytest.mark.parametrize("text", ["echo cloudflared version DEV", "exit 1"])
async def test_program_without_a_version_is_a_warning(tmp_path: Path, text: str) -> None:
    """A program that does not say a version may still work."""
    [finding] = await check_program("web", using(program(tmp_path, text)))
    assert finding.verdict is Mark.WARN


async def test_the_lab_needs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the lab the builtin connector takes the place of a program that is missing; one that is named must be there."""
    monkeypatch.setenv("PATH", "/nowhere")
    [missing] = await check_program("web", using("cloudflared"), or_builtin=True)
    assert (missing.verdict, "the builtin connector, as 'cloudflared' is not in PATH" in missing.words) == (Mark.OK, True)
    [named] = await check_program("web", using(str(tmp_path / "cloudflared")), or_builtin=True)
    assert named.verdict is Mark.FAIL


async def test_missing_program_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is not there, or cannot be run, is a failure that says where was looked."""
    monkeypatch.setenv("PATH", "/nowhere:/elsewhere")
    [missing] = await check_program("web", using("cloudflared"))
    assert (missing.verdict, missing.words) == (Mark.FAIL, "'cloudflared' is not in PATH (looked in 2 folders)")
    [plain] = await check_program("web", using(program(tmp_path, "", mode=0o644)))
    assert plain.words.endswith("cloudflared is not executable")
    [absent] = await check_program("web", using(str(tmp_path / "none")))
    assert absent.words.endswith("none is not a file")


async def test_program_that_anybody_can_change_is_not_even_asked(tmp_path: Path) -> None:
    """A program that every user can replace is not run for its version: a failure, as it will be at the start."""
    path = program(tmp_path, f"touch {tmp_path}/ran; echo 'cloudflared version 2026.8.2'", mode=0o777)
    [refused] = await check_program("web", using(path))
    assert refused.verdict is Mark.FAIL
    assert "mode 0777: it can be written by everybody" in refused.words
    assert refused.remedy == f"chmod o-w {path}"
    assert not (tmp_path / "ran").exists()


async def test_builtin_and_none_need_no_program() -> None:
    """The builtin connector is there, and a URL that is only watched needs nothing."""
    [builtin] = await check_program("web", using("builtin"))
    assert builtin.verdict is Mark.OK
    [none] = await check_program("web", TunnelSettings(backend="none", public_url="https://agent.example.com"))
    assert none.verdict is Mark.SKIP


def named(token: str) -> TunnelSettings:
    """Return the settings of a named tunnel."""
    return TunnelSettings(cloudflare=CloudflareSettings(mode="named", token=Secret(token), hostname="agent.example.com"))


async def test_token_is_read_and_never_shown() -> None:
    """A sound token is identified by its tunnel; a broken one by its defect; neither by its text."""
    secret = base64.b64encode(b"s" * 32).decode()
    token = base64.b64encode(json.dumps({"a": "account", "t": str(TUNNEL), "s": secret}).encode()).decode()
    [sound] = await check_token("web", named(token))
    assert (sound.verdict, sound.words) == (Mark.OK, f"the token is sound, for tunnel {TUNNEL}")
    for broken in (token[: len(token) // 2], "hunter2-hunter2", base64.b64encode(b'{"a":"x"}').decode()):
        finding = by_check(await check_token("web", named(broken)))["token"]
        assert finding.verdict is Mark.FAIL
        assert finding.remedy
        assert broken[:12] not in finding.words + finding.remedy


async def test_quick_tunnel_needs_no_token() -> None:
    """A quick tunnel has no token to check."""
    [finding] = await check_token("web", TunnelSettings())
    assert finding.verdict is Mark.SKIP


@pytest.mark.parametrize(
    "text", ["echo hello", "echo ls '(GNU coreutils)' 9.1", "echo Python 3.11.7", "echo yt-dlp 2024.12.13"]
)
async def test_another_program_is_told(tmp_path: Path, text: str) -> None:
    """A program that says it is another one is no cloudflared, and that is said in these words."""
    [finding] = await check_program("web", using(program(tmp_path, text)))
    assert finding.verdict is Mark.FAIL
    assert "this is no cloudflared" in finding.words


@pytest.mark.parametrize("command", ["touch {}", "sh -c 'touch {}'", "/usr/bin/env touch {}", "  touch {}"])
async def test_no_program_is_run_for_the_api_token(scene_of: SceneOf, tmp_path: Path, command: str) -> None:
    """An examination runs nothing but `cloudflared --version`: the API's part is left out, and what would be run is named."""
    mark = tmp_path / "ran"
    scene = scene_of(
        environ={"CLOUDFLARE_API_TOKEN": f"cmd:{command.format(mark)}", "PRX_CLOUDFLARE_API": "http://127.0.0.1:9"}
    )
    token = TunnelToken("0" * 32, TUNNEL, b"s" * 32).encode()
    [finding] = await check_account(scene, "web", named(token))
    assert (finding.verdict, mark.exists()) == (Mark.SKIP, False)
    assert "was not run" in finding.words
