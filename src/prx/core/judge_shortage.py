"""Judge a request that the connector could not hand on because this machine gave it too little: descriptors, memory, ports.

The connector answers 502 then, as it does for a service that is down. Its own log says which of the two it is, and so does
prx's own request of the service: it was answered at the same time, or prx itself could not make it.
"""

from __future__ import annotations

from prx.core.causes import Cause
from prx.core.evidence import Evidence, Public, Unasked
from prx.core.shortage import PORTS_HINT, lack_in
from prx.core.verdicts import Diagnosis, Verdict


def judge_shortage(public: Public, evidence: Evidence) -> Diagnosis | None:
    """Return what the connector lacks, if that is why visitors get an error of a service that may well be up; else None."""
    lacks, origin = evidence.lacks, evidence.origin
    if not lacks or origin is None:
        return None
    if origin.unasked:
        here = "prx gets none either" if origin.unasked is Unasked.FOR_NOW else f"prx itself cannot ask it ({origin.error})"
    elif origin.status is None or origin.error or origin.status == public.status:
        return None
    else:
        here = f"the service answers {origin.status} here"
    lacking = lack_in(lacks)
    return Diagnosis(
        Verdict.UNREACHABLE,
        f"the connector gets no connection to {origin.address} from this machine: {lacks};"
        f" visitors get {public.status}, and {here}",
        (lacking.hint if lacking is not None else "") or PORTS_HINT,
        because=Cause.MACHINE,
    )
