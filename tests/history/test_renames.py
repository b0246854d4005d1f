"""A tunnel that older prx called `default` is one with what it is called now."""

from __future__ import annotations

from pathlib import Path

import pytest

from prx.history.reader import read
from prx.history.records import encode
from prx.history.report import report
from prx.history.segments import day_of

DAY = 1_800_000_000.0 - 1_800_000_000.0 % 86_400
Lives = list[tuple[dict[str, str], str]]


def written(folder: Path, lives: Lives) -> list[tuple[str, float]]:
    """Write what prx with these tunnels saw of the second, a minute each; return names and watched seconds of the report."""
    records = []
    for number, (tunnels, tunnel) in enumerate(lives):
        at = DAY + 60 * number
        records += [
            {"at": at, "event": "prx_started", "pid": 1, "version": "1", "tunnels": tunnels},
            {"at": at, "event": "verdict_changed", "tunnel": tunnel, "old": "", "new": "healthy", "reason": "", "hint": ""},
            {"at": at + 50, "event": "prx_stopped"},
        ]
    (folder / f"key.{day_of(DAY)}.jsonl").write_bytes(b"".join(encode(item) + b"\n" for item in records))
    whole = report(read(folder, DAY), DAY, DAY + 60 * len(lives), running=False)
    return [(item.tunnel, item.watched) for item in whole.tunnels]


A, B = "127.0.0.1:8080", "127.0.0.1:9090"


def test_the_old_name_is_that_of_today(tmp_path: Path) -> None:
    """What was written of `default` counts for the tunnel of the same prx and address that has another name now."""
    assert written(tmp_path, [({"default": A}, "default"), ({"8080": A}, "8080")]) == [("8080", 100.0)]


@pytest.mark.parametrize(
    "lives",
    [
        [({"default": A}, "default"), ({"8080": B}, "8080")],
        [({"default": A}, "default"), ({"web": A, "api": B}, "web")],
        [({"shop": A}, "shop"), ({"8080": A}, "8080")],
        [({"8080": A}, "8080"), ({"default": A}, "default")],
        [({"8080": A}, "8080"), ({"8080": A}, "third"), ({"8080": A}, "default")],
    ],
    ids=["another address", "several tunnels", "a name of its own", "declared since", "a third tunnel"],
)
def test_other_tunnels_stay_apart(tmp_path: Path, lives: Lives) -> None:
    """Only `default` is renamed, and only if it can be no other tunnel."""
    assert sorted(name for name, _ in written(tmp_path, lives)) == sorted(tunnel for _, tunnel in lives)
