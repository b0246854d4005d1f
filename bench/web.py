"""What hostile clients of the dashboard cost the supervision of a tunnel: how soon prx answers and reacts, calm and attacked.

    python -m bench.web [--seconds 10] [--rounds 3] [--connector builtin|PATH] [--clients 200] [--dead 50] [--connections 10000]

`prx start` watches a verified quick tunnel, with `--inspect` and with the dashboard as its child; lab, service and visitors are
processes of their own. Calm and attack take turns. In the attack, clients in another process keep 200 streams of events open,
of which 50 stop reading, open 10,000 connections, send requests of 1 GB (as a length, and in chunks), and load pages without
end. Meanwhile prx is asked over its control socket fifty times a second, and its connector is killed, until prx says so in its
events. Figures of one run on one machine: compare the ratios. It ends with 1 if prx was held up, or if memory grew beyond
bounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.idle import MIB, PRX, running, service
from bench.imports import resident

GB = 1_000_000_000
LONGEST = 0.5  # seconds that prx may be held up by an attack beyond the calm
RATIO = 3.0  # of the medians; one beyond it is a fault unless it is below a millisecond
MOST_MIB = 160  # of the dashboard
PATIENCE = 30.0


# ---------------------------------------------------------------- the attack, a process of its own


@dataclass
class Attack:
    """What the attackers have done."""

    host: str
    port: int
    bearer: str
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        self.counts[what] = self.counts.get(what, 0) + number

    def head(self, line: str, *more: str) -> bytes:
        """Return the head of a request with the token."""
        fields = (line, f"host: {self.host}:{self.port}", f"authorization: Bearer {self.bearer}", *more)
        return "\r\n".join((*fields, "", "")).encode()

    async def stream(self, *, dead: bool) -> None:
        """Follow the events, again and again; a dead client takes nothing after the head."""
        while True:
            with suppress(OSError):
                connection = socket.socket()
                if dead:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setblocking(False)
                await asyncio.get_running_loop().sock_connect(connection, (self.host, self.port))
                reader, writer = await asyncio.open_connection(sock=connection, limit=4096)
                writer.write(self.head("GET /api/v1/events?after=x-0 HTTP/1.1"))  # with all that is kept
                self.count("streams")
                while not dead and await reader.read(65536):
                    self.count("reads of events")
                if dead:
                    await asyncio.sleep(3600)
            await asyncio.sleep(0.5)

    async def connect(self, total: int) -> None:
        """Open connections, one after the other, and leave most of them open without a request."""
        held: list[asyncio.StreamWriter] = []
        for _ in range(total):
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                self.count("connections that the system refused")
                await asyncio.sleep(0.01)
                continue
            self.count("connections")
            held.append(writer)
            if len(held) > 400:
                held.pop(0).transport.abort()

    async def pour(self, *, chunked: bool) -> None:
        """Send requests of 1 GB, as far as they are taken."""
        block = b"x" * 65536
        piece = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
        fields = ("transfer-encoding: chunked",) if chunked else (f"content-length: {GB}",)
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(self.head("POST /api/v1/reload HTTP/1.1", "x-prx-action: 1", *fields))
                self.count("requests of 1 GB")
                for _ in range(GB // len(block)):
                    writer.write(piece)
                    await writer.drain()
                    self.count("bytes of them", len(piece))
            await asyncio.sleep(0.05)

    async def load(self, path: str) -> None:
        """Load a page without end."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(self.host, self.port)
                writer.write(self.head(f"GET {path} HTTP/1.1", "connection: close"))
                while await reader.read(65536):
                    pass
                writer.close()
                self.count("pages")
            await asyncio.sleep(0)


async def make(attack: Attack, clients: int, dead: int, connections: int) -> None:
    """Attack until SIGTERM, then print what was done."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    paths = ("/", "/tunnels/{}/default/requests", "/api/v1/requests?filter=body:x", "/api/v1/report?since=604800")
    key = await _key(attack)
    work = [
        *(attack.stream(dead=number < dead) for number in range(clients)),
        attack.connect(connections),
        attack.pour(chunked=False),
        attack.pour(chunked=True),
        *(attack.load(path.format(key)) for path in paths),
    ]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(item, name=f"attacker {number}") for number, item in enumerate(work)]
        print("started", flush=True)
        await over.wait()
        for task in tasks:
            task.cancel()
    print(json.dumps(attack.counts))


async def _key(attack: Attack) -> str:
    """Return the key of the first prx that the dashboard sees."""
    while True:
        reader, writer = await asyncio.open_connection(attack.host, attack.port)
        writer.write(attack.head("GET /api/v1/status HTTP/1.1", "connection: close"))
        answer = await reader.read()
        writer.close()
        if found := json.loads(answer.partition(b"\r\n\r\n")[2])["prx"]:
            return str(found[0]["key"])
        await asyncio.sleep(0.2)


# ---------------------------------------------------------------- what is measured


@dataclass
class Figures:
    """Seconds: answers of the control socket, and from the death of a connector until prx says it in its events."""

    answers: list[float] = field(default_factory=list)
    reactions: list[float] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return a line of the table."""
        answers = sorted(self.answers)
        times = [*(answers[int(len(answers) * part)] for part in (0.5, 0.95, 0.99)), answers[-1]]
        reaction = statistics.median(self.reactions) if self.reactions else float("nan")
        cells = " | ".join(f"{1000 * item:>7.2f}" for item in (*times, reaction))
        return f"{name:<10} | {len(answers):>7} | {cells}"


class Subject:
    """The prx that is measured, over its control socket and its events."""

    def __init__(self, socket_path: Path, events: subprocess.Popen[str]) -> None:
        self.path = socket_path
        self.ready = threading.Event()
        self.url = ""
        self.exits: list[float] = []
        self._news = threading.Condition()
        assert events.stdout is not None
        threading.Thread(target=self._follow, args=(events.stdout,), daemon=True).start()

    def _follow(self, lines: Iterator[str]) -> None:
        for line in lines:
            event = json.loads(line)
            if event["event"] == "child_exited":
                with self._news:
                    self.exits.append(time.perf_counter())
                    self._news.notify_all()
            elif event["event"] == "url_changed":
                self.url = event["url"]
            elif event.get("new") == "ready":
                self.ready.set()

    def measure(self, seconds: float, kills: int, into: Figures) -> None:
        """Ask for `seconds`, and kill the connector `kills` times meanwhile."""
        end = time.perf_counter() + seconds
        asker = threading.Thread(target=self._ask, args=(end, into))
        asker.start()
        for _ in range(kills):
            if time.perf_counter() < end:
                self._kill(into)
        asker.join()

    def _ask(self, end: float, into: Figures) -> None:
        from prx.control.client import Client

        with Client(self.path, timeout=PATIENCE) as client:
            while time.perf_counter() < end:
                began = time.perf_counter()
                client.ask("ping")
                into.answers.append(time.perf_counter() - began)
                time.sleep(0.02)

    def _kill(self, into: Figures) -> None:
        from prx.control.client import Client

        with Client(self.path, timeout=PATIENCE) as client:
            self._until_ready(client)
            pid = client.ask("status")["tunnels"][0]["connectors"][0]["pid"]
            seen = len(self.exits)
            began = time.perf_counter()
            os.kill(pid, signal.SIGKILL)
            with self._news:
                self._news.wait_for(lambda: len(self.exits) > seen, PATIENCE)
                into.reactions.append(self.exits[seen] - began)
            client.ask("restart")  # without the wait

    def _until_ready(self, client: Any) -> None:
        end = time.perf_counter() + PATIENCE
        while time.perf_counter() < end:
            tunnel = client.ask("status")["tunnels"][0]
            if tunnel["state"] == "ready" and tunnel["connectors"]:
                return
            time.sleep(0.1)
        raise SystemExit("the tunnel did not come up again")


@contextmanager
def attacked(url: str, bearer: str, options: argparse.Namespace, done: list[dict[str, int]]) -> Iterator[None]:
    """Attack for the length of a block."""
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    numbers = [str(item) for item in (options.clients, options.dead, options.connections)]
    # real attackers would compute elsewhere: theirs give way as the dashboard does
    command = ("nice", "-n", "10", sys.executable, "-m", "bench.web", "attack", host, port, bearer, *numbers)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()  # it runs
            yield
        finally:
            process.terminate()
            out, _ = process.communicate()
            done.append(json.loads(out))


@contextmanager
def visited(subject: Subject, path: str, rate: float) -> Iterator[list[int]]:
    """Have visitors, so that there are requests and events, for the length of a block; gives the statuses that they got."""
    over, found = threading.Event(), []

    def visit() -> None:
        while not over.wait(1 / rate):
            parts = urlsplit(subject.url)
            with suppress(OSError, HTTPException):
                connection = HTTPConnection("127.0.0.1", parts.port or 80, timeout=5)  # the lab's names lead there
                connection.request("GET", path, headers={"Host": parts.netloc})
                found.append(connection.getresponse().status)
                connection.close()

    thread = threading.Thread(target=visit)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status_of(url: str, bearer: str) -> dict[str, Any]:
    """Return what the dashboard says of itself."""
    request = urllib.request.Request(f"{url}api/v1/status", headers={"authorization": f"Bearer {bearer}"})
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            if found["prx"] or time.monotonic() > end:
                return found
            time.sleep(0.1)


def dashboard_of(prx: int) -> int:
    """Return the process of the dashboard, a child of `prx`."""
    for name in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((name / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == prx and b"\0web\0" in (name / "cmdline").read_bytes():
                return int(name.name)
    raise SystemExit("the dashboard does not run")


def judge(calm: Figures, busy: Figures, prx_mib: tuple[float, float], web_mib: float) -> list[str]:
    """Return what is not as it must be."""
    faults = []
    medians = statistics.median(calm.answers), statistics.median(busy.answers)
    if medians[1] > max(RATIO * medians[0], 0.001):
        faults.append(f"answers take {medians[1] / medians[0]:.1f} times as long in the middle")
    if max(busy.answers) > max(calm.answers) + LONGEST:
        faults.append(f"an answer took {max(busy.answers):.2f} s")
    if prx_mib[1] > prx_mib[0] + 16:
        faults.append(f"prx grew from {prx_mib[0]:.0f} to {prx_mib[1]:.0f} MiB")
    if web_mib > MOST_MIB:
        faults.append(f"the dashboard has {web_mib:.0f} MiB")
    return faults


def run(options: argparse.Namespace) -> int:
    """Measure, print, and return the exit code."""
    with tempfile.TemporaryDirectory(prefix="prx-bench-") as name, service() as port:
        folder, listen = Path(name), free_port()
        environ = {
            "HOME": name,
            "PRX_DATA_DIR": f"{name}/data",
            "XDG_RUNTIME_DIR": name,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        config = folder / "bench.toml"
        config.write_text(
            f'[tunnel]\nlocal_addr = "{port}"\n'
            f'[tunnel.cloudflare]\ncloudflared_path = "{options.connector}"\nlog_level = "debug"\n'
            f'[tunnel.inspect]\nenabled = true\n[web]\nlisten = "127.0.0.1:{listen}"\n'
        )
        with running(*PRX, "lab", "--json", environ=environ) as lab:
            assert lab.stdout is not None
            control = json.loads(lab.stdout.readline())["control"]
            with running(*PRX, "start", "-c", str(config), "--json", f"--lab={control}", environ=environ) as prx:
                return measured(prx, folder, f"http://127.0.0.1:{listen}/", environ, options)


def measured(prx: subprocess.Popen[str], folder: Path, web: str, environ: dict[str, str], options: argparse.Namespace) -> int:
    """Take turns, and print the table."""
    control = _control_socket(folder)
    subject = Subject(control, prx)
    if not subject.ready.wait(PATIENCE):
        raise SystemExit("the tunnel did not come up")
    bearer = said(environ, "web", "--token").strip()
    status_of(web, bearer)
    dashboard = dashboard_of(prx.pid)
    calm, busy, web_mib = Figures(), Figures(), 0.0
    done: list[dict[str, int]] = []
    before = resident(prx.pid) / MIB
    with visited(subject, f"/{'x' * 1500}", 50) as visits:
        for _ in range(options.rounds):
            subject.measure(options.seconds, options.kills, calm)
            with attacked(web, bearer, options, done):
                subject.measure(options.seconds, options.kills, busy)
                web_mib = max(web_mib, resident(dashboard) / MIB)
    after = resident(prx.pid) / MIB
    if dashboard_of(prx.pid) != dashboard:
        raise SystemExit("the dashboard has ended")
    print("ms         | answers |  median |    95 % |    99 % | longest | from a kill to its event")
    print(calm.row("calm"))
    print(busy.row("attacked"))
    ratio = statistics.median(busy.answers) / statistics.median(calm.answers)
    print(f"ratio of the medians {ratio:.2f}; prx {before:.0f} → {after:.0f} MiB; the dashboard at most {web_mib:.0f} MiB")
    total = sum((Counter(item) for item in done), Counter[str]())
    print("the attackers:", ", ".join(f"{number} {what}" for what, number in sorted(total.items())))
    print("the visitors got:", dict(Counter(visits)))
    print("the dashboard counted:", json.dumps(status_of(web, bearer)["dashboard"]))
    faults = judge(calm, busy, (before, after), web_mib)
    print("\n".join(f"FAULT: {text}" for text in faults) or "nothing was held up")
    return 1 if faults else 0


def said(environ: dict[str, str], *command: str) -> str:
    """Return what a command of prx prints."""
    return subprocess.run([*PRX, *command], env=environ, capture_output=True, text=True, check=False).stdout


def _control_socket(folder: Path) -> Path:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := list(folder.rglob("*.sock")):
            return found[0]
        time.sleep(0.05)
    raise SystemExit("prx has no control socket")


def main() -> int:
    """Read the command line."""
    if sys.argv[1:2] == ["attack"]:
        host, port, bearer, *numbers = sys.argv[2:]
        asyncio.run(make(Attack(host, int(port), bearer), *map(int, numbers)))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kills", type=int, default=3, help="in each turn")
    parser.add_argument("--connector", default="builtin")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--dead", type=int, default=50)
    parser.add_argument("--connections", type=int, default=10_000, help="in each attack")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
