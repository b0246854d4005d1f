"""The team's public keys: fetched when needed, at most once a minute, and kept while their endpoint is down.

Cloudflare changes the signing key every 6 weeks and accepts the former one for 7 more days (developers.cloudflare.com,
"Validate JWTs"). So a fetch is due when there are no keys yet, when the keys are an hour old (a withdrawn key must go), or when
a token names a key that is not known (it may be new). Whatever strangers send, the endpoint is asked at most once a minute.
When it does not answer, the last good keys serve for 7 days; after that nothing is trusted any more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2
import jwt

from prx.core.deadline import Deadline
from prx.core.errors import UsageError
from prx.core.hosts import is_private_channel
from prx.core.parsing import parse_json

MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 32
MIN_KEY_BITS: Final = 2048
FRESH_SECS: Final = 3600.0
KEPT_SECS: Final = 7 * 86_400.0
PAUSE_SECS: Final = 60.0
_FETCH_SECS: Final = 10.0

_logger = logging.getLogger(__name__)


def fetch_document(url: str) -> bytes:
    """GET a small document: no redirect followed, 200 only, bounded in size and time; ValueError or httpx2.HTTPError else."""
    deadline = Deadline(time.monotonic, _FETCH_SECS)
    content = b""
    with httpx2.stream("GET", url, headers={"Accept-Encoding": "identity"}, follow_redirects=False, timeout=5.0) as answer:
        if answer.status_code != 200:
            raise ValueError(f"answers {answer.status_code}, expected 200")
        for chunk in answer.iter_raw():
            content += chunk
            if len(content) > MAX_DOCUMENT_BYTES:
                raise ValueError(f"sends more than {MAX_DOCUMENT_BYTES} bytes")
            if deadline.is_over:
                raise ValueError(f"takes longer than {_FETCH_SECS:g} seconds")
    return content


def checked_url(url: str) -> str:
    """Return the URL if keys from there can be trusted: https, or http to this machine (the lab). UsageError else."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_private_channel(parts.scheme, host):
        raise UsageError(f"cannot fetch Access keys from {url!r}: expected https://…")
    return url


class KeySet:
    """Public keys by their id, from a JWKS endpoint. Safe to use from several threads.

    `clock` is monotonic seconds; `fetch` returns the document's bytes or raises.
    """

    def __init__(
        self, url: str, *, clock: Callable[[], float] = time.monotonic, fetch: Callable[[str], bytes] = fetch_document
    ) -> None:
        self._url = checked_url(url)
        self._clock = clock
        self._fetch = fetch
        self._lock = threading.Lock()
        self._keys: Mapping[str, Any] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None

    def fetch_due(self, kid: str) -> bool:
        """Return whether asking for this key would go to the network, and so may block."""
        now = self._clock()
        if self._tried_at is not None and now - self._tried_at < PAUSE_SECS:
            return False
        if self._known(kid) is None:
            return True
        return self._fetched_at is None or (now - self._fetched_at >= FRESH_SECS and not self._lock.locked())

    def get(self, kid: str) -> Any | None:
        """Return the key, fetching if that is due; None when it is not known or when the keys are too old to be trusted.

        Only those wait for a running fetch whose key is not known yet.
        """
        if self.fetch_due(kid) and self._lock.acquire(blocking=self._known(kid) is None):
            try:
                if self._tried_at is None or self._clock() - self._tried_at >= PAUSE_SECS:  # else another thread was faster
                    self._refresh()
            finally:
                self._lock.release()
        return self._known(kid)

    def _known(self, kid: str) -> Any | None:
        too_old = self._fetched_at is None or self._clock() - self._fetched_at > KEPT_SECS
        return None if too_old else self._keys.get(kid)

    def _refresh(self) -> None:
        try:
            keys = parse_keys(self._fetch(self._url))
        except Exception as error:  # noqa: BLE001 - whatever happens to a fetch, the last good keys stay and requests go on
            _logger.warning("cannot fetch the Access keys from %s: %s", self._url, str(error) or type(error).__name__)
        else:
            self._keys, self._fetched_at = keys, self._clock()
        self._tried_at = self._clock()  # last: until now, threads that need the new key wait at the lock


def parse_keys(document: bytes) -> dict[str, Any]:
    """Return the usable keys of a JWKS by their id; ValueError when there is none.

    Usable: RSA of 2048 bits or more, for RS256 signatures, under an id that names no second key.
    """
    content = parse_json(document)
    listed = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise ValueError(f"does not hold a list of at most {MAX_KEYS} keys")
    ids = [entry.get("kid") for entry in listed if isinstance(entry, dict)]
    keys: dict[str, Any] = {}
    for entry in listed:
        if isinstance(entry, dict) and ids.count(entry.get("kid")) == 1 and (key := _rsa_key(entry)):
            keys[entry["kid"]] = key
    if not keys:
        raise ValueError("holds no usable key")
    return keys


def _rsa_key(entry: Mapping[str, Any]) -> Any | None:
    expected = {"kty": ("RSA",), "use": ("sig", None), "alg": ("RS256", None)}
    kid = entry.get("kid")
    if not isinstance(kid, str) or not kid or any(entry.get(name) not in values for name, values in expected.items()):
        return None
    try:
        public = {name: entry[name] for name in ("kty", "n", "e")}  # never a private part, whatever the document holds
        key = jwt.PyJWK.from_dict(public, algorithm="RS256").key
    except (jwt.PyJWTError, KeyError, ValueError, TypeError):
        return None
    return key if key.key_size >= MIN_KEY_BITS else None
