"""Several tunnels in one prx, reloads, hooks, and waits that end early."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.world import World, world
from tests.support.origin import HostedOrigin

from prx.config.schema import AccessSettings, CloudflareSettings, Config, TunnelSettings
from prx.core.events import ChildStarted, ConfigReloaded, HookRan, StateChanged, UrlChanged
from prx.lab import AccessFront, Lab
from prx.lab.faults import QuickService
from prx.secrets.value import Secret
from prx.testing.clock import ManualClock
from prx.testing.fake_cloudflared.scripted import write_fake


def starts(here: World, name: str) -> int:
    """Count the starts of a tunnel's child."""
    return sum(fact.tunnel == name for fact in here.told(ChildStarted))


async def test_a_failed_tunnel_concerns_itself_alone(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """One tunnel's program is missing: the other is up; the program appears: it is started within five seconds."""
    program = tmp_path / "later"
    api = TunnelSettings(local_addr="127.0.0.1:1", cloudflare=CloudflareSettings(cloudflared_path=str(program)))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others={"api": api}) as here:
        await here.live(lambda status: status.state == "ready")
        assert (here.of("api").state, here.of("api").verdict) == ("failed", "misconfigured")
        await here.leap(600)
        assert (here.of("api").state, here.status.state, starts(here, "api")) == ("failed", "ready", 0)
        write_fake(program, {"connections": 1})
        await here.leap(5, until=lambda _: here.of("api").state != "failed")
        await here.live(lambda _: starts(here, "api") == 1)
        assert starts(here, "web") == 1, "the other tunnel was not touched"


async def test_a_reload_touches_only_what_changed(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A changed check leaves the child alone; a changed log level needs a new child, and costs a quick URL, which is said."""
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others={"api": api}) as here:
        await here.live(lambda _: here.of("api").state == here.status.state == "ready")
        old = here.supervisor.config
        web = replace(old.tunnels["web"], health_check_path="/status/204")
        louder = replace(api.cloudflare, log_level="warn")
        config = Config(tunnels={"web": web, "api": replace(api, cloudflare=louder)})
        assert here.supervisor.costly(config) == ["api"]
        here.supervisor.reload(config)
        await here.live(lambda _: starts(here, "api") == 2 and here.of("api").state == "ready")
        assert starts(here, "web") == 1
        assert {(fact.tunnel, fact.restarted) for fact in here.told(ConfigReloaded)} == {("web", False), ("api", True)}
        await here.leap(35)
        assert here.status.last_probe is not None
        assert here.status.last_probe.status == 204
        assert here.supervisor.costly(Config(tunnels={"web": web})) == ["api"]  # it ends, and its URL with it
        here.supervisor.reload(Config(tunnels={"web": web}))
        await here.live(lambda _: [status.name for status in here.supervisor.statuses()] == ["web"])
        assert here.status.state == "ready"


WAITING: dict[str, tuple[dict[str, Any], str]] = {
    "rate limited": ({"cloudflared_path": "builtin"}, "rate_limited"),
    "crashed": ({"cloudflared_path": "FAKE"}, "crashed"),
    "no program": ({"cloudflared_path": "/nowhere/cloudflared"}, "misconfigured"),
    "bad token": (
        {"cloudflared_path": "builtin", "mode": "named", "hostname": "api.localhost", "token": Secret("x")},
        "auth_rejected",
    ),
}


@pytest.mark.parametrize("kind", WAITING)
async def test_a_wait_ends_for_what_concerns_the_tunnel_alone(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin, kind: str
) -> None:
    """A file seen to change ends the wait of the tunnel that it changes, if that may help; the operator's reload ends any."""
    cloudflare, verdict = WAITING[kind]
    if cloudflare["cloudflared_path"] == "FAKE":
        cloudflare = {"cloudflared_path": str(write_fake(tmp_path / "fake", {"exit": 1}))}
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(**cloudflare))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others={"api": api}) as here:
        await here.live(lambda status: status.state == "ready")
        if kind == "rate limited":
            lab.inject(QuickService(429))
            here.supervisor.restart("api")
        await here.live(lambda _: here.of("api").verdict == verdict and here.of("api").state in {"backoff", "failed"})

        def tries() -> int:
            return sum(fact.tunnel == "api" and fact.new == "starting" for fact in here.told(StateChanged))

        async def reloaded(settings: TunnelSettings, path: str, *, asked: bool) -> int:
            before, web = tries(), replace(here.supervisor.config.tunnels["web"], health_check_path=path)
            here.supervisor.reload(Config(tunnels={"web": web, "api": settings}), asked=asked)
            await here.leap(0.5)
            await here.live(lambda _: here.of("api").state in {"backoff", "failed"})
            return tries() - before

        assert await reloaded(api, "/a", asked=False) == 0, "the other tunnel's settings"
        assert await reloaded(api, "/a", asked=False) == 0, "nothing has changed"
        own = replace(api, max_failures=7)
        assert await reloaded(own, "/a", asked=False) == (0 if kind == "rate limited" else 1)
        assert await reloaded(own, "/a", asked=True) == 1


async def test_nothing_is_kept_of_a_tunnel_that_is_gone(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Tunnels that come and go for as long as prx runs leave no task behind, neither running nor ended."""
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        config = here.supervisor.config
        kept = {task.get_name() for task in here.supervisor._running}
        for name in ("one", "two", "three"):
            here.supervisor.reload(Config(tunnels={**config.tunnels, name: api}))
            await here.live(lambda _: [status.state for status in here.supervisor.statuses()] == ["ready"] * 2)
            here.supervisor.reload(config)
            await here.live(lambda _: [status.name for status in here.supervisor.statuses()] == ["web"])
        assert {task.get_name() for task in here.supervisor._running} == kept == {"tunnel web"}


async def test_a_tunnel_without_a_connector_has_no_url_to_lose(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """A quick tunnel that waits for its next start gets another URL anyway."""
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port) as here:
        await here.live(lambda status: status.state == "ready")
        web = here.supervisor.config.tunnels["web"]
        louder = Config(tunnels={"web": replace(web, cloudflare=replace(web.cloudflare, log_level="warn"))})
        assert here.supervisor.costly(louder) == ["web"]
        assert here.supervisor.costly(Config(tunnels={})) == ["web"]  # taken out of the file
        named = replace(web.cloudflare, mode="named", token=Secret(lab.token("app.localhost")), hostname="app.localhost")
        assert here.supervisor.costly(Config(tunnels={"web": replace(web, cloudflare=named)})) == ["web"]
        assert here.supervisor.costly(Config(tunnels={"web": replace(web, max_failures=9)})) == []
        os.kill(here.status.connectors[0].pid, signal.SIGKILL)
        await here.live(lambda status: status.state == "backoff")
        assert here.supervisor.costly(louder) == here.supervisor.costly(Config(tunnels={})) == []


async def test_a_reload_leaves_a_stopped_tunnel_alone(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """What the user has stopped is not started by a reload; one that is taken out and put back at once runs on."""
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others={"api": api}) as here:
        await here.live(lambda _: here.of("api").state == here.status.state == "ready")
        config = here.supervisor.config
        here.supervisor.stop("api")
        await here.live(lambda _: here.of("api").state == "idle")
        here.supervisor.reload(replace(config))
        await here.leap(35)
        assert (here.of("api").state, starts(here, "api")) == ("idle", 1)
        here.supervisor.restart("api")
        await here.live(lambda _: here.of("api").state == "ready")
        here.supervisor.reload(Config(tunnels={"web": config.tunnels["web"]}))
        here.supervisor.reload(config)
        await here.live(lambda _: starts(here, "api") == 3 and here.of("api").state == "ready")


async def test_a_reload_takes_a_new_service_token(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A new service token that a reload reads is sent with the next check, and ends the degraded state without a new child."""
    lab.protect("app.localhost", AccessFront(client_id="id.access", client_secret="right"))
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    wrong = AccessSettings(client_id="id.access", client_secret=Secret("wrong"))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, cloudflare=named, access=wrong) as here:
        await here.live(lambda status: status.verdict == "access_rejected")
        right = replace(wrong, client_secret=Secret("right"))
        here.supervisor.reload(replace(here.supervisor.config, access=right))
        await here.live(lambda status: (status.state, status.verdict) == ("ready", "healthy"))
        assert starts(here, "web") == 1


async def test_a_reload_brings_another_token_or_name(
    lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin
) -> None:
    """Another token with its host name replaces the child, and the new URL is proven; a renamed tunnel is a new one."""
    named = {"mode": "named", "token": lab.token("app.localhost"), "hostname": "app.localhost"}
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with world(
        lab, clock, tmp_path, connector="builtin", port=origin.port, cloudflare=named, others={"api": api}
    ) as here:
        await here.live(lambda status: status.state == here.of("api").state == "ready")
        web = here.supervisor.config.tunnels["web"]
        other = replace(web.cloudflare, token=Secret(lab.token("new.localhost")), hostname="new.localhost")
        changed = replace(web, cloudflare=other)
        assert (
            here.supervisor.costly(Config(tunnels={"web": changed, "api": api})) == []
        )  # its URL is the one that was asked for
        here.supervisor.reload(Config(tunnels={"web": changed, "api": api}))
        await here.live(lambda status: "new.localhost" in status.url and len(status.connectors) == 1)
        assert starts(here, "web") == 2
        moved = [fact for fact in here.told(UrlChanged) if fact.tunnel == "web"][-1]
        assert ("app.localhost" in moved.old, "new.localhost" in moved.url) == (True, True)
        here.supervisor.reload(Config(tunnels={"web": changed, "shop": api}))
        await here.live(
            lambda _: {item.name: item.state for item in here.supervisor.statuses()} == {"web": "ready", "shop": "ready"}
        )
        assert (starts(here, "web"), starts(here, "api"), starts(here, "shop")) == (2, 1, 1)


async def test_one_tunnel_can_be_restarted(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """`restart NAME` gives that tunnel a fresh child at once, without a backoff, and leaves the others alone."""
    api = TunnelSettings(local_addr=f"127.0.0.1:{origin.port}", cloudflare=CloudflareSettings(cloudflared_path="builtin"))
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, others={"api": api}) as here:
        await here.live(lambda _: here.of("api").state == here.status.state == "ready")
        here.supervisor.restart("web")
        await here.live(lambda status: starts(here, "web") == 2 and status.state == "ready")
        assert (starts(here, "api"), here.status.attempt) == (1, 0)


async def test_hooks_hear_of_a_verified_url(lab: Lab, clock: ManualClock, tmp_path: Path, origin: HostedOrigin) -> None:
    """A command and a dotenv file learn the URL when it is verified, and the next one with the old one beside it."""
    heard = tmp_path / "heard"
    script = tmp_path / "hook.sh"
    script.write_text(f'#!/bin/sh\necho "$PRX_URL $PRX_OLD_URL" >> {heard}\n')
    script.chmod(0o755)
    dotenv = tmp_path / ".env"
    dotenv.write_text("KEEP=this\n")
    hooks: dict[str, Any] = {"on_url": (str(script),), "url_env_file": str(dotenv)}
    async with world(lab, clock, tmp_path, connector="builtin", port=origin.port, **hooks) as here:
        first = (await here.live(lambda status: bool(status.url))).url
        await here.live(lambda _: len(here.told(HookRan)) == 2)
        here.supervisor.restart()
        second = (await here.live(lambda status: status.url not in {"", first})).url
        await here.live(lambda _: len(here.told(HookRan)) == 4)
        assert all(fact.ok for fact in here.told(HookRan))
        assert heard.read_text() == f"{first} \n{second} {first}\n"
        assert dotenv.read_text() == f"KEEP=this\nPRX_URL={second}\n"
