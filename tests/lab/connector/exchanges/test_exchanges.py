"""No byte of one exchange is ever seen in another, whatever services do: a short game; `make exchanges` plays a long one."""

from pathlib import Path

import pytest
from tests.lab.connector.exchanges.marks import foreign, mark_of
from tests.lab.connector.exchanges.play import play


@pytest.mark.parametrize("only", ["http1", "http2"])
@pytest.mark.parametrize("protocol", ["http2", "quic"])
async def test_nothing_is_mixed(tmp_path: Path, protocol: str, only: str) -> None:
    """Among hundreds of exchanges with services that misbehave none sees another's bytes, though connections are kept."""
    tally = await play(tmp_path, protocol, 20261128, 600, only=only)
    assert tally.leaks == []
    assert tally.outcomes["200"] > 300
    assert tally.reused > 50


def test_marks_are_told_apart() -> None:
    """The check of the bytes finds foreign marks, whole ones and pieces, and nothing else."""
    mine, other = mark_of(0xAB), mark_of(0xAC)
    assert not foreign(mine * 3 + b"\r\n5\r\n" + mine[:4], mine)
    assert not foreign(mine[-3:] + mine, mine)
    assert foreign(mine + other + mine, mine) == other
    assert foreign(mine + other[:10], mine)
    assert foreign(other[3:] + mine, mine)
