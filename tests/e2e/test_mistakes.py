"""What a user can get wrong: one clear message with a hint, the exit code of the contract, no traceback, no loop."""

import base64
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import real_cloudflared
from tests.e2e.prx_process import clean_environment, run_prx

SECRET = base64.b64encode(b"a secret of 32 bytes, as they are").decode()


def token(**fields: str) -> str:
    """Return a token with these fields."""
    return base64.b64encode(json.dumps(fields).encode()).decode()


BAD_TOKENS = {
    "not base64": "this is no token!",
    "not JSON": base64.b64encode(b"hello").decode(),
    "missing field": token(a="account", s=SECRET),
    "bad uuid": token(a="account", t="not-a-uuid", s=SECRET),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder for prx.toml."""
    return tmp_path


@pytest.fixture
def environ(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing is installed."""
    return clean_environment(folder)


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a port that another process listens on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


async def start(folder: Path, environ: dict[str, str], text: str, *arguments: str) -> tuple[int, str]:
    """Run `prx start` with this configuration to its end: exit code and stderr; stdout must be empty."""
    file = folder / "prx.toml"
    file.write_text(text)
    file.chmod(0o600)
    code, out, err = await run_prx("start", "9000", *arguments, environ=environ, cwd=folder)
    assert out == ""
    assert "Traceback" not in err
    assert err.count("error: ") == 1
    return code, err


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_malformed_token(folder: Path, environ: dict[str, str], name: str) -> None:
    """Exit 3 at once, the defect named, not a part of the token on screen."""
    text = f'[tunnel.cloudflare]\nmode = "named"\nhostname = "app.example.com"\ntoken = "{BAD_TOKENS[name]}"\n'
    code, err = await start(folder, environ, text)
    assert code == 3
    assert "token" in err
    assert "hint: " in err
    for part in (BAD_TOKENS[name], SECRET):
        assert part[:8] not in err


async def test_a_missing_program(folder: Path, environ: dict[str, str]) -> None:
    """Exit 3, the path named, a hint how to get it."""
    code, err = await start(folder, environ, '[tunnel.cloudflare]\ncloudflared_path = "/no/such/cloudflared"\n')
    assert code == 3
    assert "'/no/such/cloudflared'" in err
    assert "hint: install it" in err


async def test_a_program_that_is_not_executable(folder: Path, environ: dict[str, str]) -> None:
    """Exit 3, and chmod as the remedy."""
    (folder / "cloudflared").write_text("not a program")
    code, err = await start(folder, environ, f'[tunnel.cloudflare]\ncloudflared_path = "{folder}/cloudflared"\n')
    assert code == 3
    assert "Permission denied" in err
    assert "chmod +x" in err


async def test_an_unknown_key(folder: Path, environ: dict[str, str]) -> None:
    """Exit 2, with file, line and what was probably meant; every mistake at once."""
    code, err = await start(folder, environ, '[tunnel]\nlocal_adr = "1"\nmax_failures = "3"\n')
    assert code == 2
    assert "prx.toml:2: tunnel.local_adr: unknown key; did you mean local_addr?" in err
    assert "prx.toml:3: tunnel.max_failures" in err


@pytest.mark.parametrize("program", ["builtin", pytest.param("real", marks=pytest.mark.real)])
async def test_a_metrics_port_in_use(folder: Path, environ: dict[str, str], taken: int, program: str) -> None:
    """Exit 3, the port named, not a restart."""
    if program == "real":
        program = real_cloudflared()
    text = f'[tunnel.cloudflare]\ncloudflared_path = "{program}"\nmetrics_port = {taken}\n'
    code, err = await start(folder, environ, text, "--lab")
    assert code == 3
    assert str(taken) in err
    assert "hint: " in err
    assert err.count("spawned") <= 1
