"""Which requests are meant: `method:POST path:/hook status:5xx body:order`, and `POST /hook` for short. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Final, TypeAlias

from prx.core.errors import UsageError
from prx.core.status_codes import StatusSet
from prx.traffic.coding import CODINGS, unpacked
from prx.traffic.exchange import Body, Exchange, coding_of
from prx.traffic.framing import Head

Fits: TypeAlias = Callable[[Exchange], bool]

_METHOD: Final = re.compile(r"[A-Z]{3,10}")
_HINT: Final = "prx requests --filter 'method:POST path:/hook status:5xx body:order header:x-event'"


def parse_filter(text: str) -> Fits:
    """Return whether an exchange fits every word of `text`; raise UsageError if it cannot be understood."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the filter {text!r} cannot be read: {error}", hint=_HINT) from error
    tests = [_test(word) for word in words]
    return lambda exchange: all(test(exchange) for test in tests)


def _test(word: str) -> Fits:
    key, colon, value = word.partition(":")
    if not colon and _METHOD.fullmatch(word):
        key, value = "method", word
    elif word.startswith("/"):
        key, value = "path", word
    match key:
        case "method":
            wanted = value.upper().encode()
            return lambda exchange: exchange.request is not None and exchange.request.method == wanted
        case "path":
            part = value.encode()
            return lambda exchange: exchange.request is not None and part in exchange.request.target
        case "status":
            return _status(value)
        case "body":
            piece = value.encode()
            return lambda exchange: any(
                _holds(piece, body, head)
                for body, head in ((exchange.request_body, exchange.request), (exchange.answer_body, exchange.answer))
            )
        case "header":
            line = value.lower().encode()
            return lambda exchange: any(line in head.raw.lower() for head in (exchange.request, exchange.answer) if head)
        case _:
            raise UsageError(f"found {word!r} in the filter, expected method:, path:, status:, body: or header:", hint=_HINT)


def _holds(piece: bytes, body: Body, head: Head | None) -> bool:
    """Return whether a body has a piece, as it came or as it is shown: without its content coding."""
    if piece in body.kept:
        return True
    coding = coding_of(head)
    if coding not in CODINGS or not body.kept:
        return False
    try:
        return piece in unpacked(bytes(body.kept), coding)
    except (ImportError, ValueError):
        return False


def _status(value: str) -> Fits:
    try:
        codes = StatusSet.parse(value)
    except ValueError as error:
        raise UsageError(
            f"found status:{value} in the filter, expected codes such as 404, 5xx or 400-499", hint=_HINT
        ) from error
    return lambda exchange: bool(exchange.status) and exchange.status in codes
