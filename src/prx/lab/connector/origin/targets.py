"""Write a request's target as cloudflared sends it to a service: percent-encoded as Go's URLs are. Pure.

A path whose characters are all allowed goes on untouched. One that has others (`|`, `^`, `"`, bytes above 0x7f …) is decoded
and encoded again as a whole, by which other escapes of it change too: `%2F` becomes `/`. The query goes on as it came. A path
with a broken escape, and control characters anywhere, are refused. Observed with cloudflared 2026.8.2; rules of Go's net/url.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

_ESCAPE: Final = re.compile(rb"%(?:[0-9A-Fa-f]{2})?")
_VALID: Final = re.compile(rb"[A-Za-z0-9\-_.~$&+,/:;=@!'()*\[\]%]*")
_KEPT: Final = "-_.~$&+,/:;=@"  # what is not encoded in a path that is encoded again
_CONTROL: Final = re.compile(rb"[\x00-\x1f\x7f]")


class TargetError(ValueError):
    """The target is no URL."""


def go_target(target: bytes) -> bytes:
    """Return the target as Go writes it; raise TargetError for one that Go refuses, or that would break the request line."""
    if _CONTROL.search(target):
        raise TargetError("net/url: invalid control character in URL")
    path, question, query = target.partition(b"?")
    if b" " in query:
        raise TargetError("the query holds a space")
    if path == b"*":
        return target
    for escape in _ESCAPE.finditer(path):
        if len(escape[0]) == 1:
            found = path[escape.start() : escape.start() + 3].decode("latin-1")
            raise TargetError(f'invalid URL escape "{found}"')
    if not _VALID.fullmatch(path):
        path = quote_from_bytes(unquote_to_bytes(path), safe=_KEPT).encode("ascii")
    return path + question + query
