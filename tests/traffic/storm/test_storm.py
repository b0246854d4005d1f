"""What `make catch` plays with ten thousand webhooks, with a hundred; and with a disk that is full."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from tests.support.namespaces import NEEDS_MOUNTS
from tests.support.waits import PATIENCE
from tests.traffic.storm.play import Storm, play, told, until

pytestmark = pytest.mark.slow


async def test_nothing_is_lost_whatever_is_killed(tmp_path: Path) -> None:
    """Prx and the service are killed while webhooks come and while they are handed over: order, marks and promises hold."""
    storm = await play(tmp_path, count=120, senders=4, kills=1, seed=3)
    assert storm.faults() == [], told(storm, 0.0)
    assert len(storm.answered) == 120
    assert storm.kills == 3


@NEEDS_MOUNTS
async def test_a_disk_that_is_full_takes_no_webhook_and_loses_none(tmp_path: Path) -> None:
    """What has no room is answered 503; all that was answered 202 arrives, and then there is room again."""
    (tmp_path / "data").mkdir(mode=0o700)
    mount = f"mount --make-rprivate / && mount -t tmpfs -o size=300k,mode=0700 none {tmp_path}/data"
    storm = Storm(tmp_path, random.Random(1), wrapper=("unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh"))
    storm.prepare()
    async with storm.prx(), asyncio.TaskGroup() as group:
        sending = group.create_task(storm.send("s", range(150)))
        async with asyncio.timeout(PATIENCE):
            await until(lambda: bool(storm.refused["503"]))
        kept = len(storm.answered)
        assert 0 < kept < 150
        async with asyncio.timeout(3 * PATIENCE), storm.service():
            await sending
            await until(lambda: not storm.missing())
    assert storm.faults() == [], told(storm, 0.0)
