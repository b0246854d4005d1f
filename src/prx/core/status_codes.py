"""HTTP status codes: which count as a good answer (`health_check_expect`), and which are the edge's own."""

from __future__ import annotations

import re

from prx.core.value import Value, value_class

EDGE_STATUSES = frozenset({*range(520, 528), 530})
"""What the edge alone answers, never a service; 528 and 529 are not among them."""

CONNECTORS_OWN = 502
"""What the connector answers if it has no connection to the service."""

EDGE_ERRORS = frozenset({CONNECTORS_OWN, 503, 504, *EDGE_STATUSES})
"""What may not come from the service: 502 and 504 from cloudflared or the edge too, 503 from an ingress without rules."""

RULE_STATUSES = frozenset({403, 429})
"""What a rule of Cloudflare's answers in the place of the service: a refusal, or a limit."""

_ITEM = re.compile(r"(?P<family>[1-5])xx|(?P<low>\d{3})(?:-(?P<high>\d{3}))?", re.IGNORECASE)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class StatusSet(Value):
    """A set of HTTP status codes, written as `2xx`, `204`, `200-399`, or several of these separated by commas.

    `auto` stands for 2xx, and for the very answer below 500 that the service gives here (`as_the_service`).
    """

    text: str
    ranges: tuple[tuple[int, int], ...]
    as_the_service: bool = False

    @classmethod
    def parse(cls, text: str) -> StatusSet:
        """Read the notation; raise ValueError, naming the part that is not understood."""
        if text.strip().lower() == "auto":
            return cls("an answer below 500", ((200, 299),), as_the_service=True)
        ranges = tuple(_range(part.strip()) for part in text.split(","))
        return cls(text, ranges)

    def allows(self, status: int | None) -> bool:
        """Return whether `status` may be a good answer, as far as one answer alone can tell."""
        return status in self or (self.as_the_service and status is not None and 200 <= status < 500)

    def __contains__(self, status: object) -> bool:
        return isinstance(status, int) and any(low <= status <= high for low, high in self.ranges)


def _range(part: str) -> tuple[int, int]:
    match = _ITEM.fullmatch(part)
    if match is None:
        raise ValueError(f"expected status codes such as 2xx, 204 or 200-399, found {part!r}")
    if family := match["family"]:
        return int(family) * 100, int(family) * 100 + 99
    low = int(match["low"])
    high = int(match["high"] or low)
    if not 100 <= low <= high <= 599:
        raise ValueError(f"expected status codes from 100 to 599 in rising order, found {part!r}")
    return low, high
