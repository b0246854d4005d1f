"""Open one connection to one address, and say in a few words why that failed.

Only addresses are connected to, never names: a name would go to the system's resolver, which remembers failures. What can go
wrong is a `FailureKind`, because callers act differently on each; the words name the place.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import enum
import errno
import functools
import ipaddress
import os
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from prx.core.deadline import Deadline
from prx.core.evidence import Unasked
from prx.core.shortage import lack_of
from prx.core.value import Value, value_class
from prx.files import FileRefusedError
from prx.files.reading import LARGEST_CA_FILE, require_ca_file, require_plain

# Reading stops here: the largest answer that a probe keeps in memory.
LIMIT = 64 * 1024

# What OpenSSL 1.1 and 3 call an answer that is no TLS record.
_ANSWERS_WITHOUT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}

# What it says of a TLS server that refuses it with an alert, and of one that it cannot agree with.
_ALERTS = ("TLSV1", "SSLV3")
_ANSWERS_IN_TLS = {"UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "WRONG_CIPHER_RETURNED", "DH_KEY_TOO_SMALL"}

# OpenSSL's X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, _UNABLE_TO_GET_ISSUER_CERT_LOCALLY, _UNABLE_TO_VERIFY_LEAF_SIGNATURE
_NO_ISSUER = {19, 20, 21}

_ORIGIN_CA_HINT = "set origin_ca to a PEM file of certificates that can be read"
_SYSTEM_CA_HINT = "set SSL_CERT_FILE to a PEM file of certificates that can be read, or unset it"

_NO_WAY = {
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.EHOSTUNREACH,
    errno.EHOSTDOWN,
    errno.EADDRNOTAVAIL,
    errno.EAFNOSUPPORT,
}

# What its words for a refusal mean (alerts of RFC 8446, 6.2): a part of them, and what is reported.
_REFUSALS = (
    ("CERTIFICATE_REQUIRED", "it asks for a client's certificate"),
    ("PROTOCOL_VERSION", "it speaks no version of TLS from 1.2 on"),
    ("UNSUPPORTED_PROTOCOL", "it speaks no version of TLS from 1.2 on"),
    ("ALERT_INTERNAL_ERROR", "it broke the handshake off (internal error): it may have no certificate for the name"),
)


class FailureKind(enum.Enum):
    """What went wrong between here and an answer."""

    REFUSED = enum.auto()  # nothing listens there
    NO_ROUTE = enum.auto()  # this machine knows no way there, for example because it has no IPv6
    TIMEOUT = enum.auto()  # no connection
    SILENT = enum.auto()  # a connection, but no answer on it
    NO_NAME = enum.auto()  # a private name that this machine's resolver does not know
    RESET = enum.auto()
    TLS = enum.auto()
    EMPTY = enum.auto()  # the connection was closed before an answer came
    GARBLED = enum.auto()  # what came is not HTTP
    LOCAL = enum.auto()  # this process cannot: no permission, a file that cannot be used
    SHORT = enum.auto()  # this machine gives it no descriptor, memory or port for now: nothing was learned of the other side


_UNASKED = {FailureKind.LOCAL: Unasked.AS_SET_UP, FailureKind.SHORT: Unasked.FOR_NOW}


class ProbeError(Exception):
    """There was no answer: the kind of `trouble`, and `words` for people that name the place; `hint` may be empty."""

    def __init__(self, trouble: FailureKind, words: str, *, hint: str = "") -> None:
        super().__init__(words)
        self.trouble = trouble
        self.words = words
        self.hint = hint

    @property
    def unasked(self) -> Unasked:
        """Why the question was not even put."""
        return _UNASKED.get(self.trouble, Unasked.NO)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Endpoint(Value):
    """An IP address and a port; with `tls`, a handshake follows that asks for `server_name`.

    host: what the user calls it, if that is not the address.
    """

    address: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    host: str = ""

    @property
    def named(self) -> str:
        """HOST:PORT as the user wrote it."""
        return f"{self.host}:{self.port}" if self.host and ":" not in self.host else str(self)

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Stream(Value):
    """An open connection to `endpoint`."""

    endpoint: Endpoint
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@functools.lru_cache(maxsize=256)
def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def connected(endpoint: Endpoint, *, timeout: float) -> contextlib.AbstractAsyncContextManager[Stream]:
    """Return an open connection to `endpoint`, its TLS handshake done, within `timeout` seconds; raise ProbeError otherwise."""
    return connected_to_one([endpoint], timeout=timeout)


@contextlib.asynccontextmanager
async def connected_to_one(endpoints: Sequence[Endpoint], *, timeout: float) -> AsyncIterator[Stream]:
    """Yield a connection to the first of `endpoints` that takes one; raise ProbeError when none does.

    They are tried in turn, and each has an equal share of what is left of `timeout` seconds: one that swallows packets
    leaves time for the next.
    """
    deadline = Deadline(asyncio.get_running_loop().time, timeout)
    failures: list[ProbeError] = []
    for position, endpoint in enumerate(endpoints):
        try:
            stream = await _open(endpoint, deadline.left / (len(endpoints) - position))
        except ProbeError as error:
            failures.append(error)
            continue
        try:
            yield stream
        finally:
            await _close(stream)
        return
    try:
        raise _most_telling(endpoints, failures)
    finally:
        failures.clear()  # an error that is held by a frame of its own traceback is left to the collector of cycles


def _most_telling(endpoints: Sequence[Endpoint], failures: Sequence[ProbeError]) -> ProbeError:
    """Return what is known after all have failed: nothing, if one of them could not be asked for now."""
    if (short := next((error for error in failures if error.trouble is FailureKind.SHORT), None)) is not None:
        return short
    tried = [
        (endpoint, error)
        for endpoint, error in zip(endpoints, failures, strict=True)
        if error.trouble is not FailureKind.NO_ROUTE
    ]
    if len(tried) > 1 and all(error.trouble is FailureKind.REFUSED for _, error in tried):
        return ProbeError(FailureKind.REFUSED, f"connection refused by {' and '.join(str(endpoint) for endpoint, _ in tried)}")
    return tried[0][1] if tried else failures[0]


async def _open(endpoint: Endpoint, timeout: float) -> Stream:
    if not is_address(endpoint.address):
        raise ValueError(f"expected an IP address, found {endpoint.address!r}")
    name = endpoint.server_name or endpoint.address
    # Bytes if possible: of a str, even of ASCII, `ssl` makes A-labels, with a codec and tables of 0.4 MiB
    server_name = (name.encode() if name.isascii() else name) if endpoint.tls else None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                endpoint.address, endpoint.port, ssl=endpoint.tls, server_hostname=server_name
            )
    except (OSError, TimeoutError) as error:
        raise to_probe_error(error, endpoint, timeout) from error
    stream = Stream(endpoint, reader, writer)
    if _met_itself(writer):
        await _close(stream)
        raise ProbeError(FailureKind.REFUSED, f"connection refused by {endpoint}")
    return stream


def _met_itself(writer: asyncio.StreamWriter) -> bool:
    """Detect a self-connection: TCP connects to itself when an unused port is drawn as our own source port."""
    own, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
    return own is not None and peer is not None and own[:2] == peer[:2]


async def _close(stream: Stream) -> None:
    if stream.endpoint.tls:
        stream.writer.transport.abort()  # a closing handshake would wait for the peer
    else:
        stream.writer.close()
    with contextlib.suppress(OSError):
        await stream.writer.wait_closed()


def to_probe_error(error: OSError, endpoint: Endpoint, timeout: float) -> ProbeError:
    """Turn an error of the socket, of TLS or of time (`timeout` seconds were given) into a ProbeError."""
    match error:
        case TimeoutError():
            return ProbeError(FailureKind.TIMEOUT, f"no answer from {endpoint} within {round(timeout, 1):g} s")
        case ConnectionRefusedError():
            return ProbeError(FailureKind.REFUSED, f"connection refused by {endpoint}")
        case ssl.SSLCertVerificationError():
            why = error.verify_message.rstrip(".")
            words = f"the certificate of {endpoint.named} is not valid: {why}{_without_authorities(error)}"
            return ProbeError(FailureKind.TLS, words)
        case socket.gaierror():
            _, is_zoned, zone = endpoint.address.partition("%")
            lacks = (
                f"has no network interface {zone}, as in {endpoint.address}"
                if is_zoned
                else f"does not know the name {endpoint.address}"
            )
            return ProbeError(FailureKind.NO_NAME, f"this machine {lacks}")
        case ssl.SSLError():
            return ProbeError(FailureKind.TLS, f"TLS with {endpoint.named} failed: {_tls_words(error, endpoint)}")
        case ConnectionError():
            return ProbeError(FailureKind.RESET, f"connection reset by {endpoint.named}")
    if error.errno == errno.EADDRNOTAVAIL and "." in endpoint.address:  # of IPv6: this machine has no address to ask from
        return ProbeError(FailureKind.SHORT, f"this machine has no port left for a connection to {endpoint}")
    if error.errno in _NO_WAY:
        return ProbeError(FailureKind.NO_ROUTE, f"no route to {endpoint}")
    return ProbeError(own_failure(error), f"cannot connect to {endpoint}: {error.strerror or type(error).__name__}")


def _without_authorities(error: ssl.SSLCertVerificationError) -> str:
    """Name a variable that has taken the system's CAs away and gives no others, if nothing else vouches for a certificate."""
    if error.verify_code not in _NO_ISSUER:
        return ""
    named = {"SSL_CERT_FILE": [os.environ.get("SSL_CERT_FILE", "")]}
    named["SSL_CERT_DIR"] = os.environ.get("SSL_CERT_DIR", "").split(os.pathsep)
    unread = [name for name, places in named.items() if any(places) and not any(os.access(item, os.R_OK) for item in places)]
    return "".join(f" ({name}={os.environ[name]} cannot be read)" for name in unread)


def own_failure(error: OSError) -> FailureKind:
    """Return what an error of this process or its machine is, which says nothing of the other side."""
    return FailureKind.SHORT if lack_of(error) is not None else FailureKind.LOCAL


async def speaks_tls(endpoint: Endpoint, *, timeout: float) -> bool:
    """Return whether `endpoint` speaks TLS: a handshake that checks nothing succeeds, or is refused in TLS's own words."""
    try:
        async with connected(dataclasses.replace(endpoint, tls=trusting_tls()), timeout=timeout):
            return True
    except ProbeError as error:
        reason = error.__cause__.reason if isinstance(error.__cause__, ssl.SSLError) else None
        return reason is not None and (reason.startswith(_ALERTS) or reason in _ANSWERS_IN_TLS)


def _tls_words(error: ssl.SSLError, endpoint: Endpoint) -> str:
    reason = error.reason or ""
    if reason in _ANSWERS_WITHOUT_TLS:
        return "it does not speak TLS"
    if refuses_name(error):
        return f"it has no certificate for the name {endpoint.server_name or endpoint.address}"
    for part, words in _REFUSALS:
        if part in reason:
            return words
    return (reason or "handshake broken off").replace("_", " ").lower()


def refuses_name(error: BaseException | None) -> bool:
    """Return whether a TLS server has refused the name that it was asked for."""
    return isinstance(error, ssl.SSLError) and "UNRECOGNIZED_NAME" in (error.reason or "")


def origin_tls(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and, like Go, whatever certificate stands in `ca_file`.

    Raise ProbeError when one of these files cannot be read, must not be used, or `ca_file` holds no certificate.
    """
    if ca_file is None:
        return verifying_tls()
    context = _checked_system_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        require_plain(ca_file, limit=LARGEST_CA_FILE)  # another kind keeps the library waiting, and everything else
        require_ca_file(ca_file)
        context.load_verify_locations(ca_file)
    except FileRefusedError as error:
        raise ProbeError(FailureKind.LOCAL, f"origin_ca: {error.message}", hint=_ORIGIN_CA_HINT) from error
    except ssl.SSLError as error:
        words = f"origin_ca: {ca_file} holds no certificate (expected PEM)"
        raise ProbeError(FailureKind.LOCAL, words, hint=_ORIGIN_CA_HINT) from error
    except OSError as error:
        words = f"origin_ca: {ca_file} cannot be read: {error.strerror or error}"
        raise ProbeError(own_failure(error), words, hint=_ORIGIN_CA_HINT) from error
    return context


def _checked_system_context() -> ssl.SSLContext:
    """Return a context that trusts the system's CAs; raise ProbeError, naming their file, if that keeps prx from it."""
    named = os.environ.get("SSL_CERT_FILE")
    try:
        if named:
            require_ca_file(named)
        return _system_context()
    except FileRefusedError as error:
        raise ProbeError(FailureKind.LOCAL, f"SSL_CERT_FILE: {error.message}", hint=error.hint or _SYSTEM_CA_HINT) from error
    except OSError as error:
        words = f"{_system_ca_file()} cannot be read: {error.strerror or error}"
        raise ProbeError(own_failure(error), words, hint=_SYSTEM_CA_HINT if named else "") from error


def _system_ca_file() -> str:
    """Return how the file of the system's CAs is called in an error."""
    named = os.environ.get("SSL_CERT_FILE")
    return f"SSL_CERT_FILE: {named}" if named else f"the CA file {ssl.get_default_verify_paths().cafile or 'of the system'}"


def verifying_tls(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that checks certificates against `ca_file`, or against the system's CAs.

    Raise ProbeError when the file cannot be read.
    """
    named = ca_file or os.environ.get("SSL_CERT_FILE")  # which the library reads by itself
    try:
        if named:
            require_ca_file(named)
        return _context(str(ca_file or ""), 0 if ca_file is None else ca_file.stat().st_mtime_ns)
    except FileRefusedError as error:
        raise ProbeError(FailureKind.LOCAL, f"the CA file cannot be used: {error.message}", hint=error.hint) from error
    except OSError as error:
        if ca_file is None and lack_of(error) is None:
            return _context("", 0)
        words = f"the CA file {named or 'of the system'} cannot be read: {error.strerror or error}"
        raise ProbeError(own_failure(error), words) from error


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, _changed_at: int) -> ssl.SSLContext:
    """Load the CAs once for each state of the file: that takes longer than the probe."""
    return ssl.create_default_context(cafile=ca_file) if ca_file else _system_context()


def _system_context() -> ssl.SSLContext:
    """Return a context that trusts the system's CAs; OSError if their file cannot be read for now.

    The library would go on without them then, and every certificate would be called invalid for as long as the context is kept.
    """
    if file := ssl.get_default_verify_paths().cafile:
        try:
            Path(file).open("rb").close()
        except OSError as error:
            if lack_of(error) is not None:
                raise
    return ssl.create_default_context()


@functools.cache
def trusting_tls() -> ssl.SSLContext:
    """Return a context that checks nothing: for a service on this machine, whose certificate proves nothing to us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
