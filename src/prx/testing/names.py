"""Names under `.localhost` lead to this machine, as RFC 6761 (6.3) asks of name resolution and as browsers and curl do.

Not every system's resolver does it (glibc without nss-myhostname does not), so Python's HTTP libraries would not find the lab's
names. All of them ask `socket.getaddrinfo`; while `localhost_names` is entered that function knows these names, and only these.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SUFFIX = ".localhost"
_NO_PROXY = ("no_proxy", "NO_PROXY")


@contextmanager
def localhost_names() -> Iterator[None]:
    """Resolve `….localhost` in this process, and bypass the HTTP proxies of the environment for it."""
    asked = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, family: int = 0, *args: Any, **options: Any) -> Any:
        if _is_local(host):
            host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        return asked(host, port, family, *args, **options)

    socket.getaddrinfo = getaddrinfo
    with _no_proxy():
        try:
            yield
        finally:
            socket.getaddrinfo = asked


def _is_local(host: object) -> bool:
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    return isinstance(name, str) and name.lower().removesuffix(".").endswith(_SUFFIX)


@contextmanager
def _no_proxy() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in _NO_PROXY}
    if any(name.lower().endswith("_proxy") for name in os.environ):
        os.environ.update({name: ",".join(filter(None, (value, _SUFFIX))) for name, value in before.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
