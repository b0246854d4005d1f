"""Words and screens: names, one tunnel of a file, quiet and loud, status on a terminal, logs that are of use."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.cli.home import PRX, Home
from tests.support.terminal import on_terminal
from tests.support.threads import in_thread
from tests.support.visitor import request
from tests.support.waits import free_port


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Run a local service, and yield its port."""
    with in_thread(ThreadingHTTPServer(("127.0.0.1", 0), handler)) as server:
        yield server.server_port


def names(home: Home) -> list[str]:
    """Return the names of the tunnels that run."""
    return [item["name"] for item in json.loads(home.run("status", "--json").stdout)["tunnels"]]


def test_a_tunnel_without_a_file_can_be_named(home: Home) -> None:
    """`--name shop` is its name in status, url and logs, and a second one beside it has another."""
    port = free_port()
    shop = home.start("--name", "shop", "--lab", str(port))
    shop.wait_for("origin_down")
    other = home.start("--name", "other", "--lab", str(free_port()))
    other.wait_for("origin_down")
    assert sorted(names(home)) == ["other", "shop"]
    assert home.run("why", "shop").stdout.startswith("shop  ")
    assert home.run("stop", "shop").returncode == 0
    assert shop.end() == 0
    assert names(home) == ["other"]


def test_a_tunnel_without_a_name_has_that_of_its_port(home: Home) -> None:
    """Two of them can be distinguished everywhere: status, url, logs, stop, and the report of what has been."""
    ports = [str(free_port()), str(free_port())]
    runs = [home.start("--lab", port) for port in ports]
    for run in runs:
        run.wait_for("origin_down")
    assert sorted(names(home)) == sorted(ports)
    assert [line.split()[0] for line in home.run("status").stdout.splitlines() if line[0] != " "] == sorted(ports)
    assert home.run("why", ports[1]).stdout.startswith(f"{ports[1]}  ")
    assert home.run("restart", ports[0]).stderr == f"restarting {ports[0]}\n"
    assert f" {ports[0]}:" in home.run("logs", ports[0]).stdout
    assert home.run("stop", ports[0]).stderr == f"stopped {ports[0]}\n"
    assert names(home) == [ports[1]]
    assert {item["tunnel"] for item in json.loads(home.run("report", "--json").stdout)["tunnels"]} == set(ports)


def test_all_of_several_prx(home: Home) -> None:
    """--all restarts, reloads and stops every prx that runs; without it the choice is listed, and it excludes a name."""
    ports = sorted([str(free_port()), str(free_port())])
    runs = [home.start("--lab", port) for port in ports]
    for run in runs:
        run.wait_for("origin_down")
    unclear = home.run("stop")
    assert (unclear.returncode, "take --all" in unclear.stderr) == (2, True)
    assert home.run("stop", ports[0], "--all").returncode == 2
    for command, says in (("restart", "restarting"), ("reload", "reloaded"), ("stop", "stopped")):
        done = home.run(command, "--all")
        lines = sorted(line for line in done.stderr.splitlines() if line.startswith(says))
        assert done.returncode == 0
        assert lines == ([f"{says} {port}" for port in ports] if command != "reload" else ["reloaded the environment"] * 2)
    assert [run.end() for run in runs] == [0, 0]
    assert home.run("stop", "--all").returncode == 3


@pytest.mark.parametrize("name", ["Shop", "a b", "-x", "ü", "a" * 64])
def test_a_name_that_cannot_be_is_refused(home: Home, name: str) -> None:
    """The error says what a name may be."""
    done = home.run("start", "8080", f"--name={name}")
    assert done.returncode == 2
    assert "lower-case letters" in done.stderr


def test_one_tunnel_of_the_file(home: Home) -> None:
    """`prx start NAME …` starts these alone; an unknown name lists those that there are."""
    (home.folder / "prx.toml").write_text(
        "".join(f'[tunnels.{name}]\nlocal_addr = "127.0.0.1:{free_port()}"\n' for name in ("web", "api", "hooks"))
    )
    done = home.run("start", "wbe")
    assert (done.returncode, "no tunnel is called 'wbe'; declared in " in done.stderr) == (2, True)
    assert ": web, api, hooks\n" in done.stderr
    assert home.run("start", "--name", "x").returncode == 2
    assert "one local address is expected" in home.run("start", "8080", "api").stderr
    home.start("hooks", "api", "--lab").wait_for("hooks: origin_down")
    assert names(home) == ["api", "hooks"]
    assert home.run("reload").returncode == 0
    assert names(home) == ["api", "hooks"]


def test_what_was_stopped_says_how_it_comes_back(home: Home) -> None:
    """A tunnel that was stopped in a prx that goes on: `status` and `prx start NAME` name the command that starts it again."""
    (home.folder / "prx.toml").write_text(
        "".join(f'[tunnels.{name}]\nlocal_addr = "127.0.0.1:{free_port()}"\n' for name in ("web", "api"))
    )
    run = home.start("--lab")
    run.wait_for("api: origin_down")
    assert home.run("stop", "api").returncode == 0
    assert "hint: prx restart api starts it again" in home.run("status").stdout
    again = home.run("start", "api")
    assert (again.returncode, "hint: api was stopped: `prx restart api` starts it again" in again.stderr) == (1, True)
    assert "`prx stop` ends it" in home.run("start", "web").stderr
    assert home.run("restart", "api").returncode == 0
    assert "starts it again" not in home.run("status").stdout


def test_a_word_without_a_file_is_no_name(home: Home) -> None:
    """Without a configuration a word can only be a mistyped address."""
    assert "is not a local address" in home.run("start", "web").stderr


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(home: Home, flag: str) -> None:
    """Both spellings print it."""
    assert home.run(flag).stdout.startswith("prx ")


def test_quiet_and_loud(home: Home) -> None:
    """-q leaves the URL and what is wrong; -v shows the child's own lines; both at once are refused."""
    quiet = home.start("--hello", "--lab", "-q")
    quiet.url()
    quiet.send(signal.SIGTERM)
    assert quiet.end() == 0
    assert [line for line in quiet.talk if "verified" in line or "public at" in line] == []
    loud = home.start("--hello", "--lab", "-v")
    loud.wait_for("cloudflare | ")
    assert home.run("start", "8080", "-q", "-v").returncode == 2


def test_logs_are_sorted_quiet_and_complete(home: Home) -> None:
    """Times never go back, noise is shown with --all only, and a wrong name is an error with the right ones."""
    prx = home.start("--hello", "--lab")
    prx.url()
    prx.send(signal.SIGTERM)
    prx.end()
    shown = home.run("logs", "-n", "1000").stdout.splitlines()
    times = [line.split()[0] for line in shown]
    assert times == sorted(times)
    assert not [line for line in shown if " debug " in line]
    everything = home.run("logs", "-n", "1000", "--all").stdout.splitlines()
    assert len(everything) > len(shown)
    wrong = home.run("logs", "wbe")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert ".log: hello" in wrong.stderr


def test_a_stop_says_what_it_waits_for(home: Home) -> None:
    """While a request is finished `prx stop`, `prx status`, a second start and the story say so, and for how long."""
    asked, answer = threading.Event(), threading.Event()

    class Slow(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/slow":
                asked.set()
                answer.wait(30)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(Slow) as port:
        prx = home.start("--lab", str(port))
        url = prx.url()
        visitor = threading.Thread(target=lambda: request("GET", f"{url}/slow"))
        visitor.start()
        try:
            assert asked.wait(20)
            stop = home.popen("stop")
            waits = prx.wait_for("finishing 1 request, at most 30 s")
            assert json.loads(home.run("status", "--json").stdout)["tunnels"][0]["reason"] == waits
            assert stop.stderr is not None
            assert stop.stderr.readline() == f"{port}: {waits} …\n"
            again = home.run("start", "--lab", str(port))
            assert again.returncode == 1
            assert f"hint: it is stopping or restarting just now ({waits}): try again in a moment" in again.stderr
        finally:
            answer.set()
            visitor.join()
        assert (stop.communicate(timeout=30)[1], prx.end()) == (f"stopped {port}\n", 0)


def test_a_code_is_printed_on_demand(home: Home) -> None:
    """`url --qr` prints the URL first and alone, then the code, and says of a lab's URL that no phone opens it."""
    prx = home.start("--hello", "--lab")
    done = home.run("url", "--qr")
    url = prx.url()
    done = home.run("url", "--qr")
    assert done.stdout.splitlines()[0] == url
    assert len(done.stdout.splitlines()) > 10
    assert "this machine only" in done.stderr


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_status_on_a_terminal(home: Home, columns: int) -> None:
    """At each width the URL is on the screen in one piece."""
    url = home.start("--hello", "--lab").url()
    with on_terminal([*PRX, "status"], home.environ | {"COLUMNS": str(columns), "TERM": "xterm"}, home.folder) as terminal:
        assert terminal.end() == 0
        assert url in terminal.screen


@pytest.mark.parametrize(("term", "in_place"), [("xterm", True), ("dumb", False)])
def test_status_can_be_watched(home: Home, term: str, in_place: bool) -> None:
    """--watch draws in place on a terminal that can, and prints only changes elsewhere, until Ctrl-C."""
    prx = home.start("--hello", "--lab")
    url = prx.url()
    with on_terminal([*PRX, "status", "--watch"], home.environ | {"TERM": term}, home.folder) as terminal:
        terminal.wait_for(url)
        prx.send(signal.SIGTERM)
        terminal.wait_for("prx is not running")
        assert ("\x1b[H" in terminal.screen) is in_place
        terminal.type("\x03")
        assert terminal.end() == 0
