"""`prx start` and the commands that act on a running one: real processes, streams and exit codes, on the local edge."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import psutil
import pytest
from tests.cli.home import PRX, Home, Started
from tests.support.terminal import on_terminal
from tests.support.visitor import request

from prx.app.options import StartOptions
from prx.cli import detach
from prx.core.errors import NotReadyError

URL = re.compile(r"http://[a-z0-9-]+\.localhost:\d+")


@pytest.fixture
def running(home: Home) -> Started:
    """Start the hello page on the local edge and wait until it is public."""
    started = home.start("--hello", "--lab")
    started.url()
    started.wait_for("public at")
    return started


def get(url: str) -> str:
    """Return the page behind a URL of the local edge (the name resolves to loopback, whatever the resolver says)."""
    return request("GET", url).text


def children_of(started: Started) -> list[psutil.Process]:
    """List every process below a running prx."""
    return psutil.Process(started.process.pid).children(recursive=True)


def test_stdout_is_the_verified_url_alone(home: Home, running: Started) -> None:
    """One line on stdout, the URL, and the page behind it; the way up with timings on stderr; Ctrl-C ends it with 0."""
    assert len(running.lines) == 1
    assert URL.fullmatch(running.lines[0])
    assert "served by prx" in get(running.lines[0])
    for phase in ("spawned", "url", "connected", "dns", "verified"):
        assert any(re.match(rf"{phase} after \d", line) for line in running.talk), (phase, running.talk)
    assert "builtin, as there is no cloudflared on PATH" in running.talk[0]
    children = children_of(running)
    running.send(signal.SIGINT)
    assert running.end() == 0
    assert len(running.lines) == 1
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_running_one_can_be_asked(home: Home, running: Started) -> None:
    """`status`, `url` and `logs` tell of it, with their exit codes; after `stop` nothing is left to tell."""
    status = home.run("status")
    assert status.returncode == 0
    assert re.fullmatch(r"hello  ready  http://\S+  → 127\.0\.0\.1:\d+  for .*\n", status.stdout)
    (tunnel,) = json.loads(home.run("status", "--json").stdout)["tunnels"]
    assert tunnel["state"] == "ready"
    assert tunnel["connectors"][0]["pid"]
    assert home.run("url").stdout == f"{running.lines[0]}\n"
    assert home.run("url", "hello").stdout == f"{running.lines[0]}\n"
    assert "verified after" in home.run("logs").stdout
    records = [json.loads(line) for line in home.run("logs", "--json", "-n", "5").stdout.splitlines()]
    assert [sorted({"at", "level", "message", "source", "tunnel"} - record.keys()) for record in records] == [[]] * 5

    stop = home.run("stop")
    assert (stop.returncode, stop.stdout, stop.stderr) == (0, "", "stopped hello\n")
    assert not psutil.pid_exists(running.process.pid) or psutil.Process(running.process.pid).status() == psutil.STATUS_ZOMBIE
    assert running.end() == 0
    for command in ("status", "url", "stop", "restart", "reload"):
        after = home.run(command)
        assert (after.returncode, after.stdout) == (3, "")
        assert after.stderr.startswith("error: prx is not running")
    assert "stopped" in home.run("logs", "-n", "3").stdout  # the logs stay


def test_restart_brings_a_new_url(home: Home, running: Started) -> None:
    """`restart` starts the quick tunnel again; `url --wait` waits for the new URL, which comes on stdout as well."""
    assert home.run("restart").returncode == 0
    new = running.url(2)
    assert home.run("url", "--wait", "20").stdout == f"{new}\n"
    assert new != running.url(1)


def test_a_second_one_says_who_holds_the_configuration(home: Home, running: Started) -> None:
    """The same configuration twice: exit code 1 within a second, naming pid and start of the first, which runs on."""
    second = home.run("start", "--hello", "--lab", within=10)
    assert second.returncode == 1
    assert second.stdout == ""
    assert re.search(
        rf"error: prx with pid {running.process.pid} is already running .*, for (less than )?\d+ s\n", second.stderr
    )
    assert home.run("status").returncode == 0


def test_stop_waits_for_a_prx_that_is_coming_up(home: Home, unused_port: int) -> None:
    """A stop while prx still waits for the service ends that wait: exit code 0, and the service is gone."""
    started = home.start(str(unused_port), "--", sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
    started.wait_for("service | up")
    assert home.run("status").returncode == 1
    assert home.run("url").returncode == 4
    children = children_of(started)
    assert home.run("stop").returncode == 0
    assert started.end() == 0
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_second_signal_kills_at_once(home: Home, unused_port: int) -> None:
    """A service that ignores SIGTERM holds up the first Ctrl-C; the second one ends everything: 128 + 2."""
    script = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    started = home.start(str(unused_port), "--", sys.executable, "-c", script)
    started.wait_for("service | up")
    children = children_of(started)
    started.send(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        started.process.wait(0.5)
    started.send(signal.SIGINT)
    assert started.end(5) == 130
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_the_service_is_started_and_stopped_too(home: Home, unused_port: int) -> None:
    """`-- COMMAND` gets PORT, is waited for, is reached through the tunnel, and is stopped with it."""
    script = "import http.server as h, os; h.test(h.SimpleHTTPRequestHandler, port=int(os.environ['PORT']), bind='127.0.0.1')"
    (home.folder / "index.html").write_text("from the service")
    started = home.start(str(unused_port), "--lab", "--", sys.executable, "-c", script)
    assert get(started.url()) == "from the service"
    started.send(signal.SIGTERM)
    assert started.end() == 0


# Answers until a file is there, then ends with the code that the file holds.
ENDS = """
import http.server as h, os, pathlib, threading, time
def watch():
    while not (go := pathlib.Path("go")).exists() or not go.read_text(): time.sleep(0.02)
    print("its last line", flush=True)
    os._exit(int(go.read_text()))
threading.Thread(target=watch).start()
h.test(h.SimpleHTTPRequestHandler, port=int(os.environ["PORT"]), bind="127.0.0.1")
"""


@pytest.mark.parametrize(
    ("ends_with", "code", "said"), [("0", 0, "ended (exit code 0)"), ("7", 1, "'python' ended: exit code 7")]
)
def test_the_end_of_the_service_is_the_end(home: Home, unused_port: int, ends_with: str, code: int, said: str) -> None:
    """A service that ends takes the tunnel with it, and prx says so: 0 where it ended well, else 1 and its last lines."""
    program = home.folder / "python"
    program.symlink_to(sys.executable)
    started = home.start(str(unused_port), "--lab", "--", str(program), "-c", ENDS)
    started.url()
    (home.folder / "go").write_text(ends_with)
    assert started.end() == code
    assert said in "\n".join(started.talk)
    assert ("  | its last line" in started.talk) == bool(code)


@pytest.mark.parametrize("command", ["exit 0", "exec sleep 0", "npm_like() { exit 0; }; npm_like", "kill -TERM $$"])
def test_a_service_that_ends_before_the_proof_is_a_failure(home: Home, unused_port: int, command: str) -> None:
    """However well a service ends, before the public URL was proven that is a failure: exit code 1, with its last lines."""
    listen = "import os, socket; s = socket.create_server(('127.0.0.1', int(os.environ['PORT']))); s.accept(); print('bye')"
    done = home.run("start", str(unused_port), "--lab", "--", "sh", "-c", f'{sys.executable} -c "{listen}"; {command}')
    assert done.returncode == 1
    assert "error: 'sh' ended before the public URL was proven: " in done.stderr
    assert "\n  | bye\n" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_reaches_the_service_once(home: Home, unused_port: int) -> None:
    """Ctrl-C on the terminal is one SIGTERM for the service, and no SIGINT beside it; it may finish."""
    script = """
import os, signal, socket, sys, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"SIGINT\\n"))  # print may not be entered twice
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"SIGTERM\\n") and seen.append(1))
seen = []
s = socket.socket(); s.bind(("127.0.0.1", int(os.environ["PORT"])))
print("up", flush=True)
while not seen: time.sleep(0.02)
time.sleep(0.3)
print("finished", flush=True)
"""
    command = [*PRX, "start", str(unused_port), "--lab", "--", sys.executable, "-c", script]
    with on_terminal(command, home.environ, home.folder) as terminal:
        terminal.wait_for("service | up")
        terminal.type("\x03")
        screen = terminal.wait_for("service | finished")
        assert terminal.end() == 0
    assert (screen.count("service | SIGTERM"), screen.count("service | SIGINT")) == (1, 0)


def test_the_wait_for_the_service_is_shown(home: Home, unused_port: int) -> None:
    """While the service is waited for prx says so at once, and where it listens instead; `status` says it, too."""
    script = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print('up', flush=True); time.sleep(600)"
    started = home.start(str(unused_port), "--", sys.executable, "-c", script)
    started.wait_for(f"waiting for the service on 127.0.0.1:{unused_port} …")
    line = started.wait_for("instead: prx start ")
    told = json.loads(home.run("status", "--json").stdout)["tunnels"][0]["reason"]
    assert told.partition("it listens on ")[2] == line.partition("it listens on ")[2].partition(": prx start")[0]
    started.send(signal.SIGINT)
    assert started.end() == 0


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["sh", "-c", "exit 5"], 1, "'sh' ended before it listened on 127.0.0.1:"),
        (["/nonexistent"], 3, "cannot start '/nonexistent'"),
        ([""], 2, "its program is ''"),
        ([" ", "run", "dev"], 2, "its program is ' '"),
    ],
)
def test_a_service_that_cannot_start(home: Home, unused_port: int, command: list[str], code: int, said: str) -> None:
    """A service that does not come up is reported with its reason, and no tunnel is opened for it."""
    done = home.run("start", str(unused_port), "--", *command)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_not_taken_for_the_service(home: Home) -> None:
    """Where something else listens already, the service is not started: exit code 1, naming the address."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = home.run("start", str(port), "--", "sh", "-c", "touch started")
    assert done.returncode == 1
    assert f"127.0.0.1:{port} is in use already" in done.stderr
    assert not (home.folder / "started").exists()


def test_json_is_one_event_per_line(home: Home) -> None:
    """With --json stdout is events, numbered without gaps; `url_changed` carries the verified URL; a stop ends it with 0."""
    started = home.start("--hello", "--lab", "--json")
    started.wait_for('"event": "url_changed"')
    assert home.run("stop").returncode == 0
    assert started.end() == 0
    events = [json.loads(line) for line in started.lines]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    names = [event["event"] for event in events]
    assert {"state_changed", "verdict_changed", "url_changed", "child_started", "child_exited", "probe"} <= set(names)
    (changed,) = [event for event in events if event["event"] == "url_changed"]
    assert URL.fullmatch(changed["url"])
    assert changed["old"] == ""


def test_a_missing_program_is_permanent(home: Home) -> None:
    """No cloudflared: exit code 3, one error and a hint, no traceback, no restart loop."""
    done = home.run("start", "--hello")
    assert done.returncode == 3
    assert done.stdout == ""
    assert re.search(r"^error: cannot start 'cloudflared': not found in PATH", done.stderr, re.MULTILINE)
    assert re.search(r"^hint: ", done.stderr, re.MULTILINE)
    assert done.stderr.count("not found in PATH") == 1


def test_a_closed_terminal_is_a_stop(home: Home) -> None:
    """The window in which prx runs is closed: it stops gracefully, and no child is left that keeps the machine public."""
    master, terminal = os.openpty()
    process = subprocess.Popen(
        [*PRX, "start", "--hello", "--lab"],
        env=home.environ | {"TERM": "xterm"},
        cwd=home.folder,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one system call, in a test
    )
    os.close(terminal)
    screen = b""
    while b".localhost:" not in screen:
        screen += os.read(master, 65536)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    os.close(master)
    assert process.wait(20) == 0
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_every_mistake_of_the_configuration_is_told(home: Home) -> None:
    """A configuration with mistakes: exit code 2, each with its line, and nothing is started."""
    (home.folder / "prx.toml").write_text('[tunnel]\nlocal_adr = "x"\nmax_failures = "3"\n')
    done = home.run("start")
    assert done.returncode == 2
    assert "prx.toml:2" in done.stderr
    assert "prx.toml:3" in done.stderr
    assert "local_addr" in done.stderr


def test_a_bad_reload_changes_nothing(home: Home, unused_port: int) -> None:
    """`reload` with a mistake shows it and ends with 2; the same by SIGHUP is reported on stderr; the tunnel runs on."""
    file = home.folder / "prx.toml"
    file.write_text("[tunnel]\nhealth_check_interval_secs = 5\n")
    started = home.start("--hello", "--lab")
    started.wait_for("public at")
    assert home.run("reload").returncode == 0
    file.write_text("[tunnel]\nmax_failures = 0\n")
    refused = home.run("reload", "-c", "prx.toml")
    assert refused.returncode == 2
    assert "prx.toml:2" in refused.stderr
    started.send(signal.SIGHUP)
    assert "prx.toml:2" in started.wait_for("not reloaded")
    assert home.run("status", "-c", "prx.toml").returncode == 0
    assert home.run("status", "-c", "other.toml").returncode == 3


def test_status_keeps_the_order_of_the_file(home: Home, unused_port: int) -> None:
    """Tunnels are listed as they stand in the configuration, also one that a reload has put between two others."""

    def write(*names: str) -> None:
        url = f"http://127.0.0.1:{unused_port}"
        text = "".join(f'[tunnels.{name}]\nbackend = "none"\npublic_url = "{url}"\n' for name in names)
        (home.folder / "prx.toml").write_text(text)

    def listed() -> list[str]:
        return [tunnel["name"] for tunnel in json.loads(home.run("status", "--json").stdout)["tunnels"]]

    write("zeta", "alpha")
    home.start("--json").wait_for('"tunnel": "alpha"')
    assert listed() == ["zeta", "alpha"]
    write("zeta", "mid", "alpha")
    assert home.run("reload").returncode == 0
    assert listed() == ["zeta", "mid", "alpha"]


def test_a_reload_changes_how_much_is_told(home: Home) -> None:
    """A `log_level` that a reload changes holds at once for what `prx start` shows."""
    file = home.folder / "prx.toml"
    file.write_text('log_level = "warn"\n')
    started = home.start("--hello", "--lab")
    started.url()
    file.write_text('log_level = "debug"\n')
    assert home.run("reload").returncode == 0
    assert home.run("restart").returncode == 0
    started.wait_for("ended: clean")
    assert not any("public at" in line for line in started.talk[:1])


def test_two_run_side_by_side(home: Home, running: Started, unused_port: int) -> None:
    """Several instances: `status` shows all, a name or an address chooses, and without one the choice is listed: 2."""
    other = home.start(
        str(unused_port), "--lab", "--", sys.executable, "-m", "http.server", str(unused_port), "--bind", "127.0.0.1"
    )
    other.url()
    assert len(home.run("status").stdout.splitlines()) == 2
    unclear = home.run("stop")
    assert unclear.returncode == 2
    assert f"(127.0.0.1:{unused_port}): pid {other.process.pid}" in unclear.stderr
    assert home.run("url", str(unused_port)).stdout == f"{other.lines[0]}\n"
    assert home.run("stop", f"127.0.0.1:{unused_port}").returncode == 0
    assert other.end() == 0
    assert home.run("status").returncode == 0


def test_detach_returns_when_the_url_is_verified(home: Home) -> None:
    """`--detach` prints the verified URL and returns 0; the tunnel goes on without the terminal, and `stop` ends it."""
    done = home.run("start", "--hello", "--lab", "--detach")
    assert done.returncode == 0, done.stderr
    assert "served by prx" in get(done.stdout.strip())
    pid = int(done.stderr.partition("(pid ")[2].partition(")")[0])
    assert os.getsid(pid) == pid
    assert home.run("stop").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_detach_says_at_once_that_it_runs(home: Home, unused_port: int, number: int) -> None:
    """`--detach` says at once that prx runs in the background; a signal ends the wait alone: 128 + n, and what ends prx."""
    started = home.start(str(unused_port), "--lab", "--detach")
    line = started.wait_for("prx runs in the background (pid ")
    pid = int(line.partition("(pid ")[2].partition(")")[0])
    started.send(number)
    assert started.end() == 128 + number
    assert f"prx goes on in the background (pid {pid}); prx stop ends it" in started.talk
    assert psutil.pid_exists(pid)
    deadline = time.monotonic() + 20
    while home.run("status").returncode and time.monotonic() < deadline:  # it may be just coming up
        pass
    assert home.run("stop").returncode == 0


@pytest.mark.parametrize("what", ["service", "own port", "lab"])
def test_ctrl_c_while_a_detached_prx_comes_up(home: Home, unused_port: int, what: str) -> None:
    """On a terminal, Ctrl-C during `--detach` reaches the one that waits alone, whatever it waits for."""
    service = ["--", sys.executable, "-c", "import time; time.sleep(600)"]
    port = str(unused_port)
    arguments = {"service": [port, *service], "own port": [port], "lab": [port, "--lab"]}[what]
    with on_terminal([*PRX, "start", "--detach", *arguments], home.environ, home.folder) as terminal:
        screen = terminal.wait_for("prx runs in the background (pid ")
        pid = int(screen.partition("(pid ")[2].partition(")")[0])
        if what == "own port":  # no cloudflared there: it ends by itself, with its own words
            assert terminal.end() == 3
            return
        terminal.type("\x03")
        assert terminal.end() == 130
        assert f"prx goes on in the background (pid {pid})" in terminal.screen
    assert psutil.pid_exists(pid)
    os.kill(pid, signal.SIGTERM)


def test_detach_hands_on_what_went_wrong(home: Home) -> None:
    """`--detach` ends as the foreground would have ended, with the same words and exit code."""
    done = home.run("start", "--hello", "--detach")
    assert done.returncode == 3
    assert "\nerror: cannot start 'cloudflared': not found in PATH" in done.stderr
    (home.folder / "prx.toml").write_text("[tunnel]\nmax_failures = 0\n")
    mistaken = home.run("start", "--detach")
    assert mistaken.returncode == 2
    assert "prx.toml:2" in mistaken.stderr


def test_detach_says_what_it_waited_for(home: Home, unused_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A culprit is known: soon NotReadyError (exit code 4) with the verdict of the tunnel, which goes on in the background."""
    for name, value in home.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(home.folder)
    monkeypatch.setattr(detach, "PATIENCE_SECONDS", 1.0)
    began = time.monotonic()
    with pytest.raises(NotReadyError, match=f"origin_down: .*127.0.0.1:{unused_port}") as caught:
        detach.start_detached(StartOptions(local_addr=str(unused_port), lab=True))
    assert time.monotonic() - began < detach.WAIT_SECONDS / 3
    assert "goes on in the background" in caught.value.hint
    assert home.run("stop").returncode == 0
    os.waitpid(
        int(caught.value.hint.partition("(pid ")[2].partition(")")[0]), 0
    )  # here the command did not end, so it has a child


def test_a_reader_that_goes_away_does_not_end_the_tunnel(home: Home) -> None:
    """A program that reads the URL and closes the pipe leaves a tunnel that lives on; so does one that never reads."""
    started = home.start("--hello", "--lab", "--json")
    started.wait_for("public at")
    assert started.process.stdout is not None
    os.close(os.dup(started.process.stdout.fileno()))
    assert home.run("restart").returncode == 0
    assert home.run("url", "--wait", "20").returncode == 0


def test_lab_by_itself(home: Home, tmp_path: Path) -> None:
    """`prx lab --json` prints its one line; a token can be had from it; SIGTERM ends it with 0."""
    with subprocess.Popen([*PRX, "lab", "--json"], env=home.environ, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        facts = json.loads(lab.stdout.readline())
        access = {"api", "dash", "oauth_client_id", "api_token", "account_id", "zone_id", "zone", "cert_pem"}
        assert facts.keys() == {"edge", "quick_service", "public", "control", "ca", *access}
        assert Path(facts["ca"]).exists()
        token = home.run("lab", "token", "--control", facts["control"], "--hostname", "web.localhost")
        assert token.returncode == 0
        assert len(token.stdout.strip()) > 60
        assert home.run("lab", "token", "--hostname", "web.localhost", PRX_LAB_CONTROL="http://127.0.0.1:9").returncode == 1
        lab.send_signal(signal.SIGTERM)
        assert lab.stdout.read() == ""
    assert lab.returncode == 0
