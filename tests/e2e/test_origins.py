"""Services and programs as they are: certificates of their own, shims, and programs that are no cloudflared."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from tests.e2e.bench import Bench
from tests.e2e.conftest import real_cloudflared
from tests.e2e.prx_process import clean_environment, prx_start, run_prx
from tests.support.origin import HostedOrigin, serving
from tests.support.visitor import get


@pytest.fixture
def server_side() -> ssl.SSLContext:
    """Return what the service speaks TLS with; a certificate that it is given counts from the next connection on."""
    return ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)


@pytest.fixture
def over_tls(tmp_path: Path, server_side: ssl.SSLContext) -> Iterator[HostedOrigin]:
    """Yield a service with a certificate for app.test alone, whose CA is in certs/ca.pem beside prx.toml."""
    authority = trustme.CA()
    authority.issue_cert("app.test").configure_cert(server_side)
    (tmp_path / "certs").mkdir()
    authority.cert_pem.write_to_path(str(tmp_path / "certs" / "ca.pem"))
    with serving(tls=server_side) as origin:
        yield origin


async def test_a_certificate_of_its_own_is_trusted_as_configured(bench: Bench, over_tls: HostedOrigin) -> None:
    """With origin_ca (relative to prx.toml) and origin_server_name the service is reached, its certificate checked."""
    bench.configure(
        f"local_addr = 'https://127.0.0.1:{over_tls.port}'\norigin_tls_verify = true\n"
        "origin_ca = 'certs/ca.pem'\norigin_server_name = 'app.test'"
    )
    async with prx_start("--lab", environ=bench.environ, cwd=bench.folder) as prx:
        assert (await get(await prx.url())).status_code == 200
        assert await prx.stop() == 0


@pytest.mark.parametrize("mode", ["quick"])
async def test_a_certificate_for_another_name_is_told(bench: Bench, over_tls: HostedOrigin) -> None:
    """Where the certificate is for another name, no visitor comes through, and the key that helps is named."""
    bench.configure(f"local_addr = 'https://127.0.0.1:{over_tls.port}'\norigin_ca = 'certs/ca.pem'")
    async with prx_start("--lab", environ=bench.environ, cwd=bench.folder) as prx:
        changed = await prx.event("verdict_changed", new="origin_down")
        assert "origin_server_name" in changed["reason"]
        assert await prx.stop() == 0


async def test_a_rotated_ca_is_taken(bench: Bench, over_tls: HostedOrigin, server_side: ssl.SSLContext) -> None:
    """A named tunnel changes over to a connector that has read the new CA, without a cut; of a quick one it is said, once.

    `prx reload` meanwhile tells that the file is another one, though nothing in the configuration is.
    """
    bench.configure(
        f"local_addr = 'https://127.0.0.1:{over_tls.port}'\norigin_ca = 'certs/ca.pem'\norigin_server_name = 'app.test'\n",
        "grace_period_secs = 1",
    )
    following, ca_file = trustme.CA(), bench.folder / "certs" / "ca.pem"
    async with prx_start("--lab", environ=bench.environ, cwd=bench.folder) as prx:
        url = await prx.url()
        first = await prx.event("child_started")
        new = ca_file.with_name("new.pem")  # as operators rotate: both are trusted until the service has changed
        new.write_bytes(ca_file.read_bytes() + following.cert_pem.bytes())
        new.replace(ca_file)
        _, _, told = await run_prx("reload", environ=bench.environ, cwd=bench.folder)
        takes = "a new connector takes it" if bench.mode == "named" else "prx restart default takes it"
        assert f"default: origin_ca (the file holds other certificates): {takes}" in told
        await prx.first(lambda event: "origin_ca has changed" in event.get("message", ""), "word about the CA")
        if bench.mode == "named":
            await prx.event("child_exited", pid=first["pid"], result="clean")
            following.issue_cert("app.test").configure_cert(server_side)
            over_tls.drop_idle()
            assert (await get(url)).status_code == 200
            _, _, told = await run_prx("reload", environ=bench.environ, cwd=bench.folder)
            assert "nothing has changed" in told
        assert await prx.stop() == 0
        assert sum("origin_ca has changed" in event.get("message", "") for event in prx.events) == 1
        assert [event["url"] for event in prx.events if event["event"] == "url_changed"] == [url]
        assert sum(event["event"] == "child_started" for event in prx.events) == (2 if bench.mode == "named" else 1)


@pytest.mark.real
async def test_a_shim_that_reads_home_serves(origin: HostedOrigin, tmp_path: Path) -> None:
    """A version manager's shim gets its HOME in the real start too, and a configuration that lies there changes nothing."""
    environ = clean_environment(tmp_path)
    home = Path(environ["HOME"])
    home.mkdir(exist_ok=True)
    (home / ".tool-versions").write_text(real_cloudflared())
    (home / ".cloudflared").mkdir()
    (home / ".cloudflared" / "config.yml").write_text("ingress:\n  - service: http_status:418\n")
    shim = tmp_path / "cloudflared"
    shim.write_text('#!/bin/sh\nexec "$(cat "$HOME/.tool-versions")" "$@"\n')
    shim.chmod(0o755)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{shim}"\n')
    async with prx_start(str(origin.port), "--lab", environ=environ, cwd=tmp_path) as prx:
        assert (await get(await prx.url())).status_code == 200
        assert await prx.stop() == 0


OTHERS = {
    "ls": ("/bin/ls", "this is no cloudflared"),
    "cat": ("/bin/cat", "this is no cloudflared"),
    "python": (sys.executable, "this is no cloudflared"),
    "home": ("~/no/such/cloudflared", "/no/such/cloudflared'"),
    "126": ("exit 126", "cannot be run"),
    "127": ("exec /no/such/program", "is not there"),
}


@pytest.mark.parametrize("name", OTHERS)
async def test_a_program_that_is_none_ends_it(tmp_path: Path, name: str) -> None:
    """Another program, a shim with nothing behind it and a path that leads nowhere end with 3, once, with the reason."""
    path, words = OTHERS[name]
    environ = clean_environment(tmp_path)
    if not path.startswith(("/", "~")):
        shim = tmp_path / "cloudflared"
        shim.write_text(f"#!/bin/sh\n{path}\n")
        shim.chmod(0o755)
        path = str(shim)
    (tmp_path / "prx.toml").write_text(f'[tunnel.cloudflare]\ncloudflared_path = "{path}"\n')
    code, out, err = await run_prx("start", "9000", "--lab", environ=environ, cwd=tmp_path)
    assert (code, out) == (3, "")
    assert words in err
    assert "~" not in err
    assert "Traceback" not in err
    assert err.count("spawned") <= 1


@pytest.mark.parametrize("inspected", [False, True], ids=["direct", "inspected"])
@pytest.mark.parametrize("mode", ["quick"])
async def test_a_ca_that_cannot_be_used_stops_its_tunnel_alone(bench: Bench, origin: HostedOrigin, *, inspected: bool) -> None:
    """The file is named before anything is started for its tunnel, the other tunnel serves, and the remedy starts this one."""
    authority = bench.folder / "ca.pem"
    authority.write_text("no certificate")
    client = f'[tunnels.NAME.cloudflare]\ncloudflared_path = "{bench.connector}"\n'
    bad = "local_addr = 'https://127.0.0.1:1'\norigin_ca = 'ca.pem'\n" + ("inspect.enabled = true\n" if inspected else "")
    tables = {"good": f"local_addr = '127.0.0.1:{origin.port}'\n", "bad": bad}
    text = "".join(f"[tunnels.{name}]\n{keys}{client.replace('NAME', name)}" for name, keys in tables.items())
    (bench.folder / "prx.toml").write_text(text)
    async with prx_start("--lab", environ=bench.environ, cwd=bench.folder) as prx:
        failed = await prx.event("verdict_changed", tunnel="bad", new="misconfigured")
        assert failed["reason"] == f"origin_ca: {authority} holds no certificate (expected PEM)"
        assert "PEM" in failed["hint"]
        assert (await get(await prx.url())).status_code == 200
        trustme.CA().cert_pem.write_to_path(str(authority))
        await prx.event("child_started", tunnel="bad")
        assert await prx.stop() == 0
