"""A running prx and a configuration that is emptied, cut or taken away: what runs keeps running."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from tests.cli.home import Home
from tests.support.visitor import get

from prx.app.hello_page import HelloPage


def running(home: Home) -> tuple[str, str, int]:
    """Return state, URL and the connector's pid of the one tunnel."""
    (tunnel,) = json.loads(home.run("status", "--json").stdout)["tunnels"]
    return tunnel["state"], tunnel["url"], tunnel["connectors"][0]["pid"]


@pytest.mark.slow
def test_a_reload_that_declares_less_than_nothing_is_refused(home: Home) -> None:
    """Emptied, commented out, cut, gone, open to all: exit code 2 with the place, same child and URL; a sound one is taken."""
    file = home.folder / "prx.toml"
    with HelloPage() as page:
        text = f'[tunnel]\nlocal_addr = "{page.local_addr}"\n'
        file.write_text(text)
        started = home.start("--lab")
        started.url()
        before = running(home)
        for left in ("", "# nothing\n", "[access]\n", text[:30]):
            file.write_text(left)
            ended = home.run("reload")
            assert (ended.returncode, ended.stdout) == (2, ""), ended
            assert "prx.toml" in ended.stderr
            assert running(home) == before
        file.unlink()
        assert home.run("reload").returncode == 2
        file.write_text(text)
        file.chmod(0o666)
        assert "can be written by everybody" in home.run("reload").stderr
        assert running(home) == before
        file.chmod(0o600)
        file.write_text(text + "max_failures = 4\n")
        assert home.run("reload").returncode == 0
        assert running(home) == before
        started.send(15)
        assert started.end() == 0


@pytest.mark.slow
def test_a_tunnel_that_waits_does_not_turn_into_another_one(home: Home) -> None:
    """While a tunnel waits for its program, its file is checked by prx: an emptied one is reported once, and not taken."""
    file = home.folder / "prx.toml"
    text = f'[tunnel]\nlocal_addr = "127.0.0.1:9"\n[tunnel.cloudflare]\ncloudflared_path = "{home.folder}/not-there"\n'
    other = '[tunnels.b]\nlocal_addr = "127.0.0.1:7"\n[tunnels.b.cloudflare]\ncloudflared_path = "/nor/there"\n'
    watched = '[tunnels.c]\nbackend = "none"\nlocal_addr = "127.0.0.1:9"\npublic_url = "http://127.0.0.1:9"\n'
    file.write_text(text + other + watched)
    started = home.start("--lab")
    started.wait_for("not-there")
    file.write_text("")
    started.wait_for("declares no tunnel")
    file.write_text(text[:-3])
    started.wait_for("not TOML")
    names = [tunnel["name"] for tunnel in json.loads(home.run("status", "--json").stdout)["tunnels"]]
    assert names == ["default", "b", "c"]
    assert sum("declares no tunnel" in line for line in started.talk) == 1
    started.send(15)
    started.end()
    assert [line for line in started.talk if "8080" in line] == []


RENEWED = "default: it takes a new connector, and with it comes another URL"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "edit", "words"),
    [
        ("", lambda text: f'{text}[tunnel.cloudflare]\nlog_level = "warn"\n', RENEWED),
        ("[tunnel.inspect]\nenabled = true\n", lambda text: text.replace("true", "false"), RENEWED),
        ("", lambda _: "", "default: it ends, and its URL with it"),
    ],
    ids=["the child's log level", "the relay goes", "taken out"],
)
def test_a_change_that_no_user_asked_for_costs_no_url(home: Home, before: str, edit: Callable[[str], str], words: str) -> None:
    """What is read because another tunnel waits leaves a quick tunnel its child and URL, and says so; a reload takes it."""
    file = home.folder / "prx.toml"
    with HelloPage() as page:
        own = f'[tunnel]\nlocal_addr = "{page.local_addr}"\n{before}'
        waits = '[tunnels.b]\nlocal_addr = "127.0.0.1:7"\n[tunnels.b.cloudflare]\ncloudflared_path = "/not/there"\n'
        file.write_text(own + waits)
        started = home.start("--lab")
        url = started.url()
        file.write_text(edit(own) + waits)
        started.wait_for("prx reload takes them, and the URL is lost")
        tunnels = {tunnel["name"]: tunnel for tunnel in json.loads(home.run("status", "--json").stdout)["tunnels"]}
        assert (tunnels["default"]["state"], tunnels["default"]["url"]) == ("ready", url)
        assert asyncio.run(get(url)).status_code == 200
        assert words in home.run("reload").stderr
        started.wait_for(words)
        started.send(15)
        assert started.end() == 0


def test_config_init_leaves_no_half_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended at any system call that writes, it has made the whole file or none."""
    kill = """
import os, sys
calls = int(sys.argv[1])
def counted(real):
    def call(*args, **kwargs):
        global calls
        calls -= 1
        if calls < 0:
            os._exit(9)
        return real(*args, **kwargs)
    return call
for name in ("write", "fsync", "link", "unlink", "fchmod", "replace", "rename"):
    setattr(os, name, counted(getattr(os, name)))
from prx.cli import main
sys.exit(main(["config", "init", "-c", sys.argv[2]]))
"""
    import subprocess
    import sys

    ends = []
    for number in range(12):
        path = home.folder / f"config-{number}.toml"
        ended = subprocess.run(
            [sys.executable, "-P", "-c", kill, str(number), str(path)],
            env=home.environ,
            cwd=home.folder,
            check=False,
            capture_output=True,
            timeout=30,
        )
        ends.append(ended.returncode)
        assert not path.exists() or "[tunnel.cloudflare]" in path.read_text()
    assert ends[0] == 9
    assert ends[-1] == 0
