"""Download one file, within bounds, and hash it on the way.

Theory of operation. Every wait is bounded: the connection, each silence, and the whole. So is the size: more than was
allowed ends it, whether or not the server announced it. Nothing is decompressed. Redirects are followed by hand, a few, and
only to https; from a mirror on this machine, asked in plain http, also to this machine. What is shown of a URL lacks name,
password and query: release downloads are redirected to URLs whose query is a key.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO, Final

import httpx2

from prx import __version__
from prx.core.errors import PrxError, UsageError
from prx.core.hosts import is_loopback, is_private_channel
from prx.core.numbers import whole
from prx.core.redirects import REDIRECTS
from prx.core.shortage import lack_behind
from prx.files.outgoing import failure_words, making_client, trust_hint

Progress = Callable[[int, int | None], None]
"""Called with the bytes received so far and the bytes expected (None: the server does not say)."""

_HEADERS: Final = {"User-Agent": f"prx/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}
_TRY_AGAIN: Final = "try again; prx install cloudflared --from URL asks a mirror"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a download may take: times in seconds, `size` in bytes."""

    connect: float = 15.0
    idle: float = 30.0
    total: float = 900.0
    size: int = 128 * 1024 * 1024  # an asset has about 40 MB
    redirects: int = 5


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came: its size in bytes, its SHA-256, and the URL that gave it, fit for showing."""

    size: int
    sha256: str
    source: str


async def fetch(url: str, sink: BinaryIO, *, bounds: Bounds, progress: Progress) -> Fetched:
    """Write what `url` answers into `sink`.

    Raise PrxError when it does not come whole and within `bounds`, UsageError when `url` is neither https nor plain http to
    this machine, OSError when it cannot be written.
    """
    start = _understand(url)
    try:
        async with asyncio.timeout(bounds.total):
            return await _fetch(start, sink, bounds, progress)
    except TimeoutError as error:
        raise PrxError(f"{_shown(start)} was not downloaded within {bounds.total:g} s", hint=_TRY_AGAIN) from error


async def _fetch(url: httpx2.URL, sink: BinaryIO, bounds: Bounds, progress: Progress) -> Fetched:
    timeout = httpx2.Timeout(bounds.idle, connect=bounds.connect)
    is_local = is_loopback(url.host)
    async with (
        _client(timeout, through_proxy=not is_local) as client,  # no proxy stands between this machine and itself
        _answer(client, url, bounds, local=is_local and url.scheme == "http") as response,
    ):
        return await _receive(response, sink, bounds, progress)


def _client(timeout: httpx2.Timeout, *, through_proxy: bool) -> httpx2.AsyncClient:
    with making_client():
        return httpx2.AsyncClient(timeout=timeout, headers=_HEADERS, follow_redirects=False, trust_env=through_proxy)


@asynccontextmanager
async def _answer(
    client: httpx2.AsyncClient, url: httpx2.URL, bounds: Bounds, *, local: bool
) -> AsyncIterator[httpx2.Response]:
    """Yield the answer that stands at the end of the redirects."""
    for _ in range(bounds.redirects + 1):
        try:
            async with client.stream("GET", url) as response:
                if response.status_code not in REDIRECTS:
                    _require_ok(response)
                    yield response
                    return
                url = _next(response, local=local)
        except httpx2.HTTPError as error:
            lack = lack_behind(error)
            hint = lack.hint if lack is not None else trust_hint(error) or _TRY_AGAIN
            raise PrxError(f"cannot download {_shown(url)}: {_words(error, bounds)}", hint=hint) from error
    raise PrxError(f"{_shown(url)}: more than {bounds.redirects} redirects", hint=_TRY_AGAIN)


async def _receive(response: httpx2.Response, sink: BinaryIO, bounds: Bounds, progress: Progress) -> Fetched:
    expected = whole(response.headers.get("content-length"))
    if expected is not None and expected > bounds.size:
        raise _too_large(response.url, expected, bounds)
    digest, size = hashlib.sha256(), 0
    progress(size, expected)
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > bounds.size:
            raise _too_large(response.url, size, bounds)
        digest.update(chunk)
        sink.write(chunk)
        progress(size, expected)
    return Fetched(size, digest.hexdigest(), _shown(response.url))


def _understand(url: str) -> httpx2.URL:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise UsageError(f"{url!r} is no URL: {str(error).lower()}") from error
    if not _may_ask(parsed, local=True):
        raise UsageError(f"{_shown(parsed)}: expected a URL that starts with https://, or with http:// on this machine")
    return parsed


def _may_ask(url: httpx2.URL, *, local: bool) -> bool:
    return is_private_channel(url.scheme, url.host) and (local or url.scheme == "https")


def _require_ok(response: httpx2.Response) -> None:
    if response.status_code == 404:
        raise PrxError(f"{_shown(response.url)} is not there (404)", hint="a mirror must hold VERSION/NAME below its URL")
    if response.status_code != 200:
        raise PrxError(f"{_shown(response.url)} answers {response.status_code}, expected 200", hint=_TRY_AGAIN)


def _next(response: httpx2.Response, *, local: bool) -> httpx2.URL:
    here = _shown(response.url)
    try:
        url = response.url.join(response.headers.get("location", ""))
    except httpx2.InvalidURL as error:
        raise PrxError(f"{here} redirects to something that is no URL", hint=_TRY_AGAIN) from error
    if not _may_ask(url, local=local):
        raise PrxError(f"{here} redirects to {_shown(url)}; only https is followed", hint=_TRY_AGAIN)
    return url


def _too_large(url: httpx2.URL, size: int, bounds: Bounds) -> PrxError:
    return PrxError(
        f"{_shown(url)} has {size} bytes or more, expected at most {bounds.size}: this is no cloudflared", hint=_TRY_AGAIN
    )


def _shown(url: httpx2.URL) -> str:
    return str(url.copy_with(username=None, password=None, query=None, fragment=None))


def _words(error: httpx2.HTTPError, bounds: Bounds) -> str:
    match error:
        case httpx2.ConnectTimeout():
            return f"no connection within {bounds.connect:g} s"
        case httpx2.TimeoutException():
            return f"nothing came for {bounds.idle:g} s"
        case httpx2.RemoteProtocolError():
            return "the connection was closed before the end"
    return failure_words(error) or str(error) or type(error).__name__
