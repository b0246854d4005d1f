"""What it costs to look back: 90 days of history read and reported, beside the same facts in an SQLite database.

    python -m bench.history [--days 90] [--rounds 5]

The history holds one tunnel: a probe every 30 s (added up per 5 minutes), a sign of life a minute, and 40 changes of the
verdict a day. The database has the same records in one table with an index on the time, and is asked for all of them.
Medians of one run, interleaved; compare the ratio.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from prx.history.reader import Life, read
from prx.history.records import encode
from prx.history.report import report
from prx.history.segments import Bounds, SegmentWriter

DAY = 86_400
BEGIN = 1_800_000_000.0


def day(number: int, chance: random.Random) -> list[dict[str, Any]]:
    """Return the records of one day."""
    begin = BEGIN + number * DAY
    found: list[dict[str, Any]] = [{"at": begin + minute * 60, "event": "alive"} for minute in range(1440)]
    buckets = {"94": 5, "95": 3, "101": 2}
    found += [
        {
            "at": begin + part * 300,
            "event": "probes",
            "tunnel": "web",
            "secs": 300,
            "count": 10,
            "failed": 0,
            "buckets": buckets,
        }
        for part in range(288)
    ]
    for _ in range(20):
        at = begin + chance.random() * (DAY - 100)
        for offset, verdict in ((0, "origin_down"), (chance.random() * 90, "healthy")):
            change = {"old": "", "new": verdict, "reason": "connection refused", "hint": ""}
            found.append({"at": at + offset, "event": "verdict_changed", "tunnel": "web", **change})
    return sorted(found, key=lambda item: item["at"])


def main() -> None:
    """Write both, read both, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records = [item for number in range(options.days) for item in day(number, random.Random(number))]
        records.insert(0, {"at": BEGIN, "event": "prx_started", "pid": 1, "version": "1", "tunnels": {"web": "127.0.0.1:8080"}})
        now = [BEGIN]
        writer = SegmentWriter(folder / "history", "web", Bounds(days=3660), header=list, wall=lambda: now[0])
        for record in records:
            now[0] = record["at"]
            writer.write([encode(record)])
        writer.close()
        database = _database(folder / "facts.db", records)
        until = BEGIN + options.days * DAY
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(options.rounds):
            begin = time.perf_counter()
            result = report(read(folder / "history", BEGIN), BEGIN, until)
            ours.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            rows = [
                json.loads(row[0]) for row in database.execute("select record from facts where at >= ? order by at", (BEGIN,))
            ]
            same = report([Life("web", rows)], BEGIN, until)
            theirs.append(time.perf_counter() - begin)
            assert same.tunnels[0].to_json() == result.tunnels[0].to_json()
        size = sum(path.stat().st_size for path in (folder / "history").iterdir())
        print(f"{len(records)} records of {options.days} days, {size / 1e6:.1f} MB in files")
        print(f"prx report   {statistics.median(ours):.2f} s")
        print(f"sqlite3      {statistics.median(theirs):.2f} s")
        print(f"ratio        {statistics.median(ours) / statistics.median(theirs):.2f}")


def _database(path: Path, records: list[dict[str, Any]]) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    database.execute("create table facts (at real, record text)")
    database.execute("create index by_time on facts (at)")
    database.executemany("insert into facts values (?, ?)", [(item["at"], encode(item).decode()) for item in records])
    database.commit()
    return database


if __name__ == "__main__":
    main()
