"""One question to one DNS-over-HTTPS server (RFC 8484), which is named by its IP address.

The question goes by POST, which no HTTP cache answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from prx.core.deadline import Deadline
from prx.core.hosts import is_private_channel
from prx.core.value import Value, value_class
from prx.runtime.probes.connect import Endpoint, FailureKind, ProbeError, connected, is_address, verifying_tls
from prx.runtime.probes.dnswire import NOERROR, NXDOMAIN, NoDnsError, OtherQuestionError, Question, read_reply
from prx.runtime.probes.http import Answer, Request, exchange

_MEDIA_TYPE = "application/dns-message"
_ANSWERS = {NOERROR, NXDOMAIN}


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Server(Value):
    """A DNS-over-HTTPS server. Constructing it from a URL raises ValueError when it is none that can be asked safely."""

    url: SplitResult
    ca_file: Path | None = None

    @classmethod
    def at(cls, url: str, ca_file: Path | None = None) -> Server:
        """Read a URL with an IP address, https unless it stays on this machine."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if not is_address(host):
            raise ValueError(
                f"expected a DNS-over-HTTPS URL with an IP address (a name would have to be resolved first), found {url!r}"
            )
        if not is_private_channel(parts.scheme, host):
            raise ValueError(f"expected a DNS-over-HTTPS URL that starts with https://, found {url!r}")
        return cls(parts, ca_file)

    def __str__(self) -> str:
        return self.url.hostname or ""

    @property
    def endpoint(self) -> Endpoint:
        """The address at which it is reached."""
        tls = verifying_tls(self.ca_file) if self.url.scheme == "https" else None
        return Endpoint(str(self), self.url.port or (443 if tls else 80), tls)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Heard(Value):
    """One answer: addresses, the name of the response code (NOERROR or NXDOMAIN), and the HTTP headers around it."""

    addresses: tuple[str, ...]
    rcode: str
    headers: Mapping[str, str]


async def ask(server: Server, name: str, kind: str, *, timeout: float) -> Heard:
    """Ask `server` for the records of `kind` (A or AAAA) of `name`; raise ProbeError when there is no usable answer."""
    deadline = Deadline(asyncio.get_running_loop().time, timeout)
    try:
        question = Question.of(name, kind)
    except ValueError as error:
        raise ProbeError(FailureKind.NO_NAME, f"{name!r} is no name that DNS can hold") from error
    request = Request(
        server.url.path or "/dns-query",
        server.url.netloc,
        method="POST",
        headers={"Content-Type": _MEDIA_TYPE, "Accept": _MEDIA_TYPE},
        body=question.to_wire(),
    )
    async with connected(server.endpoint, timeout=timeout) as stream:
        answer = await exchange(stream, request, timeout=deadline.left, patience=timeout)
    return _understood(answer, question, server)


def _understood(answer: Answer, question: Question, server: Server) -> Heard:
    if answer.status != 200 or not answer.complete:
        raise ProbeError(FailureKind.GARBLED, f"{server} answers {answer.status} to a DNS question")
    try:
        reply = read_reply(answer.body, question)
    except OtherQuestionError as error:
        raise ProbeError(FailureKind.GARBLED, f"{server} answers another DNS question") from error
    except NoDnsError as error:
        raise ProbeError(FailureKind.GARBLED, f"{server} answers something that is not DNS") from error
    if reply.rcode not in _ANSWERS:
        raise ProbeError(FailureKind.GARBLED, f"{server} says {reply.status}")
    return Heard(reply.addresses, reply.status, answer.headers)
