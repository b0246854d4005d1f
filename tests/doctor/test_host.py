"""Checks of the machine: files, variables, proxies, network."""

from pathlib import Path

import pytest
from tests.doctor.conftest import SceneOf

from prx.backends.base import EdgeSite
from prx.doctor import host
from prx.doctor.finding import Mark


@pytest.mark.parametrize(
    "file",
    [
        "home/me/.cloudflared/config.yml",
        "home/me/.cloudflare-warp/config.yaml",
        "home/me/cloudflare-warp/config.yml",
        "etc/cloudflared/config.yml",
        "usr/local/etc/cloudflared/config.yaml",
    ],
)
async def test_stray_configuration_is_named_and_harmless(scene_of: SceneOf, tmp_path: Path, file: str) -> None:
    """A configuration that cloudflared would take by itself is named in each of its five places, and called harmless."""
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text("ingress: []")
    [finding] = await host.check_stray_config(scene_of())
    assert finding.verdict is Mark.OK
    assert file in finding.words
    assert "harmless" in finding.words


async def test_clean_machine(scene_of: SceneOf) -> None:
    """If there is nothing, nothing is found."""
    scene = scene_of()
    for check in (host.check_stray_config, host.check_environment, host.check_proxy):
        [finding] = await check(scene)
        assert (finding.verdict, finding.remedy) == (Mark.OK, "")


async def test_variables_are_named_without_their_values(scene_of: SceneOf) -> None:
    """Variables that cloudflared would read are named; a token among them is pointed to its right place, and never shown."""
    environ = {"TUNNEL_TOKEN": "eyJhIjoic2VjcmV0", "TUNNEL_METRICS": "0.0.0.0:1", "NO_AUTOUPDATE": "1", "OTHER": "x"}
    [finding] = await host.check_environment(scene_of(environ=environ))
    assert finding.verdict is Mark.OK
    assert finding.words.startswith("NO_AUTOUPDATE, TUNNEL_METRICS, TUNNEL_TOKEN: set, and harmless")
    assert "CLOUDFLARE_TUNNEL_TOKEN" in finding.remedy
    assert "eyJ" not in finding.words + finding.remedy


async def test_proxy_is_a_warning_without_its_password(scene_of: SceneOf) -> None:
    """A proxy variable is a warning, because cloudflared cannot use one; what it holds is not shown."""
    [finding] = await host.check_proxy(scene_of(environ={"HTTPS_PROXY": "http://me:hunter2@proxy:3128", "http_proxy": ""}))
    assert finding.verdict is Mark.WARN
    assert finding.words.startswith("HTTPS_PROXY: set, but cloudflared cannot use an HTTP proxy")
    assert "7844" in finding.remedy
    assert "hunter2" not in finding.words


async def test_no_loopback(scene_of: SceneOf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without 127.0.0.1 no connector can be asked, at the local edge either: a failure, with the command that helps."""
    monkeypatch.setattr(host, "loopback_up", lambda: False)
    for local in (False, True):
        [finding] = await host.check_network(scene_of(site=EdgeSite(local=local)))
        assert (finding.verdict, "ip link set lo up" in finding.remedy) == (Mark.FAIL, True)


@pytest.mark.parametrize(
    ("up", "local", "verdict"), [(True, False, Mark.OK), (False, False, Mark.FAIL), (False, True, Mark.SKIP)]
)
async def test_network(scene_of: SceneOf, monkeypatch: pytest.MonkeyPatch, up: bool, local: bool, verdict: Mark) -> None:
    """No way out is a failure, except for the local edge, which needs none."""
    monkeypatch.setattr(host, "network_up", lambda: up)
    [finding] = await host.check_network(scene_of(site=EdgeSite(local=local)))
    assert finding.verdict is verdict
