"""What the operator expects of a tunnel, as far as judging needs it."""

from __future__ import annotations

from prx.core.status_codes import StatusSet
from prx.core.value import Value, value_class


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Policy(Value):
    """The expectations. `startup_timeout` is in seconds.

    protocol_is_free: protocol = "auto", so prx may go on with another one. quick: a restart costs the URL, and a rejection is
    no fault of a token. path: what the health check asks for. watched: another program keeps the URL up: there is no connector.
    """

    expect: StatusSet
    startup_timeout: float = 60.0
    protocol_is_free: bool = True
    quick: bool = False
    path: str = "/"
    watched: bool = False
