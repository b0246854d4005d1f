"""Who may ask the dashboard: links that work once, cookies, and the token of scripts; all come from one key in a private file.

`prx web --url` and `prx web --token` read the same file, so they need not ask the process that serves: who can read the file is
this user, who may stop the tunnels anyway. The key stays over restarts, and so do sessions.

    link     EXPIRY.NONCE.MAC      10 minutes, once
    cookie   EXPIRY.NONCE.MAC      7 days
    bearer   MAC                   as long as the key: delete the file to end all of them
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from prx.core.errors import PermanentError, refused
from prx.files.reading import read_plain
from prx.files.replace import write_new

LINK_SECONDS: Final = 600
COOKIE_SECONDS: Final = 7 * 86400
_KEY_BYTES: Final = 32
_LONGEST: Final = 200  # characters of anything that is presented


class Keys:
    """Make and check what opens the dashboard. `wall` returns seconds since 1970."""

    def __init__(self, key: bytes, wall: Callable[[], float]) -> None:
        self._key = key
        self._wall = wall
        self._used: dict[str, int] = {}  # links, until they would have expired anyway

    def link(self) -> str:
        """Return a word that opens the page once."""
        return self._dated("link", LINK_SECONDS)

    def cookie(self) -> str:
        """Return the value of a session's cookie."""
        return self._dated("cookie", COOKIE_SECONDS)

    def bearer(self) -> str:
        """Return the token that scripts send."""
        return self._mac("bearer")

    def use_link(self, word: str) -> bool:
        """Return whether `word` opens the page, and use it up."""
        expiry = self._expiry("link", word)
        if expiry is None or word in self._used:
            return False
        now = self._wall()
        self._used = {key: until for key, until in self._used.items() if until > now}
        self._used[word] = expiry
        return True

    def is_session(self, word: str) -> bool:
        """Return whether `word` is the cookie of a session."""
        return self._expiry("cookie", word) is not None

    def is_bearer(self, word: str) -> bool:
        """Return whether `word` is the token of scripts."""
        return hmac.compare_digest(word.encode(), self.bearer().encode())

    def _dated(self, kind: str, lasts: int) -> str:
        text = f"{int(self._wall()) + lasts}.{secrets.token_hex(8)}"
        return f"{text}.{self._mac(f'{kind}.{text}')}"

    def _expiry(self, kind: str, word: str) -> int | None:
        if len(word) > _LONGEST or not word.isascii():
            return None
        text, _, mac = word.rpartition(".")
        if not hmac.compare_digest(mac, self._mac(f"{kind}.{text}")):
            return None
        expiry = int(text.partition(".")[0])  # ours: the MAC says so
        return expiry if expiry > self._wall() else None

    def _mac(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def load_key(path: Path) -> bytes:
    """Return the key in `path`, which is made if it is missing; PermanentError if the file is damaged, or not private."""
    try:
        write_new(path, secrets.token_hex(_KEY_BYTES).encode())
    except FileExistsError:
        pass
    except OSError as error:
        raise refused(f"{path} cannot be written: {error.strerror}", error, hint="set PRX_DATA_DIR") from error
    try:
        found = read_plain(path, limit=1024, ours=True)
        key = bytes.fromhex(found.decode().strip())
    except OSError as error:
        raise refused(f"{path} cannot be read: {error.strerror}", error) from error
    except ValueError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise PermanentError(f"{path} is damaged: expected {2 * _KEY_BYTES} hex digits", hint="delete it; sessions end with it")
    return key
