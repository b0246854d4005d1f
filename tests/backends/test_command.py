"""The command line and the environment that cloudflared gets."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from prx.backends import create
from prx.backends.base import EdgeSite, LaunchContext
from prx.backends.cloudflare import CloudflareBackend
from prx.backends.none import NoneBackend
from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.core.errors import PermanentError
from prx.core.launch import SECRET_PATH, Launch
from prx.secrets.value import Secret

TUNNEL_ID = "0a1b2c3d-0000-4000-8000-00000000beef"
_PARTS = {"a": "0123456789abcdef", "t": TUNNEL_ID, "s": base64.b64encode(bytes(range(32))).decode()}
TOKEN = base64.b64encode(json.dumps(_PARTS).encode()).decode()


def settings(*, top: dict[str, Any] | None = None, **cloudflare: Any) -> TunnelSettings:
    """Return settings of a tunnel; a token makes it a named one."""
    if "token" in cloudflare:
        named = {"mode": "named", "hostname": "app.example.com"}
        cloudflare = named | cloudflare | {"token": Secret(cloudflare["token"])}
    return TunnelSettings(cloudflare=CloudflareSettings(**cloudflare), **(top or {}))


def context(version: str = "2026.8.2", **changes: Any) -> LaunchContext:
    """Return what the runtime prepares for a start."""
    facts: dict[str, Any] = {
        "program": ("/opt/cloudflared",),
        "version": version,
        "metrics_port": 20999,
        "config_file": Path("/private/config.yml"),
        "home": Path("/private/home"),
        "protocol": "http2",
    }
    return LaunchContext(**(facts | changes))


def launch(given: TunnelSettings, prepared: LaunchContext | None = None) -> Launch:
    """Return what would be run."""
    return CloudflareBackend(given).launch(prepared or context())


def value(argv: tuple[str, ...], flag: str) -> str:
    """Return the word after a flag that must stand there once."""
    assert argv.count(flag) == 1
    return argv[argv.index(flag) + 1]


def test_every_key_of_the_section_reaches_the_right_side_of_run() -> None:
    """Each key of [tunnel.cloudflare] becomes its flag, all but the token's and the origin's before `run`."""
    given = settings(
        top={"local_addr": "127.0.0.1:3000", "host_header": "localhost:3000"},
        token=TOKEN,
        protocol="quic",
        edge_ip_version="6",
        retries=7,
        grace_period_secs=12.5,
        log_level="warn",
    )
    argv = launch(given, context(protocol="quic")).argv
    assert argv[:2] == ("/opt/cloudflared", "tunnel")
    before, after = argv[2 : argv.index("run")], argv[argv.index("run") + 1 :]
    assert value(before, "--config") == "/private/config.yml"
    assert value(before, "--metrics") == "127.0.0.1:20999"
    assert value(before, "--output") == "json"
    assert value(before, "--loglevel") == "warn"
    assert value(before, "--protocol") == "quic"
    assert value(before, "--edge-ip-version") == "6"
    assert value(before, "--retries") == "7"
    assert value(before, "--grace-period") == "12.5s"
    assert {"--no-autoupdate", "--no-prechecks", "--management-diagnostics=false"} <= set(before)
    assert "--ha-connections" not in argv
    assert after == ("--token-file", SECRET_PATH, "--url", "http://127.0.0.1:3000", "--http-host-header", "localhost:3000")


@pytest.mark.parametrize("given", [0, 1, 5, 20])
def test_the_wait_between_two_tries_is_doubled_only_if_asked_for(given: int) -> None:
    """Visitors get errors until the next try, so only another number than cloudflared's default is the operator's wish."""
    doubled = 0 if given == 5 else given
    quick, named = settings(retries=given), settings(token=TOKEN, retries=given)
    assert value(launch(quick).argv, "--retries") == str(doubled)
    assert value(launch(named).argv, "--retries") == str(doubled)
    assert CloudflareBackend(quick).longest_wait(30) == 10.0 * 2**doubled
    assert CloudflareBackend(named).longest_wait(30) == 10.0 * 2**doubled


def test_a_quick_tunnel_has_no_run_and_no_token() -> None:
    """Quick mode needs nothing but the address of the service."""
    found = launch(settings(top={"local_addr": "8080"}))
    assert "run" not in found.argv
    assert found.argv[-2:] == ("--url", "http://127.0.0.1:8080")
    assert found.secret is None
    assert not any("TOKEN" in name for name in found.env)


def test_the_protocol_is_always_explicit() -> None:
    """Without the flag a quick tunnel would use QUIC without a way back."""
    assert value(launch(settings(), context(protocol="auto")).argv, "--protocol") == "auto"


def test_the_token_is_nowhere_but_in_the_secret() -> None:
    """Neither an argument nor a variable of a current version holds any part of the token."""
    found = launch(settings(token=TOKEN))
    assert found.secret == TOKEN.encode()
    shown = " ".join([*found.argv, *found.env, *found.env.values(), repr(found)])
    assert TOKEN[:12] not in shown


@pytest.mark.parametrize(
    ("version", "known"),
    [
        ("2026.8.2", {"--output", "--no-prechecks", "--management-diagnostics=false", "--token-file"}),
        ("2026.4.9", {"--output", "--management-diagnostics=false", "--token-file"}),
        ("2025.6.0", {"--management-diagnostics=false", "--token-file"}),
        ("2025.2.1", {"--management-diagnostics=false"}),
        ("2022.6.0", set()),
        ("", set()),
        ("cloudflared version DEV (built unknown)", set()),
    ],
)
def test_flags_are_chosen_by_version(version: str, known: set[str]) -> None:
    """An older or unknown version gets only what it understands; then the token goes by the environment."""
    found = launch(settings(token=TOKEN), context(version=version))
    newer = {"--output", "--no-prechecks", "--management-diagnostics=false", "--token-file"}
    assert newer & set(found.argv) == known
    assert (found.env.get("TUNNEL_TOKEN") == TOKEN) is ("--token-file" not in known)
    assert (found.secret is None) is ("--token-file" not in known)
    assert TOKEN not in found.argv


def test_a_version_that_cannot_work_is_refused_with_a_reason() -> None:
    """A too old client is named before it is run, with what it lacks."""
    with pytest.raises(
        PermanentError, match=r"2021\.12\.4 is too old: 2022\.6\.0 or later is needed \(for --edge-ip-version\)"
    ):
        launch(settings(), context(version="2021.12.4"))


def test_the_environment_is_built_from_nothing() -> None:
    """No variable that steers cloudflared, a service manager's hand-over, a proxy or a secret is inherited."""
    inherited = {
        "PATH": "/usr/bin",
        "TZ": "UTC",
        "SSL_CERT_FILE": "/ca.pem",
        "GODEBUG": "x=1",
        "HOME": "/home/user",
        **dict.fromkeys(("TUNNEL_URL", "TUNNEL_TOKEN", "TUNNEL_CONFIG", "NO_AUTOUPDATE", "LISTEN_FDS", "LISTEN_PID"), "bad"),
        **dict.fromkeys(("NOTIFY_SOCKET", "WATCHDOG_USEC", "HTTPS_PROXY", "PRX_MASTER_KEY", "AWS_SECRET", "LD_PRELOAD"), "bad"),
    }
    env = launch(settings(), context(inherited=inherited)).env
    assert env == {"PATH": "/usr/bin", "TZ": "UTC", "SSL_CERT_FILE": "/ca.pem", "GODEBUG": "x=1", "HOME": "/private/home"}


def test_another_edge_is_named_in_full() -> None:
    """A site's addresses, certificate and quick-tunnel service become hidden flags before `run`."""
    site = EdgeSite(("127.0.0.1:1", "127.0.0.1:2"), Path("/ca.pem"), "http://127.0.0.1:3")
    argv = launch(settings(), context(site=site)).argv
    assert [argv[n + 1] for n, word in enumerate(argv) if word == "--edge"] == ["127.0.0.1:1", "127.0.0.1:2"]
    assert value(argv, "--cacert") == "/ca.pem"
    assert value(argv, "--quick-service") == "http://127.0.0.1:3"
    named = launch(settings(token=TOKEN), context(site=site)).argv
    assert "--quick-service" not in named
    assert max(n for n, word in enumerate(named) if word in {"--edge", "--cacert"}) < named.index("run")


def test_a_single_edge_address_is_given_twice() -> None:
    """With one slot cloudflared would dial a refusing edge without any pause."""
    argv = launch(settings(), context(site=EdgeSite(("127.0.0.1:1",)))).argv
    assert argv.count("--edge") == 2


def test_urls_and_names() -> None:
    """A named tunnel's URL is known beforehand and follows the site; a quick one's is not."""
    local = EdgeSite(public_scheme="http", public_port=8000)
    named = CloudflareBackend(settings(token=TOKEN))
    assert named.fixed_url(EdgeSite()) == "https://app.example.com"
    assert named.fixed_url(local) == "http://app.example.com:8000"
    assert (named.name, named.mode, named.tunnel_id) == ("cloudflare", "named", TUNNEL_ID)
    quick = CloudflareBackend(settings())
    assert (quick.fixed_url(local), quick.mode, quick.tunnel_id, quick.secrets) == ("", "quick", "", ())


def test_only_a_named_tunnel_has_a_route_to_compare() -> None:
    """The backend compares pushed rules with its own settings; to a quick tunnel nothing is pushed."""
    pushed = json.dumps({"version": 1, "config": {"ingress": [{"service": "http://localhost:3000"}]}}).encode()
    found = CloudflareBackend(settings(token=TOKEN)).route_mismatch(200, pushed)
    assert (
        found == "app.example.com routes to http://localhost:3000 in the Cloudflare dashboard, but local_addr is 127.0.0.1:8080"
    )
    assert CloudflareBackend(settings(hostname="app.example.com")).route_mismatch(200, pushed) == ""


def test_check_finds_what_cannot_work() -> None:
    """A quick tunnel always may start; a named one needs a host name and a token that can be read."""
    CloudflareBackend(settings()).check()
    CloudflareBackend(settings(token=TOKEN)).check()
    with pytest.raises(PermanentError, match="no host name"):
        CloudflareBackend(settings(token=TOKEN, hostname="")).check()
    with pytest.raises(PermanentError, match="cannot be used"):
        CloudflareBackend(settings(token="nonsense")).check()


def test_create_follows_the_settings() -> None:
    """Each backend's name leads to its class."""
    assert isinstance(create(settings()), CloudflareBackend)
    assert isinstance(create(settings(top={"backend": "none"})), NoneBackend)


def test_none_watches_a_url_and_runs_nothing() -> None:
    """With PRX_TUNNEL_URL there is a URL at once, and no command whatever happens."""
    watching = NoneBackend(settings(top={"backend": "none", "public_url": "https://app.example.com/"}))
    watching.check()
    assert watching.fixed_url(EdgeSite()) == "https://app.example.com"
    assert watching.client is None
    with pytest.raises(PermanentError, match="no URL"):
        NoneBackend(settings(top={"backend": "none"})).check()
