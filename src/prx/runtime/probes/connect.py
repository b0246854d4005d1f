"""Open one connection to one address, and say in a few words why that failed.

Only addresses are connected to, never names: a name would go to the system's resolver, which remembers failures. What can go
wrong is a `Trouble`, because callers act differently on each; the words name the place.
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
import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from prx.files import FileRefusedError
from prx.files.reading import require_ca_file

# Reading stops here: the largest answer that a probe keeps in memory.
LIMIT = 64 * 1024

# What OpenSSL 1.1 and 3 call an answer that is no TLS record.
_ANSWERS_WITHOUT_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}

# What it says of a TLS server that refuses it with an alert, and of one that it cannot agree with.
_ALERTS = ("TLSV1", "SSLV3")
_ANSWERS_IN_TLS = {"UNSUPPORTED_PROTOCOL", "WRONG_SSL_VERSION", "WRONG_CIPHER_RETURNED", "DH_KEY_TOO_SMALL"}


class Trouble(enum.Enum):
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
    LOCAL = enum.auto()  # this process cannot: no file descriptors, no permission


class ProbeError(Exception):
    """There was no answer: the kind of `trouble`, and `words` for people that name the place."""

    def __init__(self, trouble: Trouble, words: str) -> None:
        super().__init__(words)
        self.trouble = trouble
        self.words = words


@dataclass(frozen=True, slots=True)
class Place:
    """An IP address and a port; with `tls`, a handshake follows that asks for `server_name`.

    host: what the user calls it, where that is not the address.
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


@dataclass(frozen=True, slots=True)
class Stream:
    """An open connection to `place`."""

    place: Place
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


def is_address(host: str) -> bool:
    """Tell whether `host` is an IP address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Tell whether packets to this IP address stay on this machine."""
    return ipaddress.ip_address(address).is_loopback


def connected(place: Place, *, timeout: float) -> contextlib.AbstractAsyncContextManager[Stream]:
    """Give an open connection to `place`, its TLS handshake done, within `timeout` seconds; raise ProbeError otherwise."""
    return connected_to_one([place], timeout=timeout)


@contextlib.asynccontextmanager
async def connected_to_one(places: Sequence[Place], *, timeout: float) -> AsyncIterator[Stream]:
    """Give a connection to the first of `places` that takes one; raise ProbeError when none does.

    They are tried in turn, and each has an equal share of what is left of `timeout` seconds: one that swallows packets
    leaves time for the next.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    failures: list[ProbeError] = []
    for position, place in enumerate(places):
        try:
            stream = await _open(place, max(deadline - now(), 0) / (len(places) - position))
        except ProbeError as error:
            failures.append(error)
            continue
        try:
            yield stream
        finally:
            await _close(stream)
        return
    raise _most_telling(places, failures)


def _most_telling(places: Sequence[Place], failures: Sequence[ProbeError]) -> ProbeError:
    tried = [(place, error) for place, error in zip(places, failures, strict=True) if error.trouble is not Trouble.NO_ROUTE]
    if len(tried) > 1 and all(error.trouble is Trouble.REFUSED for _, error in tried):
        return ProbeError(Trouble.REFUSED, f"connection refused by {' and '.join(str(place) for place, _ in tried)}")
    return tried[0][1] if tried else failures[0]


async def _open(place: Place, timeout: float) -> Stream:
    if not is_address(place.address):
        raise ValueError(f"expected an IP address, found {place.address!r}")
    server_name = (place.server_name or place.address) if place.tls else None
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(
                place.address, place.port, ssl=place.tls, server_hostname=server_name
            )
    except (OSError, TimeoutError) as error:
        raise explained(error, place, timeout) from error
    stream = Stream(place, reader, writer)
    if _met_itself(writer):
        await _close(stream)
        raise ProbeError(Trouble.REFUSED, f"connection refused by {place}")
    return stream


def _met_itself(writer: asyncio.StreamWriter) -> bool:
    """Tell a self-connection: TCP connects to itself when a port that nobody listens on is drawn as our own source port."""
    own, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
    return own is not None and peer is not None and own[:2] == peer[:2]


async def _close(stream: Stream) -> None:
    if stream.place.tls:
        stream.writer.transport.abort()  # a closing handshake would wait for the peer
    else:
        stream.writer.close()
    with contextlib.suppress(OSError):
        await stream.writer.wait_closed()


def explained(error: OSError, place: Place, timeout: float) -> ProbeError:
    """Turn an error of the socket, of TLS or of time (`timeout` seconds were given) into a ProbeError."""
    match error:
        case TimeoutError():
            return ProbeError(Trouble.TIMEOUT, f"no answer from {place} within {round(timeout, 1):g} s")
        case ConnectionRefusedError():
            return ProbeError(Trouble.REFUSED, f"connection refused by {place}")
        case ssl.SSLCertVerificationError():
            why = error.verify_message.rstrip(".")
            return ProbeError(Trouble.TLS, f"the certificate of {place.named} is not valid: {why}")
        case ssl.SSLError():
            return ProbeError(Trouble.TLS, f"TLS with {place.named} failed: {_tls_words(error)}")
        case ConnectionError():
            return ProbeError(Trouble.RESET, f"connection reset by {place.named}")
    if error.errno in {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
        return ProbeError(Trouble.NO_ROUTE, f"no route to {place}")
    return ProbeError(Trouble.LOCAL, f"cannot connect to {place}: {error.strerror or type(error).__name__}")


async def speaks_tls(place: Place, *, timeout: float) -> bool:
    """Return whether a TLS server is at `place`: a handshake that checks nothing succeeds, or is refused in TLS's own words."""
    try:
        async with connected(dataclasses.replace(place, tls=trusting_tls()), timeout=timeout):
            return True
    except ProbeError as error:
        reason = error.__cause__.reason if isinstance(error.__cause__, ssl.SSLError) else None
        return reason is not None and (reason.startswith(_ALERTS) or reason in _ANSWERS_IN_TLS)


def _tls_words(error: ssl.SSLError) -> str:
    if error.reason in _ANSWERS_WITHOUT_TLS:
        return "it does not speak TLS"
    return (error.reason or "handshake broken off").replace("_", " ").lower()


def origin_tls(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and, like Go, whatever certificate stands in `ca_file`.

    Raise ProbeError when the file cannot be read or holds no certificate.
    """
    if ca_file is None:
        return verifying_tls()
    context = ssl.create_default_context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(ca_file)
    except ssl.SSLError as error:
        raise ProbeError(Trouble.LOCAL, f"origin_ca: {ca_file} holds no certificate (expected PEM)") from error
    except OSError as error:
        raise ProbeError(Trouble.LOCAL, f"origin_ca: {ca_file} cannot be read: {error.strerror or error}") from error
    return context


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
        raise ProbeError(Trouble.LOCAL, f"the CA file cannot be used: {error.message}") from error
    except OSError as error:
        if ca_file is None:
            return _context("", 0)
        raise ProbeError(Trouble.LOCAL, f"the CA file {ca_file} cannot be read: {error.strerror or error}") from error


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, _changed_at: int) -> ssl.SSLContext:
    """Load the CAs once for each state of the file: that takes longer than the probe."""
    return ssl.create_default_context(cafile=ca_file or None)


@functools.cache
def trusting_tls() -> ssl.SSLContext:
    """Return a context that checks nothing: for a service on this machine, whose certificate proves nothing to us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
