"""Secrets in a configuration: references, files that others can read, and messages that never show one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prx.config.keys import keys_of
from prx.config.load import load
from prx.config.render import show
from prx.core.errors import ConfigError, PrxError
from prx.secrets.sources import SecretSources
from prx.secrets.value import Secret

CANARY = "eyJhIjoiY2FuYXJ5IiwidCI6ImNhbmFyeS1jYW5hcnktY2FuYXJ5IiwicyI6ImNhbmFyeSJ9"
NAMED = '[tunnel.cloudflare]\nmode = "named"\nhostname = "a.b"\ntoken = {token}\n'


def sources(**environ: str) -> SecretSources:
    """Return a resolver whose secrets file holds one secret for each name: its name in capitals."""

    def look_up(name: str) -> Secret:
        if name == "gone":
            raise PrxError("there is no secret 'gone'", hint="prx secret list shows the names")
        return Secret(name.upper())

    return SecretSources(look_up, environ)


def private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("token", "value"),
    [("secret:abc", "ABC"), ("env:TOK", "from-env"), ("plain", "plain"), (f"cloudflared service install {CANARY}", CANARY)],
)
def test_references_are_resolved(tmp_path: Path, token: str, value: str) -> None:
    """What stands in the place of a token is resolved, and a pasted install line is understood."""
    path = private(tmp_path / "prx.toml", NAMED.format(token=f'"{token}"'))
    loaded = load(path, {}, resolve_secret=sources(TOK="from-env").resolve)
    assert loaded.config.tunnels["default"].cloudflare.token == Secret(value)
    assert loaded.secrets == (Secret(value),)


def test_a_reference_in_the_environment_is_resolved() -> None:
    """CLOUDFLARE_TUNNEL_TOKEN may hold a reference, too."""
    loaded = load(None, {"CLOUDFLARE_TUNNEL_TOKEN": "secret:abc"}, resolve_secret=sources().resolve)
    assert loaded.config.tunnels["default"].cloudflare.token == Secret("ABC")


def test_only_what_counts_is_resolved(tmp_path: Path) -> None:
    """A reference that a higher layer overrides is never looked up."""
    path = private(tmp_path / "prx.toml", NAMED.format(token='"secret:gone"'))
    loaded = load(path, {"CLOUDFLARE_TUNNEL_TOKEN": "x"}, resolve_secret=sources().resolve)
    assert loaded.config.tunnels["default"].cloudflare.token == Secret("x")


def test_a_secret_that_cannot_be_had_is_a_mistake(tmp_path: Path) -> None:
    """The place, the reason and the remedy are named, and nothing is reported twice."""
    path = private(tmp_path / "prx.toml", NAMED.format(token='"secret:gone"'))
    with pytest.raises(ConfigError) as caught:
        load(path, {}, resolve_secret=sources().resolve)
    assert caught.value.problems == (
        f"{path}:4: tunnel.cloudflare.token: there is no secret 'gone' (prx secret list shows the names)",
    )


def test_secrets_in_other_keys(tmp_path: Path) -> None:
    """secret:NAME works in any text, is known to the redaction, and is checked like any other value."""
    path = private(tmp_path / "prx.toml", '[tunnel]\non_url = ["./hook", "secret:hook"]\nhost_header = "secret:host"\n')
    loaded = load(path, {}, resolve_secret=sources().resolve)
    tunnel = loaded.config.tunnels["default"]
    assert (tunnel.on_url, tunnel.host_header) == (("./hook", "HOOK"), "HOST")
    assert set(loaded.secrets) == {Secret("HOOK"), Secret("HOST")}
    assert 'on_url = ["./hook", "secret:hook"]  # ' in show(loaded, origins=True)
    assert "HOOK" not in show(loaded)
    private(path, '[tunnel]\nhost_header = "secret:a/b"\n')
    with pytest.raises(ConfigError) as caught:
        load(path, {}, resolve_secret=sources().resolve)
    assert 'found "secret:a/b", expected a host name' in caught.value.problems[0]


def test_without_a_resolver_nothing_is_looked_up(tmp_path: Path) -> None:
    """`prx config show` can load a configuration whose secrets are not at hand."""
    path = private(tmp_path / "prx.toml", NAMED.format(token='"secret:gone"') + '[tunnels.b]\nhost_header = "secret:x"\n')
    loaded = load(path, {})
    assert 'token = "secret:gone"' in show(loaded)
    assert f'host_header = "secret:x"  # {path}:6' in show(loaded, origins=True)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
@pytest.mark.parametrize("token", ['"Open Sesame"', f'"{CANARY}"'])
def test_a_plain_token_that_others_can_read_is_refused(tmp_path: Path, mode: int, token: str) -> None:
    """The remedy is named, the token is not."""
    path = private(tmp_path / "prx.toml", NAMED.format(token=token))
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}:4: tunnel.cloudflare.token: found a secret in a file that others can read")
    assert f"chmod 600 {path}" in problem
    assert "secret:NAME" in problem
    assert "Sesame" not in problem
    assert "eyJ" not in problem


@pytest.mark.parametrize("token", ['""', '"secret:abc"', '"env:TOK"', '"${TOK}"'])
def test_no_secret_in_the_file_may_be_read(tmp_path: Path, token: str) -> None:
    """An empty token, a reference or a variable may stand in a file that everybody reads."""
    path = private(tmp_path / "prx.toml", f"[tunnel.cloudflare]\ntoken = {token}\n")
    path.chmod(0o644)
    load(path, {"TOK": "x"}, resolve_secret=sources(TOK="x").resolve)


def values_of(canary: str) -> list[Any]:
    """Return what a user may write who puts a secret in the wrong place."""
    return [f'"{canary}"', f'["{canary}"]', f'{{ x = "{canary}" }}', f'"{canary} {canary}"', canary, '"${CANARY}"']


@pytest.mark.parametrize("key", [key.name for key in keys_of()])
def test_no_message_shows_a_secret(tmp_path: Path, key: str) -> None:
    """A token in any key, in any shape, from a file, a variable or an argument, never comes back in a message."""
    for text in values_of(CANARY):
        path = private(tmp_path / "prx.toml", f"{key} = {text}\n{key}x = {text}\n")
        with pytest.raises(ConfigError) as caught:
            load(path, {"CANARY": CANARY, "PRX_TUNNEL_BACKEND": CANARY, "PRX_LOG": CANARY}, {key: [CANARY, 1]})
        assert CANARY[:8] not in "\n".join(caught.value.problems)


def test_show_gives_a_fingerprint_alone(tmp_path: Path) -> None:
    """A plain token is shown as *** with its fingerprint, a command by its program, and a URL without its password."""
    path = private(tmp_path / "prx.toml", f'[tunnel]\non_url = ["https://u:pw@h/x"]\ncloudflare.token = "{CANARY}"\n')
    text = show(load(path, {"CF_ACCESS_CLIENT_SECRET": "cmd:pass show abc", "CF_ACCESS_CLIENT_ID": "x"}))
    assert f'token = "***"  # fingerprint {Secret(CANARY).fingerprint}' in text
    assert 'client_secret = "cmd:pass …"' in text
    assert 'on_url = ["https://***@h/x"]' in text
    assert CANARY[:8] not in text
