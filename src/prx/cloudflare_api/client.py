"""One request to Cloudflare's API and what its answer means.

Theory of operation. GET is repeated freely; PUT, PATCH and DELETE give the same when they are repeated, so they are, too. A
POST is never repeated unless it surely had no effect: 429 (refused before anything happened), or no connection at all. What is
left is a `LostAnswerError`: the caller looks first. A rate limit is waited out as Cloudflare says (`retry-after`, else `t` of
`Ratelimit`, else 60 s), once. Both the status and `success` count; a proxy or an outage answers HTML, so nothing is taken for
JSON unseen (developers.cloudflare.com/fundamentals/api/reference/limits/, April 2026).

The token travels in one header of an https request, or to this machine itself. No redirect is followed.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx2

from prx import __version__
from prx.cloudflare_api.errors import ApiError, LostAnswerError, RateLimitedError, Refusal, UnreachableError, refused
from prx.cloudflare_api.rights import Right
from prx.config.this_machine import is_this_machine
from prx.core.errors import UsageError
from prx.core.numbers import whole
from prx.core.parsing import parse_json
from prx.core.shortage import lack_behind
from prx.files.outgoing import failure_words, making_client, trust_hint
from prx.secrets.value import Secret

BASE: Final = "https://api.cloudflare.com/client/v4"
FED_BASE: Final = "https://api.fed.cloudflare.com/client/v4"
_TIMEOUT: Final = 30.0
_SHORT_TIMEOUT: Final = 5.0
_PAUSES: Final = (0.5, 2.0, 8.0)  # seconds before the second, third and fourth try
_DEFAULT_WAIT: Final = 60.0
_LONGEST_WAIT: Final = 300.0  # after that the window of the limit is over in any case
_LIMIT_WAITS: Final = 1
_PAGES: Final = 200
_PER_PAGE: Final = 50
_RATELIMIT_T: Final = re.compile(r";\s*t=(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call gave: `result`, and `info` about pages (empty if there are none)."""

    result: Any
    info: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked: method, path below the base, and for errors words for it and the permission that it takes."""

    method: str
    path: str
    what: str
    right: Right


class Client:
    """Speak to the API at `base` with `token`.

    transport: for tests. sleep: waits. say: called with one line when there is something to wait for. patient: whether to try
    again, and to wait long for an answer.
    """

    def __init__(
        self,
        token: Secret,
        *,
        base: str = BASE,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = lambda _: None,
        patient: bool = True,
    ) -> None:
        require_safe(base)
        self.base = base.rstrip("/")
        self._sleep = sleep
        self._say = say
        self._pauses = _PAUSES if patient else ()
        self._limit_waits = _LIMIT_WAITS if patient else 0
        try:
            headers = {"Authorization": f"Bearer {token.reveal()}", "User-Agent": f"prx/{__version__}"}
            with making_client():
                self._http = httpx2.Client(
                    transport=transport,
                    headers=headers,
                    timeout=_TIMEOUT if patient else _SHORT_TIMEOUT,
                    follow_redirects=False,
                    trust_env=not is_this_machine(urlsplit(base).hostname or ""),
                )
        except UnicodeError:
            raise UsageError("the API token holds characters that no token has, expected letters, digits, - and _") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def request(self, call: Call, *, params: Mapping[str, Any] | None = None, body: Any = None) -> Reply:
        """Perform a call; ApiError if it is refused, or if no answer came."""
        limited, pauses = 0, iter(self._pauses)
        while True:
            answer = self._once(call, params, body)
            if isinstance(answer, httpx2.Response) and answer.status_code == 429 and limited < self._limit_waits:
                limited += 1
                self._wait_for_limit(call, answer)
                continue
            if isinstance(answer, httpx2.Response) and not _is_outage(answer):
                return _read(call, answer)
            pause = next(pauses, None)
            sent = isinstance(answer, httpx2.Response) or not _never_sent(answer)
            if pause is None or (call.method == "POST" and sent):
                raise _no_answer(call, answer, sent=sent)
            self._sleep(pause)

    def get(self, path: str, what: str, right: Right, **params: Any) -> Any:
        """Return the result of a GET."""
        return self.request(Call("GET", path, what, right), params=params).result

    def listed(self, path: str, what: str, right: Right, **params: Any) -> list[dict[str, Any]]:
        """Return all elements of a list, page by page; also of a server that knows no pages."""
        return list(self._pages(Call("GET", path, what, right), params))

    def _pages(self, call: Call, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        count = 0
        for page in range(1, _PAGES + 1):
            reply = self.request(call, params={**params, "page": page, "per_page": _PER_PAGE})
            found = [item for item in reply.result or () if isinstance(item, dict)]
            fresh = [item for item in found if str(item.get("id", item)) not in seen]
            yield from fresh
            seen.update(str(item.get("id", item)) for item in fresh)
            count += len(found)
            total = reply.info.get("total_count")
            size = reply.info.get("per_page", _PER_PAGE)
            if not reply.info or not fresh or (total is not None and count >= total) or len(found) < size:
                return

    def _once(self, call: Call, params: Mapping[str, Any] | None, body: Any) -> httpx2.Response | httpx2.RequestError:
        try:
            return self._http.request(call.method, f"{self.base}{call.path}", params=params, json=body)
        except httpx2.RequestError as error:  # DecodingError, too: what came cannot be read
            return error

    def _wait_for_limit(self, call: Call, answer: httpx2.Response) -> None:
        wait = wait_of(answer.headers)
        if wait > _LONGEST_WAIT:
            raise _refused(call, answer)
        self._say(f"Cloudflare asks to wait {wait:.0f} s before the next call")
        self._sleep(wait)


def require_safe(base: str) -> None:
    """Raise UsageError if a token must not be sent to `base`: it takes https, or this machine itself."""
    try:
        parts = urlsplit(base)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    if parts.scheme == "https" and host and "@" not in parts.netloc:
        return
    if parts.scheme == "http" and is_this_machine(host) and "@" not in parts.netloc:
        return
    raise UsageError(f"{base!r} cannot be the address of Cloudflare's API: expected https://…, or http:// on this machine")


def wait_of(headers: Mapping[str, str], otherwise: float = _DEFAULT_WAIT) -> float:
    """Return for how many seconds an answer 429 says to wait; `otherwise` if it does not say."""
    for text in (headers.get("retry-after", ""), *_RATELIMIT_T.findall(headers.get("ratelimit", ""))):
        if text.strip().isdecimal() and len(text.strip()) < 7:
            return float(text)
    return otherwise


def _is_outage(answer: httpx2.Response) -> bool:
    return answer.status_code >= 500 or answer.status_code == 408


def _never_sent(error: httpx2.RequestError) -> bool:
    return isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout | httpx2.UnsupportedProtocol)


def _no_answer(call: Call, answer: httpx2.Response | httpx2.RequestError, *, sent: bool) -> ApiError:
    hint = "check the network, or https://www.cloudflarestatus.com"
    if isinstance(answer, httpx2.Response):
        refusal = _refusal(answer)
        reason = f"Cloudflare's API answers {refusal}"
    else:
        refusal, hint = None, trust_hint(answer) or hint
        reason = f"no answer from Cloudflare's API ({failure_words(answer) or type(answer).__name__})"
        if lack := lack_behind(answer):
            reason, hint = f"{reason}: this machine gives prx {lack.words}", lack.hint
    if call.method == "GET" or not sent:
        return UnreachableError(call.what, refusal, reason=reason, hint=hint)
    reason += "; it is not known whether that was done"
    return LostAnswerError(call.what, refusal, reason=reason, hint="run the same command again: it reads first, and goes on")


def _read(call: Call, answer: httpx2.Response) -> Reply:
    document = _document(answer)
    good = answer.is_success and document is not None and document.get("success") is True
    if good and document is not None:
        info = document.get("result_info")
        return Reply(document.get("result"), info if isinstance(info, dict) else {})
    error = _refused(call, answer)
    if isinstance(error, RateLimitedError) or document is not None or not answer.is_success:
        raise error
    raise ApiError(call.what, _refusal(answer), reason="what answers is not Cloudflare's API: expected JSON")


def _refused(call: Call, answer: httpx2.Response) -> ApiError:
    error = refused(call.what, _refusal(answer), call.right)
    if isinstance(error, RateLimitedError):
        asked = wait_of(answer.headers, 0.0)
        minutes = math.ceil((asked or _LONGEST_WAIT) / 60)
        waiting = f"wait {'a minute' if minutes == 1 else f'{minutes} minutes'}{', as Cloudflare asks' if asked else ''}"
        error.hint = f"{waiting}, then run the same command again: it goes on where it stopped"
    return error


def _document(answer: httpx2.Response) -> dict[str, Any] | None:
    try:
        document = parse_json(answer.content)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _refusal(answer: httpx2.Response) -> Refusal:
    """Read status, first code and all words of an answer, whatever it is."""
    document = _document(answer) or {}
    errors = document.get("errors")
    found = [item for item in errors if isinstance(item, dict)] if isinstance(errors, list) else []
    for item in list(found):
        chain = item.get("error_chain")
        found += [inner for inner in chain if isinstance(inner, dict)] if isinstance(chain, list) else []
    words = "; ".join(str(item.get("message", ""))[:300] for item in found)
    code = str(found[0].get("code", "")) if found else ""
    return Refusal(answer.status_code, whole(code) or 0, words or answer.reason_phrase)
