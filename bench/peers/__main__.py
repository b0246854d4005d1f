"""prx beside supervisord, circus, honcho, pm2, runit, s6 and bare cloudflared: `make peers`.

    python -m bench.peers [--rounds 5] [--scenes one,respawn,lines,fleet,start,kill,requests] [--lines 1000000]
                          [--connector PATH] [--fleets 1,10,100,300,1000] [--save FILE] [--page]

Peers are installed from the registries into .venv/peers. Each scene goes through its subjects in turn, `--rounds` times: a busy
moment of the machine meets all. `--page` writes docs/reference/benchmarks.md; what stands there below `## Why` is kept.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

from bench.idle import service
from bench.peers import scenes, tunnel
from bench.peers.install import install
from bench.peers.results import PAGE, Rows, page, save
from bench.peers.scenes import Figures
from bench.peers.supervisors import SUPERVISORS, Job

Measure = Callable[[str, Path], Figures]
RESTARTING = tuple(name for name in SUPERVISORS if name != "honcho")  # it ends everything when one ends
SCENES = ("one", "respawn", "lines", "fleet", "start", "kill", "requests")


class Bench:
    """One run: `taken` holds what was measured so far."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.taken: dict[str, Rows] = {}
        self._folder = folder
        self._rounds = rounds
        self._numbers = count()

    def measure(self, scene: str, subjects: Sequence[str], work: Measure, rounds: int = 0) -> None:
        """Measure the subjects in turn, `rounds` times; one that cannot be measured is said, and left out of this round."""
        rows = self.taken.setdefault(scene, {subject: [] for subject in subjects})
        for turn in range(rounds or self._rounds):
            for subject in subjects:
                try:
                    found = work(subject, self._folder / f"{next(self._numbers)}")
                except (RuntimeError, OSError) as error:
                    print(f"{scene}, {subject}: {error}", flush=True)
                    continue
                if found:
                    rows[subject].append(found)
                words = ", ".join(f"{name} {value:.3g}" for name, value in found.items())
                print(f"{scene}, round {turn + 1}, {subject}: {words}", flush=True)


def measure_without_tunnel(bench: Bench, chosen: Sequence[str], options: argparse.Namespace, folder: Path) -> None:
    """Measure what needs no edge: children that do nothing, or write much."""
    clients = scenes.make_clients(folder / "clients")
    if "respawn" in chosen:
        bench.measure(
            "respawn",
            tuple(SUPERVISORS),
            lambda name, place: scenes.respawn(name, Job(place, [clients["idle"]])),
            rounds=options.few,
        )
    if "lines" in chosen:
        scenes.write_lines(folder / "clients", options.lines)
        for scene, client in (("lines", "loud"), ("lines in large pieces", "pouring")):
            bench.measure(
                scene,
                ("prx", "supervisord", "runit"),
                lambda name, place, client=client: scenes.lines(  # type: ignore[misc]
                    name, Job(place, [clients[client]]), folder / "clients" / "go"
                ),
            )
    if "fleet" in chosen:
        for size in map(int, options.fleets.split(",")):
            subjects = RESTARTING if size == 10 else ("prx", "supervisord", "runit") if size <= 100 else ("prx", "supervisord")
            bench.measure(
                f"{size} tunnels",
                subjects,
                lambda name, place, size=size: scenes.fleet(  # type: ignore[misc]
                    name, Job(place, [clients["idle"]], count=size), rest=2 + size / 100, idle=6.0 if size < 300 else 30.0
                ),
                rounds=0 if size == 10 else options.few,
            )


def measure_tunnels(bench: Bench, chosen: Sequence[str], options: argparse.Namespace, folder: Path) -> None:
    """Measure what needs an edge: the lab, in a process of its own."""
    with service() as port, tunnel.lab(folder / "lab", port, options.connector) as site:
        if "start" in chosen:
            bench.measure(
                "start",
                ("prx", "cloudflared alone"),
                lambda name, place: tunnel.start_prx(site, place) if name == "prx" else tunnel.start_bare(site, place),
                rounds=2 * options.rounds,
            )
        if "one" in chosen:
            bench.measure(
                "one tunnel",
                tuple(SUPERVISORS),
                lambda name, place: tunnel.idle(name, site, place, rest=3.0, seconds=options.seconds),
            )
        if "kill" in chosen:
            bench.measure(
                "kill -9 of the connector, twice in 20 s",
                ("prx", "prx with 2 replicas", "supervisord", "runit"),
                lambda name, place: tunnel.availability(name, site, place, seconds=20.0, kills=(2.0, 11.0), rate=20.0),
                rounds=options.few,
            )
        if "requests" in chosen:
            bench.measure(
                "requests through the tunnel",
                ("prx", "bare"),
                lambda name, place: tunnel.requests(site, name, place, 2.0),
            )


def load() -> str:
    """Return the load of the machine: of 1, 5 and 15 minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def notes() -> Iterator[str]:
    """Yield the part of the page that people write."""
    if PAGE.exists():
        _, mark, rest = PAGE.read_text().partition("\n## Why")
        if mark:
            yield mark + rest


def main() -> None:
    """Install, measure, print, and write the page if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--few", type=int, default=3, help="rounds of what takes minutes: many tunnels, killed connectors")
    parser.add_argument("--scenes", default=",".join(SCENES))
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long one idle tunnel is watched")
    parser.add_argument("--connector", default=os.environ.get("PRX_TEST_CLOUDFLARED", "builtin"))
    parser.add_argument("--fleets", default="1,10,100,300,1000")
    parser.add_argument("--save", type=Path)
    parser.add_argument("--page", action="store_true")
    options = parser.parse_args()
    refused = install()
    before, began = load(), time.strftime("%Y-%m-%d")
    chosen = options.scenes.split(",")
    with tempfile.TemporaryDirectory(prefix="prx-peers-", ignore_cleanup_errors=True) as name:
        bench = Bench(Path(name), options.rounds)
        measure_tunnels(bench, chosen, options, Path(name))
        measure_without_tunnel(bench, chosen, options, Path(name))
    about = {
        "measured": f"{began}, {os.cpu_count()} cores, Python {platform.python_version()}, load {before}, at the end {load()}",
        "connector": Path(options.connector).name,
        "rounds": f"{options.rounds}; {options.few} of many tunnels and of kills; lines: {options.lines:,}",
    }
    if options.save:
        save(options.save, bench.taken, about)
    text = page(bench.taken, about, refused, "".join(notes()))
    print(text)
    if options.page:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
