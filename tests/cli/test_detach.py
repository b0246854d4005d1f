"""`prx start --detach` starts prx again in the background: nothing that was asked for is lost on the way."""

from __future__ import annotations

from typing import Any

import click
import pytest
from tests.cli.home import Home

from prx.app.options import StartOptions
from prx.cli import start as module
from prx.cli.detach import _arguments, _report
from prx.ui import say

# Each option of `prx start` as it may be given; None: it belongs to the command that waits, or excludes --detach.
GIVEN: dict[str, list[str] | None] = {
    "config": ["--config", "some.toml"],
    "hello": ["--hello"],
    "health_path": ["--health-path", "/health"],
    "expect": ["--expect", "200-399,404"],
    "host_header": ["--host-header", "localhost:5173"],
    "inspect": ["--inspect"],
    "catch": ["--catch"],
    "lab": ["--lab"],
    "lab_control": ["--lab-control", "http://127.0.0.1:4000"],
    "as_json": None,
    "detach": None,
    "allow": ["--allow", "you@example.com", "--allow", "*@example.org"],
    "basic_auth": ["--basic-auth", "env:LOGIN"],
    "bearer": ["--bearer", "secret:token"],
    "allow_ip": ["--allow-ip", "203.0.113.0/24", "--allow-ip", "2001:db8::/32"],
    "ttl": ["--ttl", "1h30m"],
    "name": ["--name", "shop"],
    "silent": ["--quiet"],
    "verbose": ["--verbose"],
    "report_fd": None,
    "held": None,
}


def understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> StartOptions:
    """Return what `prx start` makes of a command line."""
    seen: list[StartOptions] = []

    def run(options: StartOptions, _: int | None) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(module, "_run", run)
    module.start.main(words, standalone_mode=False)
    return seen[0]


OPTIONS = [option.name or "" for option in module.start.params if isinstance(option, click.Option)]


@pytest.mark.parametrize(
    "ttl", ["99999999999999999", "100000000000000000s", "10us", "1ns", "30000000h", "0.25s", "1h30m0.1s", "90"]
)
def test_every_ttl_reaches_the_one_in_the_background(ttl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long or short it is: Python writes such a number with an exponent, which is no duration."""
    options = understood(["--ttl", ttl], monkeypatch)
    assert options.ttl is not None
    assert understood(_arguments(options), monkeypatch).ttl == pytest.approx(options.ttl)


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_reaches_the_one_in_the_background(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever option of `prx start` is given, the command line of the one in the background says the same."""
    given: Any = GIVEN[option]
    for words in [] if given is None else [given, [*given, "--", "npm", "run", "--inspect"]][: 1 if option == "hello" else 2]:
        options = understood(words, monkeypatch)
        assert options != understood([], monkeypatch), "the option is seen at all"
        assert understood(_arguments(options), monkeypatch) == options


@pytest.fixture
def started_hello(home: Home) -> str:
    """Return the URL of a hello page that is served."""
    return home.start("--hello", "--lab").url()


@pytest.mark.parametrize("flag", ["inspect", "catch"])
def test_a_detached_prx_inspects(home: Home, flag: str) -> None:
    """`--inspect` and `--catch` are obeyed in the background, too."""
    done = home.run("start", "--hello", "--lab", "--detach", f"--{flag}", within=60)
    assert done.returncode == 0, done.stderr
    assert home.run("requests").returncode == (0 if flag == "inspect" else 2)
    assert home.run("stop").returncode == 0


def test_a_second_one_in_the_background_says_how_to_go_on(home: Home, started_hello: str) -> None:
    """With `--detach` too it names the age, the URL and the log of the prx that runs."""
    second = home.run("start", "--hello", "--lab", "--detach", within=30)
    assert second.returncode == 1
    assert f"it serves {started_hello}; `prx logs -f` follows it, `prx stop` ends it" in second.stderr
    assert ", for " in second.stderr


@pytest.mark.parametrize("words", ["start -q", "start --quiet", "-q start", "--quiet start"])
def test_a_quiet_start_in_the_background(home: Home, words: str) -> None:
    """With -q the URL is all that is said of a start that went well, in the background, too."""
    done = home.run(*words.split(), "--hello", "--lab", "--detach", within=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("http://")
    assert home.run("stop").returncode == 0


def test_quiet_keeps_no_error_back(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """-q keeps no error back: of two tunnels the one that failed is named beside the URL of the other."""
    monkeypatch.setattr(say, "_quiet", True)
    assert _report({"urls": {"a": "http://a.localhost"}, "failures": ["b: there is no program"]}, 4711) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("http://a.localhost\n", "error: b: there is no program\n")
