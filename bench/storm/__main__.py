"""Play storms: `python -m bench.storm`, `make storm`.

    --storms 5:quic,30:quic,5:http2,30:http2   prx's interval and what is spoken, of each storm in turn
    --seed 1 --count 6 --episodes 20           six storms, seeds 1 to 6: 120 episodes
    --quick                                    two storms of six episodes
    --only "edge down,child killed"            these causes only
    --mode quick --jobs 4
    --json FILE --page FILE                    results and report; `--render FILE …` reports on earlier results again;
                                               `--below PAGE` keeps an earlier page below the new one

PRX_TEST_CLOUDFLARED names the real program. Exit code 1: a threshold does not hold, or a storm gave no result.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.room.client import chosen
from bench.room.crowd import Crowd
from bench.room.namespace import command_prefix
from bench.storm.causes import BY_NAME
from bench.storm.records import Storm, StormPlan, load, save
from bench.storm.report import below, failing, render

from prx import __version__

KINDS = "5:quic,30:quic,5:http2,30:http2"
LONGEST_EPISODE = 330.0  # seconds


def plans(options: argparse.Namespace) -> list[StormPlan]:
    """Return the storms to be played."""
    kinds = [kind.split(":") for kind in options.storms.split(",")]
    chosen = [kinds[number % len(kinds)] for number in range(options.count)]
    return [
        StormPlan(options.seed + number, options.episodes, float(interval), transport, options.mode)
        for number, (interval, transport) in enumerate(chosen)
    ]


async def play_all(options: argparse.Namespace, program: str) -> list[Storm]:
    """Play all storms side by side, printing each as it ends."""
    prefix = command_prefix()
    if not prefix:
        print("no network namespaces here (unshare --net): causes that need one are left out", flush=True)
    settings = json.dumps({"program": program, "namespace": bool(prefix), "only": options.only})
    command = [sys.executable, "-m", "bench.storm.play"]
    commands = [(plan, [*command, json.dumps(asdict(plan)), settings]) for plan in plans(options)]
    storms = []
    crowd = Crowd[StormPlan](options.jobs, prefix, within=options.episodes * LONGEST_EPISODE)
    async for plan, result in crowd.results(commands):
        storm = Storm(plan, failed=result) if isinstance(result, str) else Storm.from_json(result)
        storms.append(storm)
        for episode in storm.episodes:
            print(f"seed {plan.seed}: {episode.cause}: {episode.grade}: {episode.verdicts}", flush=True)
        print(f"seed {plan.seed}: {storm.failed or f'{len(storm.episodes)} episodes in {storm.seconds:.0f} s'}", flush=True)
    return sorted(storms, key=lambda storm: storm.plan.seed)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storms", default=KINDS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--episodes", type=int, default=None)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--mode", default="quick", choices=("quick", "named"))
    parser.add_argument("--jobs", type=int, default=6)
    parser.add_argument("--json", type=Path, default=Path("storm.json"))
    parser.add_argument("--page", type=Path, default=Path("storm.md"))
    parser.add_argument("--below", type=Path, default=None, metavar="PAGE")
    parser.add_argument("--render", type=Path, nargs="+", default=[], metavar="JSON")
    options = parser.parse_args(arguments)
    options.count = options.count or (2 if options.quick else 6)
    options.episodes = options.episodes or (6 if options.quick else 20)
    if unknown := set(options.only) - BY_NAME.keys():
        parser.error(f"no cause {', '.join(sorted(unknown))}; there are {', '.join(BY_NAME)}")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, write, judge."""
    options = parse(arguments)
    if options.render:
        loaded = [load(path) for path in options.render]
        storms, client = [storm for part, _ in loaded for storm in part], loaded[-1][1]
    else:
        program, client = chosen()
        Crowd.end_on_sigterm()
        load_now = f"load {os.getloadavg()[2]:.0f} on {os.cpu_count()} cores when it began"
        client += f"; prx {__version__}, {datetime.now(UTC):%Y-%m-%d}, up to {options.jobs} storms at a time, {load_now}"
        storms = asyncio.run(play_all(options, program))
        save(storms, client, options.json)
    page = render(storms, client)
    options.page.write_text(below(page, options.below.read_text()) if options.below else page)
    wrong = failing(storms)
    for line in wrong:
        print(f"✗ {line}")
    print(f"{sum(len(storm.episodes) for storm in storms)} episodes, {len(wrong)} faults; {options.page} tells more")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
