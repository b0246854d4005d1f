"""What a tunnel with several connectors wants of one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prx.runtime.visitor_count import VisitorCount


@dataclass(slots=True)
class Role:
    """The part that one connector has in its tunnel.

    leads: it asks the public URL, and the service beside it. proven: a connector of the tunnel has been seen to serve the same
    URL. on_failures: called when visitors who come through it meet failures of the service. visitors: counts those of all.
    """

    leads: bool = True
    proven: bool = False
    on_failures: Callable[[], None] = lambda: None
    visitors: VisitorCount = field(default_factory=VisitorCount)
