"""Probe the local service: a TCP connection and a GET on `local_addr`.

cloudflared connects to `local_addr` as it is configured: a numeric address is tried alone, `localhost` in both families. So
does this probe. If there is no good answer, a second, short probe finds out the usual reasons, only to report them: when a
numeric loopback address refuses, the other family is asked (a service that listens on `[::1]` alone, which no tunnel will
find on 127.0.0.1); when plain HTTP is not understood, TLS is tried, and the other way round.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prx.config.hostname import shown
from prx.config.this_machine import is_this_machine
from prx.core.deadline import Deadline
from prx.core.evidence import Origin
from prx.core.shortage import PORTS_HINT, lack_behind, lack_of
from prx.core.value import Value, value_class
from prx.runtime.probes.connect import (
    Endpoint,
    FailureKind,
    ProbeError,
    connected,
    connected_to_one,
    origin_tls,
    own_failure,
    refuses_name,
    speaks_tls,
    trusting_tls,
)
from prx.runtime.probes.error_pages import asks_for_tls, says_tls
from prx.runtime.probes.http import Answer, Request, exchange
from prx.runtime.probes.listening import OTHER_FAMILY
from prx.runtime.probes.own_resolver import addresses_of

if TYPE_CHECKING:
    from prx.config.schema import TunnelSettings

TIMEOUT = 5.0  # seconds for everything
SECOND_LOOK = 1.0  # seconds that finding out a reason may take, beyond that
_NOT_LISTENING = {FailureKind.REFUSED, FailureKind.NO_ROUTE, FailureKind.TIMEOUT, FailureKind.NO_NAME}
_PERHAPS_TLS = {FailureKind.EMPTY, FailureKind.RESET, FailureKind.GARBLED}
_PERHAPS_PLAIN = {FailureKind.EMPTY, FailureKind.RESET, FailureKind.GARBLED, FailureKind.TLS, FailureKind.TIMEOUT}
_WRONG_NAME = {62, 64}  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Trust(Value):
    """How the certificate of an https service is checked.

    verify: None: unless the service is on this machine. ca_file: trusted beside the system's CAs. server_name: what the
    service is asked for and what its certificate must carry; empty: its host.
    """

    verify: bool | None = None
    ca_file: Path | None = None
    server_name: str = ""

    def context(self, host: str) -> ssl.SSLContext:
        """Return what TLS with `host` is spoken with; raise ProbeError when the CA file cannot be used."""
        verify = not is_this_machine(host) if self.verify is None else self.verify
        return origin_tls(self.ca_file) if verify else trusting_tls()


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _Service(Value):
    """The service's address, what it is asked, and within how many seconds."""

    host: str
    port: int
    trust: Trust
    request: Request
    timeout: float

    @property
    def name(self) -> str:
        host = shown(self.host)
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    async def endpoints(self, tls: ssl.SSLContext | None) -> list[Endpoint]:
        server_name = self.trust.server_name or self.host
        found = await _addresses(self.host, self.port, self.timeout)
        return [Endpoint(address, self.port, tls, server_name, shown(self.host)) for address in found]


async def check_origin(settings: TunnelSettings, *, timeout: float | None = None) -> Origin:
    """Return what the local service of a tunnel answers, asked and trusted as the connector asks and trusts it.

    It has `timeout` seconds, or the time-out of the health check.
    """
    origin = settings.origin
    ca_file = Path(settings.origin_ca) if settings.origin_ca else None
    return await probe_origin(
        origin.host,
        origin.port,
        settings.health_check_path,
        scheme=origin.scheme,
        host_header=settings.host_header,
        timeout=settings.health_check_timeout_secs if timeout is None else timeout,
        trust=Trust(settings.origin_is_verified, ca_file, settings.origin_server_name),
    )


async def ask_service(settings: TunnelSettings, target: str, *, host: str, scheme: str, timeout: float) -> Answer:
    """Return what the service answers a visitor of `target` below `scheme`://`host`, asked as the connector does.

    Raises ProbeError if it does not answer within `timeout` seconds.
    """
    origin = settings.origin
    ca_file = Path(settings.origin_ca) if settings.origin_ca else None
    trust = Trust(settings.origin_is_verified, ca_file, settings.origin_server_name)
    headers = {"X-Forwarded-Proto": scheme, **({"X-Forwarded-Host": host} if settings.host_header else {})}
    request = Request(target, settings.host_header or host, headers=headers)
    service = _Service(origin.host, origin.port, trust, request, timeout)
    return await _ask(service, trust.context(origin.host) if origin.scheme == "https" else None)


async def probe_origin(
    host: str,
    port: int,
    path: str = "/",
    *,
    scheme: str = "http",
    host_header: str = "",
    timeout: float = TIMEOUT,
    trust: Trust | None = None,
) -> Origin:
    """Return what the service on `host`:`port` answers to GET `path`, within `timeout` seconds; never raise for what it does.

    `scheme` is http or https, and `trust` says how a certificate is checked. `host_header` is sent instead of `host:port`. To
    find out why there is no good answer may take `SECOND_LOOK` more.
    """
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    service = _Service(host, port, trust or Trust(), Request(path, host_header or name), timeout)
    try:
        answer = await _ask(service, service.trust.context(host) if scheme == "https" else None)
    except ProbeError as error:
        return await _explained(service, error, is_https=scheme == "https")
    seen = Origin(
        service.name,
        True,
        answer.status,
        event_stream=answer.is_event_stream,
        location=answer.location,
        broken_off=answer.broken_off,
    )
    if scheme == "http" and _may_want_tls(answer, port) and (words := await _tls_words(service)):
        return replace(seen, error=f"{service.name} answers {answer.status} in plain HTTP; {words}")
    return seen


async def _explained(service: _Service, error: ProbeError, *, is_https: bool) -> Origin:
    """Return why there was no answer, and what would be right if that can be found out."""
    if error.unasked:
        return Origin(service.name, False, error=error.words, hint=_help_for_prx(error), unasked=error.unasked)
    words, listening = error.words, error.trouble not in _NOT_LISTENING
    cause = error.__cause__
    if error.trouble is FailureKind.REFUSED:
        if (other := await _other_family(service.host, service.port, service.timeout)) is not None:
            words += f"; the service listens on {other} only: use that as local_addr"
            return Origin(service.name, False, error=words, hint=f'set local_addr = "{other}"')
    elif error.trouble is FailureKind.SILENT:
        hint = (
            f"if {service.request.target} is slow, set health_check_path to a faster one, or health_check_timeout_secs higher"
        )
        return Origin(service.name, listening, error=words, hint=hint, silent=True)
    elif isinstance(cause, ssl.SSLCertVerificationError):
        words += f"; {_trust_words(cause)}"
    elif refuses_name(cause):
        words += "; set origin_server_name to a name that it carries"
    elif is_https and error.trouble in _PERHAPS_PLAIN:
        there, more = await _plain_words(service)
        listening = listening or there
        words += f"; {more}" if more else ""
    elif not is_https and error.trouble in _PERHAPS_TLS and (more := await _tls_words(service)):
        words += f"; {more}"
    return Origin(service.name, listening, error=words)


def _trust_words(error: ssl.SSLCertVerificationError) -> str:
    """Name the keys that can help against a certificate that is not valid."""
    if error.verify_code in _WRONG_NAME:
        return "set origin_server_name to a name that it carries, or origin_tls_verify = false"
    if error.verify_code == _EXPIRED:
        return "renew it, or set origin_tls_verify = false"
    return "set origin_ca to the file of its certificate authority, or origin_tls_verify = false"


def _may_want_tls(answer: Answer, port: int) -> bool:
    """Return whether plain HTTP may be the wrong protocol: the service says so, or redirects to https on the same port."""
    try:
        target = urlsplit(answer.location)
        same = target.scheme == "https" and (target.port or 443) == port
    except ValueError:
        same = False
    return same or asks_for_tls(answer)


async def _tls_words(service: _Service) -> str:
    """Say that the service speaks TLS, when it does."""
    try:
        endpoint = (await service.endpoints(None))[0]
    except ProbeError:
        return ""
    found = await speaks_tls(endpoint, timeout=SECOND_LOOK)
    return f"it speaks TLS: use https://{service.name}" if found else ""


async def _plain_words(service: _Service) -> tuple[bool, str]:
    """Return whether the service takes connections, and report it if it speaks plain HTTP."""
    try:
        answer = await _ask(replace(service, timeout=SECOND_LOOK), None)
    except ProbeError as error:
        return error.trouble not in _NOT_LISTENING, ""
    return True, "" if says_tls(answer) else f"it speaks plain HTTP: use http://{service.name}"


async def _ask(service: _Service, tls: ssl.SSLContext | None) -> Answer:
    deadline = Deadline(asyncio.get_running_loop().time, service.timeout)
    async with connected_to_one(await service.endpoints(tls), timeout=deadline.left) as stream:
        return await exchange(stream, service.request, timeout=deadline.left)


async def _addresses(host: str, port: int, timeout: float) -> list[str]:
    """Return the addresses behind `host`: a private name, so the system's resolver may be asked."""
    try:
        return await addresses_of(host, port, timeout=timeout)
    except (socket.gaierror, TimeoutError) as error:
        raise ProbeError(FailureKind.NO_NAME, f"this machine does not know the name {host}") from error
    except OSError as error:
        raise ProbeError(own_failure(error), f"cannot look up the name {host}: {error.strerror or error}") from error


def _help_for_prx(error: ProbeError) -> str:
    """Return what helps if prx itself cannot ask; empty if that is not known."""
    cause = error.__cause__
    if error.trouble is not FailureKind.SHORT or cause is None:
        return error.hint
    if isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL:
        return PORTS_HINT
    lack = lack_of(cause) or lack_behind(cause)
    return f"this machine gives prx {lack.words}: {lack.hint}" if lack is not None and lack.hint else ""


async def _other_family(host: str, port: int, timeout: float) -> Endpoint | None:
    """Return the other loopback address, if the service listens there; else None."""
    if (other := OTHER_FAMILY.get(host)) is None:
        return None
    endpoint = Endpoint(other, port)
    try:
        async with connected(endpoint, timeout=min(timeout, 1.0)):
            return endpoint
    except ProbeError:
        return None
