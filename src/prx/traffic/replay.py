"""Send a request to the service again, directly and marked: `X-PRX-Replay: ID`."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from prx.core.errors import PrxError, UsageError
from prx.core.own_mark import REPLAY
from prx.traffic.exchange import Exchange, shown_body
from prx.traffic.framing import FRAMING_HEADERS
from prx.traffic.masks import Masks
from prx.traffic.own import is_own_name
from prx.traffic.relay import Target
from prx.traffic.tee import SERVICE, VISITOR, Copier, Tee

ANSWER_SECONDS: Final = 100.0
"""How long an answer may take to begin: as long as Cloudflare waits for one before it answers 524 itself."""

END_SECONDS: Final = 30.0
"""How long it is read from then on; one that does not end is one, too."""

LONGEST: Final = ANSWER_SECONDS + END_SECONDS

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LINE: Final = re.compile(rb"[^\r\n\0]*")


def request_bytes(exchange: Exchange | None, edit: dict[str, Any] | None, masks: Masks) -> bytes:
    """Return the request to send; raise UsageError if it is not whole, or cannot be written.

    `edit`: method, path, headers, body (base64) in place of those of `exchange`; a value that is hidden in what was shown
    stands for the one that came.
    """
    headers: list[tuple[bytes, bytes]] = []
    method = target = body = b""
    if exchange is not None:
        if exchange.request is None or exchange.answer_is_switch:
            raise UsageError(f"request {exchange.id} cannot be sent again: it is no plain HTTP request")
        if exchange.request_body.cut and (edit is None or "body" not in edit):
            kept_bytes, size = len(exchange.request_body.kept), exchange.request_body.size
            raise UsageError(f"the body of request {exchange.id} was cut: {kept_bytes} of {size} bytes are kept")
        head = exchange.request
        method, target, headers, body = head.method, head.target, head.headers, bytes(exchange.request_body.kept)
    if edit is not None:
        method, target = _bytes(edit, "method", method), _edited(edit, target, masks)
        headers = _edited_headers(edit, headers, masks)
        shown = b"" if exchange is None else shown_body(exchange.request, exchange.request_body, masks)
        body = _edited_body(edit, body, shown)
    if not _TOKEN.fullmatch(method) or not target or b" " in target or not _LINE.fullmatch(target):
        raise UsageError("a request begins with a method and a path without spaces")
    kept = [(name, value) for name, value in headers if name.lower() not in FRAMING_HEADERS and not is_own_name(name)]
    if not all(_TOKEN.fullmatch(name) and _LINE.fullmatch(value) for name, value in kept):
        raise UsageError("a header is a name and a value on one line")
    kept.append((REPLAY.encode(), str(exchange.id if exchange else 0).encode()))
    if body or method not in {b"GET", b"HEAD", b"OPTIONS", b"DELETE"}:
        kept.append((b"Content-Length", str(len(body)).encode()))
    kept.append((b"Connection", b"close"))
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *(n + b": " + v for n, v in kept), b"", b""]) + body


async def send(
    raw: bytes,
    target: Target,
    copier: Copier,
    *,
    before: Callable[[], Awaitable[None]] | None = None,
    own: bool = False,
    replay_of: int = 0,
    seconds: float = ANSWER_SECONDS,
) -> Exchange:
    """Send `raw` to the service and return the exchange, kept as those of visitors are; raise PrxError for no answer.

    `before` is awaited when the service has taken the connection, before the first byte is written. `own`: it is a check
    of prx's own. `replay_of`: the id of the request that it repeats; 0: of none. `seconds`: until the
    answer begins.
    """
    tee = Tee(copier, own=own, replay_of=replay_of)
    try:
        async with asyncio.timeout(seconds) as limit:
            reader, writer = await asyncio.open_connection(
                target.host, target.port, ssl=target.context(), server_hostname=target.server_name or None
            )
            try:
                if before is not None:
                    await before()
                copier.read_now(tee, VISITOR, raw)
                writer.write(raw)  # not awaited: a service may answer before it has read all, or never read it
                begun = False
                while not tee.idle and (data := await reader.read(65536)):
                    copier.read_now(tee, SERVICE, data)
                    if not begun and tee.first is not None and tee.first.status:
                        begun = True
                        limit.reschedule(asyncio.get_running_loop().time() + END_SECONDS)
            finally:
                writer.transport.abort()
    except Exception as error:  # whatever the reason, the service was not asked, or has not answered
        if tee.first is None or not tee.first.status:  # an answer that does not end is one, too
            copier.read_now(tee, SERVICE, None)
            raise _no_answer(target, error, seconds) from error
        if isinstance(error, TimeoutError):  # it was prx that ended it
            copier.give_up(tee, f"the answer did not end within {END_SECONDS:g} s, and was read no further")
    copier.read_now(tee, SERVICE, None)
    if tee.first is None or not tee.first.status:
        raise PrxError(f"the service at {target.authority} ended the connection without an answer")
    return tee.first


def _no_answer(target: Target, error: Exception, seconds: float) -> PrxError:
    """Return why there is no answer: the service was not asked, or it took too long."""
    if isinstance(error, TimeoutError) and not str(error):
        return PrxError(
            f"the service at {target.authority} has not answered within {seconds:g} s",
            hint="it may have done what was asked all the same; Cloudflare gives up on a visitor after that time, too",
        )
    return PrxError(f"the service at {target.authority} cannot be asked: {str(error) or type(error).__name__}")


def _bytes(edit: dict[str, Any], key: str, default: bytes) -> bytes:
    value = edit.get(key)
    return default if value is None else str(value).encode("utf-8", "surrogateescape")


def _edited(edit: dict[str, Any], target: bytes, masks: Masks) -> bytes:
    given = _bytes(edit, "path", target)
    return target if given == masks.text(target.decode("utf-8", "replace")).encode() else given


def _edited_headers(edit: dict[str, Any], headers: list[tuple[bytes, bytes]], masks: Masks) -> list[tuple[bytes, bytes]]:
    if "headers" not in edit:
        return headers
    came: dict[tuple[str, str], list[bytes]] = {}  # two cookies may look alike once they are hidden
    for name, value in headers:
        text = name.decode("utf-8", "replace")
        came.setdefault((text, masks.header(text, value.decode("utf-8", "replace"))), []).append(value)
    try:
        given = [(str(name), str(value)) for name, value in edit["headers"]]
    except (TypeError, ValueError):
        raise UsageError("headers must be pairs of name and value") from None
    return [(name.encode(), came[key].pop(0) if came.get(key := (name, value)) else value.encode()) for name, value in given]


def _edited_body(edit: dict[str, Any], body: bytes, shown: bytes) -> bytes:
    if "body" not in edit:
        return body
    try:
        given = base64.b64decode(str(edit["body"]), validate=True)
    except ValueError:
        raise UsageError("body must be base64") from None
    return body if given == shown else given
