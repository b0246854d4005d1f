"""The notation of expected status codes."""

import pytest

from prx.core.status_codes import StatusSet


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("2xx", (200, 204, 299), (199, 300, 404)),
        ("204", (204,), (200,)),
        ("200-399", (200, 302, 399), (400,)),
        ("2xx, 401,3XX", (200, 401, 302), (403, 500)),
    ],
)
def test_notation(text: str, inside: tuple[int, ...], outside: tuple[int, ...]) -> None:
    """Families, single codes, ranges and lists of them mean what they say."""
    expected = StatusSet.parse(text)
    assert all(status in expected for status in inside)
    assert not any(status in expected for status in outside)
    assert None not in expected


@pytest.mark.parametrize("text", ["", "ok", "2x", "6xx", "300-200", "99", "200,,204", "2xx;3xx"])
def test_mistakes_are_named(text: str) -> None:
    """What is not understood is refused with the part that is wrong and an example."""
    with pytest.raises(ValueError, match="expected status codes"):
        StatusSet.parse(text)
