"""A real child that floods its log: each line is in the file, once and in order, without secrets; signs are understood."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.runtime.contexts import shared
from tests.runtime.process.children import python
from tests.support.waits import PATIENCE

from prx.app.log_file import EventLog
from prx.backends.base import LineKind, LogLine
from prx.config.schema import TunnelSettings
from prx.logs.files import rotated
from prx.logs.records import LogRecord, Unfolder
from prx.runtime.child_log import ChildLog
from prx.runtime.context import TunnelContext
from prx.runtime.process.child import ChildProcess
from prx.testing.clock import ManualClock

LINES = 60_000
TOKEN = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiMDEyMzQ1NiIsInMiOiJhYmNkZWYifQ=="
WRITE = f"""
import json
text = "GET https://app.example.com/a/path/of/some/length/so/that/rotation/has/to/come/item/%d HTTP/1.1"
base = {{"level": "debug", "ingressRule": 0, "originService": "http://127.0.0.1:8080", "time": "2026-11-22T17:12:10Z"}}
rows = [base | {{"connIndex": n % 4, "message": text % n}} for n in range({LINES})]
for n in range(500, {LINES}, 1000): rows[n]["token"] = "{TOKEN}"
rows[{LINES} - 9999]["message"] = "Registered tunnel connection"
data = b"".join(json.dumps(row, separators=(",", ":")).encode() + b"\\n" for row in rows)
size = int(sys.argv[1])
for start in range(0, len(data), size): os.write(2, data[start : start + size])
"""


def kept(path: Path) -> list[LogRecord]:
    """Return all records of a log, oldest first; every line of its files is JSON."""
    unfolder, found = Unfolder(), list[LogRecord]()
    for number in range(3, -1, -1):
        if rotated(path, number).exists():
            for line in rotated(path, number).read_bytes().splitlines():
                json.loads(line)
                found += unfolder.take(line)
    return found


@pytest.mark.parametrize("size", [4096, 65_536, 250_001])
async def test_a_flood_is_kept_whole(tmp_path: Path, size: int) -> None:
    """In whatever pieces a child writes, through rotations: no line is lost or doubled, no secret kept, no sign missed."""
    context = TunnelContext.create("web", TunnelSettings(), shared(tmp_path, ManualClock()))
    bus, seen = context.shared.bus, list[LogLine]()
    path = tmp_path / "prx.log"
    child_log = ChildLog(context, seen.append)
    with EventLog(path, bus.redactor, context.clock) as log:
        bus.listen(log.see)
        bus.keep_with(log.keep, log.is_behind)
        launch = python(WRITE, str(size))
        take, take_block = child_log.take, child_log.take_block
        async with await ChildProcess.spawn(launch, on_line=take, on_block=take_block, is_behind=bus.is_behind) as process:
            async with asyncio.timeout(PATIENCE):
                await process.wait()
            assert process.stats["stderr"].lines == LINES
        assert log.lost == 0
    assert rotated(path, 1).exists()
    assert all(TOKEN.encode() not in rotated(path, number).read_bytes() for number in (0, 1))
    messages = [record.message for record in kept(path) if record.source != "prx"]
    numbers = [int(message.split()[1].rpartition("/")[2]) for message in messages if message.startswith("GET")]
    assert numbers == [number for number in range(LINES) if number != LINES - 9999]
    assert "Registered tunnel connection" in messages
    assert [line.kind for line in seen if line.kind is not LineKind.OTHER] == [LineKind.REGISTERED]
    assert child_log.tail()[-1].message.endswith(f"/item/{LINES - 1} HTTP/1.1")
