"""Find out whether strangers reach the service: ask the public URL once, as one of them.

The question carries no service token. Access in front answers with its login or its refusal; a service with a login of its
own answers 401 or 403; whatever else comes from the service is what everybody on the Internet gets. That matters most to
programs that trust "localhost": through a tunnel, every request comes from there.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path

from prx.core.evidence import Public, Unasked
from prx.core.status_codes import EDGE_ERRORS
from prx.core.value import Value, value_class
from prx.runtime.probes.public import TIMEOUT, probe_public

_REMEDY = "put Cloudflare Access in front and verify its JWT in the service (prx.access), or bound the time with --ttl"


class Reach(enum.StrEnum):
    """How far a stranger gets."""

    EXPOSED = "exposed"  # to the service, which answers
    ASKED = "asked"  # to the service, which asks for a login (401, 403)
    GUARDED = "guarded"  # no further than Access
    UNKNOWN = "unknown"  # nothing was learned: no answer, or an error that is not the service's


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Exposure(Value):
    """What a stranger gets at `url`: how far they reach, the HTTP status (None: no answer), and why nothing was learned.

    unasked: why the question was not even put.
    """

    url: str
    reach: Reach
    status: int | None = None
    error: str = ""
    unasked: Unasked = Unasked.NO

    def warning(self, local_addr: str) -> str:
        """Return what to report to the user once, in one line; empty if there is nothing to warn of."""
        if self.reach is not Reach.EXPOSED:
            return ""
        return (
            f"anyone who knows {self.url} reaches {local_addr}: a stranger gets status {self.status}. A service that trusts "
            f'"localhost" trusts them all, because every request through the tunnel comes from there; {_REMEDY}'
        )

    def broken_promise(self) -> str:
        """Return what to report of a tunnel whose `[tunnel.access]` says who may visit; empty if strangers are stopped."""
        if self.reach not in {Reach.EXPOSED, Reach.ASKED}:
            return ""
        return (
            f"[tunnel.access] says who may visit, and {self.url} answers a stranger with status {self.status}: Access is not "
            "in front of it; `prx setup` puts it there, and require_access = true refuses to stay up without"
        )

    def refusal(self) -> str:
        """Return why `require_access = true` is not met, empty if it is met or nothing was learned.

        A service that asks for a password itself does not meet it: its login is open to everybody.
        """
        if self.reach not in {Reach.EXPOSED, Reach.ASKED}:
            return ""
        return (
            f"require_access is set, and {self.url} answers a stranger with status {self.status}: Access is not in front of it"
        )


def classify(url: str, public: Public) -> Exposure:
    """Return what an answer to a request without any credentials says."""
    return Exposure(url, _reach(public), public.status, public.error, public.unasked)


def _reach(public: Public) -> Reach:
    if public.access:
        return Reach.GUARDED
    if public.status is None or public.mitigated or public.edge_error is not None or public.status in EDGE_ERRORS:
        return Reach.UNKNOWN
    return Reach.ASKED if public.status in {401, 403} else Reach.EXPOSED


async def check_exposure(
    url: str, addresses: Sequence[str], *, own_mark: str = "", ca_file: Path | None = None, timeout: float = TIMEOUT
) -> Exposure:
    """Ask `url` at `addresses` (IP addresses, as resolved for the probe) without credentials, within `timeout` seconds.

    `url` should be the root of the service rather than its health check, which Access may let through. own_mark: see
    `probe_public`; if there is a gate it is left out, as strangers have none.
    """
    return classify(url, await probe_public(url, addresses, own_mark=own_mark, ca_file=ca_file, timeout=timeout))
