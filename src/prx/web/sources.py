"""What pages and API answer from."""

from __future__ import annotations

from dataclasses import dataclass

from prx.web.bounds import Connections
from prx.web.examine import Doctor
from prx.web.hub import Hub
from prx.web.past import History
from prx.web.questions import Questions
from prx.web.stream import Streams


@dataclass(frozen=True, slots=True)
class Sources:
    """The parts of one dashboard that know something."""

    hub: Hub
    history: History
    streams: Streams
    doctor: Doctor
    questions: Questions
    connections: Connections
