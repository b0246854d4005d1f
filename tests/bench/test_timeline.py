"""What a subject said, written short."""

import pytest
from bench.room.timeline import Sample, compress, shown_at


@pytest.mark.parametrize(
    ("samples", "text"),
    [
        ([], ""),
        ([(100.1, "healthy")], "healthy 0"),
        ([(100.1, "healthy"), (101.2, "healthy"), (102.9, "healthy")], "healthy 0–2"),
        ([(100.1, "healthy"), (103.0, "edge_lost"), (170.5, "edge_lost")], "healthy 0 edge_lost 3–70"),
        ([(99.0, "starting"), (100.5, "healthy"), (100.9, "edge_lost"), (101.0, "healthy")], "edge_lost 0 healthy 1"),
    ],
)
def test_a_timeline_is_written_as_verdicts_with_their_seconds(samples: list[tuple[float, str]], text: str) -> None:
    """Each verdict stands once for each span, in seconds since the onset; what came before it does not count."""
    assert compress([Sample(at, verdict) for at, verdict in samples], 100.0) == text


def test_what_is_shown_is_the_last_sample_up_to_then() -> None:
    """A sample that comes later says nothing about a moment."""
    samples = [Sample(1.0, "healthy"), Sample(2.0, "edge_lost"), Sample(3.0, "healthy")]
    assert [shown_at(samples, at) for at in (0.5, 1.0, 2.9)] == [None, samples[0], samples[1]]
