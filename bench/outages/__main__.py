"""Measure outages: `python -m bench.outages [--quick]`, `make outages`.

    --quick                     one run of each case, 11 s long, quick tunnels: some minutes
    --cases edge,killed         names of cases (`--list` prints them)
    --seconds 5,11              durations, of those that a case has
    --modes quick,named  --over quic,http2  --repeats 5  --jobs 8
    --after 150                 how long to look on after an outage's end, at most (or 1.2 times its length, if that is longer)
    --json FILE  --page FILE    where results and page are written; `--render FILE` writes the page of earlier results again

PRX_TEST_CLOUDFLARED names the real program. Exit code 1: prx did worse than it may, or a scene gave no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from bench.outages.cases import BY_NAME, CASES
from bench.outages.page import failing, render
from bench.outages.play import LONGER
from bench.outages.results import Plan, Played, Run
from bench.room.crowd import Crowd
from bench.room.namespace import command_prefix

PAGE = Path("docs/reference/outages.md")
QUICK_SECONDS = (0.0, 11.0, 15.0)


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Give the scenes to be played, those of one cell far from each other."""
    for repeat in range(options.repeats):
        for case in CASES:
            if options.cases and case.name not in options.cases:
                continue
            lengths = [one for one in case.durations if one in options.seconds] if options.seconds else case.durations
            if options.quick and not options.cases:
                lengths = lengths[:1]
            for seconds in lengths:
                for mode in (one for one in case.modes if one in options.modes):
                    for transport in (one for one in case.transports if one in options.over):
                        yield Plan(case.name, seconds, transport, mode, repeat)


async def play_all(wanted: Sequence[Plan], options: argparse.Namespace, program: str) -> list[Played]:
    """Play all scenes, printing each result as it comes."""
    prefix = command_prefix()
    if not prefix:
        print("no network namespaces here (unshare --net): cases that need one are left out", flush=True)
    settings = json.dumps({"program": program, "namespace": bool(prefix), "after": options.after, "interval": options.interval})
    command = [sys.executable, "-m", "bench.outages.play"]
    commands = [(plan, [*command, json.dumps(asdict(plan)), settings]) for plan in wanted]
    longest = max(plan.seconds for plan in wanted) * (1 + LONGER) + options.after + 240
    played = []
    async for plan, result in Crowd[Plan](options.jobs, prefix, within=longest).results(commands):
        scene = Played(plan, failed=result) if isinstance(result, str) else Played.from_json(result)
        played.append(scene)
        print(f"{len(played):4}/{len(wanted)} {told(scene)}", flush=True)
    return played


def told(scene: Played) -> str:
    """Write the result of a scene in a line."""
    plan = scene.plan
    words = f"{plan.case} {plan.seconds:g} s {plan.mode} {plan.transport} #{plan.repeat + 1}: {scene.skipped}{scene.failed}"
    for one in scene.outcomes:
        back = "never" if one.back is None else f"{one.back:.1f} s"
        url = "kept" if one.kept else "URL lost"
        words += f" {one.subject} {url}, back {back}, lost {one.lost_during} then {one.lost}, restarts {one.restarts};"
    return words


def version_of(program: str) -> str:
    """Say what the connector is."""
    if program == "builtin":
        return "the connector that comes with prx"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition(" (")[0].strip() or program


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def words(text: str) -> list[str]:
        return text.split(",")

    def numbers(text: str) -> list[float]:
        return [float(word) for word in text.split(",")]

    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--cases", type=words, default=[])
    parser.add_argument("--seconds", type=numbers, default=[])
    parser.add_argument("--modes", type=words, default=None)
    parser.add_argument("--over", type=words, default=["quic", "http2"])
    parser.add_argument("--repeats", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--after", type=float, default=None)
    parser.add_argument("--interval", type=float, default=30.0, help="health_check_interval_secs of prx")
    parser.add_argument("--json", type=Path, default=Path("outages.json"))
    parser.add_argument("--page", type=Path, default=None, help=f"default: {PAGE} of a full run, none of a part")
    parser.add_argument("--render", type=Path, default=None, metavar="JSON")
    options = parser.parse_args(arguments)
    options.modes = options.modes or (["quick"] if options.quick else ["quick", "named"])
    options.repeats = options.repeats or (1 if options.quick else 5)
    options.after = options.after or (60.0 if options.quick else 150.0)
    options.seconds = options.seconds or (list(QUICK_SECONDS) if options.quick else [])
    whole = not (options.quick or options.cases or options.seconds)
    options.page = options.page or (PAGE if whole or options.render else None)
    if unknown := set(options.cases) - BY_NAME.keys():
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write, judge."""
    options = parse(arguments)
    if options.list:
        for case in CASES:
            print(f"{case.name:22} {case.title}")
        return 0
    run = Run.load(options.render) if options.render else measure(options)
    if options.page:
        options.page.write_text(render(run))
    wrong = failing(run)
    broken = [scene for scene in run.scenes if scene.failed]
    for line in wrong:
        print(f"✗ {line}")
    print(f"{len(run.scenes)} scenes, {len(broken)} without a result, {len(wrong)} faults")
    return 1 if wrong or broken else 0


def measure(options: argparse.Namespace) -> Run:
    """Play all that was asked for and write the results down."""
    program = os.environ.get("PRX_TEST_CLOUDFLARED", "") or "builtin"
    client = version_of(program)
    print(f"connector: {client}" + ("; set PRX_TEST_CLOUDFLARED for the real one" if program == "builtin" else ""), flush=True)
    wanted = list(plans(options))
    random.Random(1).shuffle(wanted)
    played = asyncio.run(play_all(wanted, options, program))
    about = f"{options.repeats} run{'s' if options.repeats > 1 else ''} of each cell, {options.jobs} scenes at a time."
    run = Run(client, program != "builtin", options.after, about, tuple(sorted(played, key=lambda one: str(one.plan))))
    run.save(options.json)
    return run


if __name__ == "__main__":
    sys.exit(main())
