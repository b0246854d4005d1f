"""Measure what the lab costs: the same load on an origin alone, through a hand-tuned edge, and through the lab, in one run.

    python bench/lab/run.py [--rounds 5] [--seconds 1] [--clients 32] [--megabytes 64] [--only NAME …]

The connector is the program that PRX_TEST_CLOUDFLARED names, and the builtin one; `hand_tuned.py` is the mark that the lab
is measured against. Origin, edge, connector and load are four processes on one machine, so the rounds go through all paths
in turn, and what counts are ratios within a round. Throughput is that of all four together; the processor time that the
edge itself spends is therefore printed too, and is what noise moves least.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import IO, Any, cast

HERE = Path(__file__).parent
PRX = (sys.executable, "-m", "prx")
TICKS = os.sysconf("SC_CLK_TCK")
MARK = "hand-tuned"
UNTIL_SERVED = 30.0  # seconds

Rounds = list[tuple[float, float]]  # of each: the rate, and the edge's processor time for each unit of it


@dataclass
class Way:
    """One way for the load to take; `edge` is the process whose time is taken."""

    name: str
    port: int
    host: str
    edge: int


@dataclass
class Load:
    """One kind of load, as `load.py` has it."""

    name: str
    kind: str
    clients: int
    amount: float

    @property
    def small(self) -> bool:
        """Return whether it is many small requests, and not one large body."""
        return self.kind == "small"


@contextmanager
def child(*words: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program for the length of a block."""
    with subprocess.Popen(words, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def said(process: subprocess.Popen[str]) -> str:
    """Read the line that a program says first."""
    return cast("IO[str]", process.stdout).readline()


def spent(pid: int) -> float:
    """Return the processor seconds that a process has used (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def run(path: Way, load: Load) -> tuple[float, float]:
    """Put a load on a path; its rate, and the edge's processor time (µs for a request, ms for a MB)."""
    words = (str(path.port), path.host, load.kind, str(load.clients), str(load.amount))
    before = spent(path.edge)
    done = subprocess.run([sys.executable, str(HERE / "load.py"), *words], text=True, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{path.name}, {load.name}: {done.stderr.strip().rpartition(chr(10))[2]}")
    rate = float(done.stdout)
    used = spent(path.edge) - before
    return rate, used * 1e6 / (rate * load.amount) if load.small else used * 1e3 / load.amount


def until_served(path: Way) -> None:
    """Wait until a path answers."""
    end = time.monotonic() + UNTIL_SERVED
    while True:
        try:
            run(path, Load("one request", "small", 1, 0.01))
            return
        except (RuntimeError, ZeroDivisionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


class World:
    """The processes of a run; `folder` is for their files."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder
        self.environ = {**os.environ, "PRX_DATA_DIR": str(folder / "data")}
        self.origin = self.start(sys.executable, str(HERE / "origin.py"))
        self.origin_port = int(said(self.origin))
        self.lab = self.start(*PRX, "lab", "--json", env=self.environ)
        self.facts = json.loads(said(self.lab))
        (folder / "config.yml").write_text("{}")

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Run a program until the end of the run."""
        return self.stack.enter_context(child(*words, stdout=subprocess.PIPE, **options))

    def alone(self) -> Way:
        """Return the way straight to the origin."""
        return Way("origin alone", self.origin_port, "origin.localhost", self.origin.pid)

    def by_hand(self, program: list[str]) -> Way:
        """Return the way through the hand-tuned edge."""
        edge = self.start(sys.executable, str(HERE / "hand_tuned.py"), str(self.folder))
        return self._connect(MARK, edge.pid, json.loads(said(edge)), program, "http2")

    def by_lab(self, name: str, program: list[str], protocol: str) -> Way:
        """Return a way through the lab."""
        return self._connect(name, self.lab.pid, self.facts, program, protocol)

    def _connect(self, name: str, pid: int, facts: dict[str, Any], program: list[str], protocol: str) -> Way:
        host = "".join(letter if letter.isalnum() else "-" for letter in name) + ".localhost"
        told = subprocess.run([*PRX, "lab", "token", "--hostname", host], env=self.environ, capture_output=True, check=True)
        token = self.folder / f"{host}.token"
        token.write_bytes(told.stdout)
        edges = [word for address in facts["edge"] for word in ("--edge", address)]
        common = ["--no-autoupdate", "--no-prechecks", "--config", str(self.folder / "config.yml"), "--cacert", facts["ca"]]
        ends = ["--protocol", protocol, "--metrics", "127.0.0.1:0", "run", "--token-file", str(token)]
        url = ["--url", f"http://127.0.0.1:{self.origin_port}"]
        self.start(*program, "tunnel", *edges, *common, *ends, *url, stderr=subprocess.DEVNULL)
        return Way(name, int(facts["public"].rpartition(":")[2]), host, pid)


def paths(world: World) -> list[Callable[[], Way]]:
    """Return what makes each path."""
    builtin = [sys.executable, "-m", "prx.lab.connector"]
    real = os.environ.get("PRX_TEST_CLOUDFLARED", "")
    program = [real] if real else builtin
    named = [("lab", program, "http2"), ("lab, QUIC", program, "quic")]
    if real:
        named += [("lab, builtin", builtin, "http2"), ("lab, builtin, QUIC", builtin, "quic")]
    return [world.alone, lambda: world.by_hand(program), *(partial(world.by_lab, *one) for one in named)]


def loads(options: argparse.Namespace) -> list[Load]:
    """Return the loads of a round."""
    return [
        Load("small, 1 at once", "small", 1, options.seconds),
        Load(f"small, {options.clients} at once", "small", options.clients, options.seconds),
        Load("body down", "down", 1, options.megabytes),
        Load("body up", "up", 1, options.megabytes),
    ]


def spread(numbers: list[float], digits: int) -> str:
    """Write minimum, median and maximum."""
    return "  ".join(f"{number:9.{digits}f}" for number in (min(numbers), median(numbers), max(numbers)))


def report(load: Load, results: dict[str, Rounds]) -> None:
    """Print the table of one load; ratios are taken round by round."""
    units = "requests/s, then µs of the edge / request" if load.small else "MB/s, then ms of the edge / MB"
    print(f"\n{load.name}: {units}; ratios are to {MARK}")
    head = f"{'min':>9}  {'median':>9}  {'max':>9}"
    print(f"{'':20}{head}   {'ratio':>9}   {head}   {'ratio':>9}")
    for name, rounds in results.items():
        row = f"{name:20}"
        for index, digits in ((0, 0), (1, 0 if load.small else 2)):
            row += spread([one[index] for one in rounds], digits)
            marks = results.get(MARK, rounds)
            ratio = median(one[index] / mark[index] for one, mark in zip(rounds, marks, strict=True))
            row += f"   {ratio:9.2f}   "
        print(row.rstrip(), flush=True)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--only", nargs="*", default=[], help="names of paths, as printed")
    options = parser.parse_args()
    with ExitStack() as stack:
        world = World(stack, Path(stack.enter_context(TemporaryDirectory())))
        ways = [make() for make in paths(world)]
        ways = [way for way in ways if not options.only or way.name in options.only]
        for way in ways:
            until_served(way)
        for load in loads(options):
            results: dict[str, Rounds] = {way.name: [] for way in ways}
            for number in range(options.rounds + 1):
                for way in ways:
                    measured = run(way, load)
                    if number:  # the first round warms up
                        results[way.name].append(measured)
            report(load, results)


if __name__ == "__main__":
    main()
