"""Judge a request that the connector could not hand on because this machine gave it too little: descriptors, memory, ports.

The connector answers 502 then, as it does for a service that is down. Its own log says which of both it is, and prx's own
request of the service, which was answered at the same time.
"""

from __future__ import annotations

from typing import Final

from prx.core.causes import Cause
from prx.core.evidence import Evidence, Public
from prx.core.shortage import PORTS_HINT, lack_in
from prx.core.verdicts import Diagnosis, Verdict

_OF_CONNECTOR: Final = 502  # what it answers if it has no connection to the service


def judge_shortage(public: Public, evidence: Evidence) -> Diagnosis | None:
    """Return what the connector lacks, if that is why visitors get an error of a service that answers here; else None."""
    connector, origin, delivery = evidence.connector, evidence.origin, evidence.delivery
    if connector is None or not connector.lacks or origin is None or origin.status is None or origin.error:
        return None
    if public.status != _OF_CONNECTOR or public.status == origin.status or public.status in delivery.said:
        return None
    if delivery.reached is False:
        return None
    lacking = lack_in(connector.lacks)
    return Diagnosis(
        Verdict.UNREACHABLE,
        f"the connector gets no connection to {origin.address} from this machine: {connector.lacks}; visitors get"
        f" {public.status}, and the service answers {origin.status} here",
        (lacking.hint if lacking is not None else "") or PORTS_HINT,
        because=Cause.MACHINE,
    )
