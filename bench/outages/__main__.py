"""Measure outages: `python -m bench.outages [--quick]`, `make outages`.

    --quick                     one run of each case, 11 s long, quick tunnels: some minutes
    --cases edge,killed         names of cases (`--list` prints them)
    --seconds 5,11              durations, of those that a case has
    --modes quick,named  --over quic,http2  --repeats 5  --jobs 8
    --copies 5                  so many of prx and of bare cloudflared on one lab, which meet the same outage: five runs in one
                                scene. Each is visited less often, so that the bench does not become what is measured
    --after 150                 how long to look on after an outage's end, at most (or 1.2 times its length, if that is longer)
    --add                       keep the results that stand in --json, and add to them: a full run can be made in parts
    --again                     play the cells that fail there, --repeats times more, and add to them: where cloudflared's own
                                waits by chance spread over 20 s, the median of five runs is a wide guess
    --json FILE  --page FILE    where results and page are written; `--render FILE` writes the page of earlier results again.
                                Rows of the page that is there stay, marked, for cells that were not measured again

PRX_TEST_CLOUDFLARED names the real program. Exit code 1: prx did worse than it may, or a scene gave no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.outages.cases import BY_NAME, CASES
from bench.outages.page import failing, failing_cells, render
from bench.outages.play import LONGER
from bench.outages.results import Plan, Played, Run
from bench.room.client import BUILTIN, chosen
from bench.room.crowd import Crowd
from bench.room.namespace import command_prefix

from prx import __version__

RESULTS = Path("outages.json")
PAGE = Path("docs/reference/outages.md")
QUICK_SECONDS = (0.0, 11.0, 15.0)


def plans(options: argparse.Namespace) -> Iterator[Plan]:
    """Yield the scenes to be played, those of one cell far from each other."""
    for repeat in range(options.first, options.first + options.repeats):
        for case in CASES:
            if options.cases and case.name not in options.cases:
                continue
            lengths = [one for one in case.durations if one in options.seconds] if options.seconds else case.durations
            if options.quick and not options.cases:
                lengths = lengths[:1]
            for seconds in lengths:
                for mode in (one for one in case.modes if one in options.modes):
                    for transport in (one for one in case.transports if one in options.over):
                        yield Plan(case.name, seconds, transport, mode, repeat, options.copies)


async def play_all(wanted: Sequence[Plan], options: argparse.Namespace, program: str) -> AsyncIterator[Played]:
    """Play all scenes, yielding and printing each result as it comes."""
    prefix = command_prefix()
    if not prefix:
        print("no network namespaces here (unshare --net): cases that need one are left out", flush=True)
    settings = json.dumps({"program": program, "namespace": bool(prefix), "after": options.after, "interval": options.interval})
    command = [sys.executable, "-m", "bench.outages.play"]
    commands = [(plan, [*command, json.dumps(asdict(plan)), settings]) for plan in wanted]
    longest = max(plan.seconds for plan in wanted) * (1 + LONGER) + options.after + 240
    count = 0
    async for plan, result in Crowd[Plan](options.jobs, prefix, within=longest).results(commands):
        scene = Played(plan, failed=result) if isinstance(result, str) else Played.from_json(result)
        count += 1
        print(f"{count:4}/{len(wanted)} {told(scene)}", flush=True)
        yield scene


def told(scene: Played) -> str:
    """Write the result of a scene in a line."""
    plan = scene.plan
    words = f"{plan.case} {plan.seconds:g} s {plan.mode} {plan.transport} #{plan.repeat + 1}: {scene.skipped}{scene.failed}"
    if scene.outcomes:
        words += f" late {scene.lag:g} s;"
    for one in scene.outcomes:
        back = "never" if one.back is None else f"{one.back:.1f} s"
        url = "kept" if one.kept else "URL lost"
        words += f" {one.subject} {url}, back {back}, lost {one.lost_during} then {one.lost}, restarts {one.restarts};"
    return words


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
    parser.add_argument("--first", type=int, default=0, help="number of the first repeat: of two runs, the next begins here")
    parser.add_argument("--copies", type=int, default=1, help="pairs in one scene")
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--after", type=float, default=None)
    parser.add_argument("--add", action="store_true")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--interval", type=float, default=30.0, help="health_check_interval_secs of prx")
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=None, help=f"default: {PAGE} of a full run in {RESULTS}, else none")
    parser.add_argument("--render", type=Path, default=None, metavar="JSON")
    options = parser.parse_args(arguments)
    options.modes = options.modes or (["quick"] if options.quick else ["quick", "named"])
    if options.copies < 1:
        parser.error(f"--copies {options.copies}: expected 1 or more")
    options.repeats = options.repeats or (1 if options.quick else math.ceil(5 / options.copies))
    options.after = options.after or (60.0 if options.quick else 150.0)
    options.seconds = options.seconds or (list(QUICK_SECONDS) if options.quick else [])
    whole = not (options.quick or options.cases or options.seconds)
    if options.page is None and options.json == RESULTS and (whole or options.render):
        options.page = PAGE
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
        options.page.write_text(render(run, options.page.read_text() if options.page.exists() else ""))
    wrong = failing(run)
    broken = [scene for scene in run.scenes if scene.failed]
    for line in wrong:
        print(f"✗ {line}")
    print(f"{len(run.scenes)} scenes, {len(broken)} without a result, {len(wrong)} faults")
    return 1 if wrong or broken else 0


def measure(options: argparse.Namespace) -> Run:
    """Play all that was asked for and write the results down, each as it comes."""
    program, client = chosen()
    load = f"load {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores"
    about = f"prx {__version__}, {datetime.now(UTC):%Y-%m-%d}, up to {options.jobs} scenes at a time, {load} when it began."
    run = Run(client, program != BUILTIN, options.after, about, ())
    if options.add or options.again:
        run = replace(run, scenes=tuple(scene for scene in earlier(options.json, run).scenes if not scene.failed))
    wanted = list(again(run, options.repeats, options.copies) if options.again else plans(options))
    Crowd.end_on_sigterm()
    random.Random(1).shuffle(wanted)
    return asyncio.run(_measure(run, wanted, options, program)) if wanted else run


async def _measure(run: Run, wanted: Sequence[Plan], options: argparse.Namespace, program: str) -> Run:
    async for scene in play_all(wanted, options, program):
        run = replace(run, scenes=tuple(sorted((*run.scenes, scene), key=lambda one: str(one.plan))))
        run.save(options.json)
    return run


def earlier(path: Path, new: Run) -> Run:
    """Return the results of earlier runs, `new` if there are none; those of another connector are refused."""
    if not path.exists():
        return new
    run = Run.load(path)
    if run.client != new.client:
        raise SystemExit(f"{path} holds results of {run.client}, and this is {new.client}: choose another file with --json")
    return run


def again(run: Run, repeats: int, copies: int = 1) -> Iterator[Plan]:
    """Yield the scenes of the cells that fail, some times more."""
    for case, seconds, mode, transport in failing_cells(run):
        for repeat in range(repeats):
            yield Plan(case, seconds, transport, mode, repeat, copies)


if __name__ == "__main__":
    sys.exit(main())
