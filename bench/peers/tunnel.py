"""Scenes with a real tunnel: on a lab of its own, with cloudflared or the builtin connector behind each subject."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from bench.peers.processes import resident, spent, until
from bench.peers.scenes import Figures
from bench.peers.supervisors import PRX, Job, running, wait_for_children

BUILTIN = (sys.executable, "-m", "prx.lab.connector")
CLIENTS = 8


@dataclass
class Site:
    """A lab that runs, and the service that tunnels lead to; `program`: cloudflared, or `builtin`."""

    facts: dict[str, Any]
    port: int
    program: str

    @property
    def control(self) -> str:
        """The lab's control URL."""
        return str(self.facts["control"])

    @property
    def public_port(self) -> int:
        """Where visitors come to."""
        return urlsplit(self.facts["public"]).port or 80

    def names(self) -> set[str]:
        """Return the names of all tunnels that the lab knows."""
        with urlopen(self.control + "/state") as answer:
            return {tunnel["hostname"] for tunnel in json.loads(answer.read())["tunnels"]}

    def token(self, hostname: str) -> str:
        """Return the token of a named tunnel, made if it is new."""
        request = Request(
            self.control + "/token", json.dumps({"hostname": hostname}).encode(), {"Content-Type": "application/json"}
        )
        with urlopen(request) as answer:
            return str(json.loads(answer.read())["token"])

    def command(self, folder: Path, hostname: str = "") -> list[str]:
        """Return what runs the connector alone: a quick tunnel, or the named one of `hostname`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "empty.yml").write_text("{}")
        program = list(BUILTIN) if self.program == "builtin" else [self.program]
        edges = [word for address in self.facts["edge"] for word in ("--edge", address)]
        flags = [
            "--no-autoupdate",
            "--config",
            str(folder / "empty.yml"),
            "--cacert",
            self.facts["ca"],
            "--metrics",
            "127.0.0.1:0",
        ]
        url = ["--url", f"http://127.0.0.1:{self.port}"]
        tail = ["--quick-service", self.facts["quick_service"], *url]
        if hostname:
            (folder / "token").write_text(self.token(hostname))
            tail = ["run", "--token-file", str(folder / "token"), *url]
        return [*program, "tunnel", *edges, *flags, *tail]

    def ask(self, hostname: str) -> int:
        """Return the status that a visitor gets; 0 if there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.public_port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": f"{hostname}:{self.public_port}"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()


def job_of(site: Site, folder: Path) -> Job:
    """Return the job of keeping one quick tunnel."""
    if site.program == "builtin":
        return Job(folder, site.command(folder), marks="prx.lab.connector", lab=site.control, port=site.port)
    return Job(folder, site.command(folder), marks=f"{site.program} tunnel", lab=site.control, port=site.port)


def idle(name: str, site: Site, folder: Path, *, rest: float, seconds: float) -> Figures:
    """One healthy tunnel: memory and CPU of what keeps it, without the connector."""
    before = site.names()
    job = job_of(site, folder)
    if name == "prx":
        job.command = [site.program]
    with running(name, job) as one:
        if one.process.stdout is not None:
            for line in one.process.stdout:
                if json.loads(line).get("new") == "ready":
                    break
            threading.Thread(target=one.process.stdout.read, daemon=True).start()
        wait_for_children(one, 1)
        until(lambda: any(site.ask(host) == 200 for host in site.names() - before), every=0.05, what="a visitor")
        time.sleep(rest)
        own = one.own
        cpu = spent(own)
        time.sleep(seconds)
        return {"memory, MiB": resident(own), "idle CPU, ms a minute": 60_000 * (spent(own) - cpu) / seconds}


def start_prx(site: Site, folder: Path) -> Figures:
    """Run `prx start` until its URL is verified; the whole command, and from the child's start on."""
    job = job_of(site, folder)
    job.command = [site.program]
    began = time.perf_counter()
    with running("prx", job) as one:
        assert one.process.stdout is not None
        spawned = 0.0
        for line in one.process.stdout:
            event = json.loads(line)
            if event["event"] == "child_started":
                spawned = time.perf_counter()
            if event["event"] == "url_changed":
                break
        now = time.perf_counter()
    return {"command to verified URL, ms": 1000 * (now - began), "child's start to verified, ms": 1000 * (now - spawned)}


def start_bare(site: Site, folder: Path) -> Figures:
    """Run the connector alone until the first visitor gets 200."""
    before = site.names()
    began = time.perf_counter()
    with _alone(site, folder) as _:
        fresh: set[str] = set()

        def served() -> bool:
            nonlocal fresh
            fresh = fresh or site.names() - before
            return any(site.ask(host) == 200 for host in fresh)

        until(served, what="a visitor")
        return {"child's start to verified, ms": 1000 * (time.perf_counter() - began)}


@contextmanager
def _alone(site: Site, folder: Path, hostname: str = "") -> Iterator[subprocess.Popen[bytes]]:
    command = site.command(folder, hostname)
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    # a session of its own, as prx gives it one: Linux shares processor time by session (sched(7), autogroup)
    with subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def requests(site: Site, name: str, folder: Path, seconds: float) -> Figures:
    """Count the requests that pass in a second, from eight visitors who keep their connections."""
    before = site.names()
    if name == "bare":
        with _alone(site, folder):
            return _load(site, before, seconds)
    job = job_of(site, folder)
    job.command = [site.program]
    with running("prx", job) as one:
        assert one.process.stdout is not None
        threading.Thread(target=one.process.stdout.read, daemon=True).start()
        return _load(site, before, seconds)


def _load(site: Site, before: set[str], seconds: float) -> Figures:
    until(lambda: any(site.ask(host) == 200 for host in site.names() - before), every=0.02, what="a visitor")
    host = next(host for host in site.names() - before if site.ask(host) == 200)
    time.sleep(1.0)
    counts: list[int] = []
    end = time.perf_counter() + seconds
    visitors = [threading.Thread(target=_visit, args=(site, host, end, counts)) for _ in range(CLIENTS)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    return {"requests a second": sum(counts) / seconds}


def _visit(site: Site, host: str, end: float, counts: list[int]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", site.public_port, timeout=10)
    done = 0
    with suppress(OSError, http.client.HTTPException):
        while time.perf_counter() < end:
            connection.request("GET", "/", headers={"Host": f"{host}:{site.public_port}"})
            answer = connection.getresponse()
            answer.read()
            done += answer.status == 200
    counts.append(done)


def availability(name: str, site: Site, folder: Path, *, seconds: float, kills: Sequence[float], rate: float) -> Figures:
    """Count what visitors of a named tunnel lose whose connector is killed at the seconds `kills`; `rate` a second."""
    host = f"{folder.name}.prx.localhost"
    command = site.command(folder, host)
    replicas = ("replicas = 2",) if name.endswith("replicas") else ()
    job = Job(folder, command, marks="prx.lab.connector" if site.program == "builtin" else f"{site.program} tunnel")
    if name.startswith("prx"):
        more = ('mode = "named"', f'hostname = "{host}"', f'token = "{site.token(host)}"', *replicas)
        job = Job(folder, [site.program], marks=job.marks, lab=site.control, port=site.port, more=more)
    with running(name.partition(" ")[0], job) as one:
        if one.process.stdout is not None:
            threading.Thread(target=one.process.stdout.read, daemon=True).start()
        until(lambda: site.ask(host) == 200, every=0.05, what="a visitor")
        time.sleep(4.0)
        began, sent, lost, left = time.perf_counter(), 0, 0, list(kills)
        while (now := time.perf_counter() - began) < seconds:
            if left and now >= left[0]:
                left.pop(0)
                for pid in one.kept[:1]:
                    os.kill(pid, signal.SIGKILL)
            sent += 1
            lost += site.ask(host) != 200
            time.sleep(max(0.0, began + sent / rate - time.perf_counter()))
    return {"lost, % of requests": 100 * lost / sent}


@contextmanager
def lab(folder: Path, port: int, program: str) -> Iterator[Site]:
    """Run `prx lab` for the length of a block."""
    folder.mkdir(parents=True, exist_ok=True)
    environ = {"HOME": str(folder), "PRX_DATA_DIR": str(folder), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    with subprocess.Popen([*PRX, "lab", "--json"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout is not None
            yield Site(json.loads(process.stdout.readline()), port, program)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()
