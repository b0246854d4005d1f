"""One HTTP/1.1 request and its answer on an open connection, with hard bounds.

Theory of operation. The request says `Connection: close` and `Accept-Encoding: identity`; nothing is ever decompressed: a small
answer cannot become a large one. The head must have come by the deadline. Then the body is read until it ends, until
`limit` bytes are there, or until patience ends, whichever comes first: a body that drips or never ends costs a moment and is no
error, because the status is known by then. That a body breaks off is noted. A stream of events (`text/event-stream`) is not
read. Redirects are answers like any other. How the bytes are written and read is in `talk`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prx.core.errors import REINSTALL, unloaded
from prx.core.shortage import lack_for_module
from prx.core.value import Value, value_class
from prx.runtime.probes.connect import LIMIT, FailureKind, ProbeError, Stream, to_probe_error, verifying_tls

if TYPE_CHECKING:
    from prx.runtime.probes.talk import Talk

BODY_PATIENCE = 2.0  # seconds that a body may take after its head


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Request(Value):
    """What is asked: `target` is path and query, `host` the Host header; `headers` are added to our own few."""

    target: str
    host: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Answer(Value):
    """An answer, as far as the bounds allow.

    headers: names in lower case, repeated ones joined by commas. came_at: when its head had come, on the loop's clock.
    complete: `body` is all of the body. broken_off: it is not, and no bound of ours is the reason.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    complete: bool = True
    came_at: float = 0.0
    broken_off: bool = False

    @property
    def is_event_stream(self) -> bool:
        """Return whether the body is a stream of server-sent events."""
        return self.headers.get("content-type", "").lower().startswith("text/event-stream")

    @property
    def location(self) -> str:
        """The target of a redirect, as the answer has it; empty for any other answer."""
        return self.headers.get("location", "") if 300 <= self.status < 400 else ""


class BodyEnd(enum.Enum):
    """How reading a body came to its end."""

    WHOLE = enum.auto()
    OUR_BOUND = enum.auto()  # bytes or time
    BROKEN_OFF = enum.auto()  # the connection ended first, or what came is no body


def prepare(ca_file: Path | None = None, *, tls: bool = False) -> None:
    """Load what an exchange needs, while there is time for it: between the start of a child and its first answer.

    With `tls` that includes the CAs, those in `ca_file` or the system's, which are hundreds. What cannot be loaded is missed
    by the exchange itself.
    """
    with suppress(ImportError, OSError, ProbeError):
        import prx.runtime.probes.talk  # noqa: F401, PLC0415 - see `_talk`

        if tls:
            verifying_tls(ca_file)


async def exchange(
    stream: Stream, request: Request, *, timeout: float, limit: int = LIMIT, patience: float = BODY_PATIENCE
) -> Answer:
    """Send `request` and return the answer; its head has `timeout` seconds. Raise ProbeError when there is none."""
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    talk = _talk()(stream)
    try:
        async with asyncio.timeout_at(deadline):
            await talk.send(request)
            found = await talk.head()
    except TimeoutError as error:
        raise ProbeError(FailureKind.SILENT, f"{talk.late} within {round(timeout, 1):g} s") from error
    except OSError as error:
        raise to_probe_error(error, stream.endpoint, timeout) from error
    answer = Answer(found.status, found.fields, complete=False, came_at=now())
    if answer.is_event_stream:
        return answer
    body, end = await talk.body(min(deadline, now() + patience), limit)
    return replace(answer, body=body, complete=end is BodyEnd.WHOLE, broken_off=end is BodyEnd.BROKEN_OFF)


def _talk() -> type[Talk]:
    """Load what writes a request and reads its answer; ProbeError if the machine lacks something, or if it is broken."""
    try:
        from prx.runtime.probes.talk import Talk  # noqa: PLC0415 - h11, which a child is started without (see `prepare`)
    except (ImportError, OSError) as error:
        if (lack := lack_for_module(error)) is not None:
            raise ProbeError(FailureKind.SHORT, f"the request cannot be made: this machine gives prx {lack.words}") from error
        raise ProbeError(FailureKind.LOCAL, f"the request cannot be made: {unloaded(error)}", hint=REINSTALL) from error
    return Talk
