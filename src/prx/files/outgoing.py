"""What the environment says to an HTTP client, and what the system says when it gets no answer.

`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, `SSL_CERT_FILE` and `SSL_CERT_DIR` are read by the HTTP library when a client is made. A
mistake in one of them is for the user to repair: neither the network nor the disk nor prx is at fault. The library's own errors
say little; what the system or TLS said stands below them.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from prx.core.errors import REINSTALL, PermanentError, UsageError, unloaded
from prx.core.shortage import lack_for_module, lack_of
from prx.files.reading import require_ca_file

_REPAIR: Final = "set it right, or unset it for this command"

_TRUST: Final = (
    "if a proxy on the way inspects traffic, set SSL_CERT_FILE to a file with its authority; else compare this machine's "
    "clock: prx doctor"
)


@contextmanager
def making_client() -> Iterator[None]:
    """Make a client of httpx2 that trusts the environment in the block; UsageError names the variable that cannot be used.

    FileRefusedError if others can change the file of certificate authorities: what is sent would be theirs to read.
    """
    if ca_file := os.environ.get("SSL_CERT_FILE"):
        with suppress(OSError):  # a missing one is reported below
            require_ca_file(ca_file)
    try:
        yield
    except OSError as error:
        if not isinstance(error, ssl.SSLError) and lack_of(error) is not None:
            raise
        raise _no_authorities(error) from error
    except ImportError as error:
        if lack_for_module(error) is not None:
            raise
        if error.name is not None:  # Python names a module; the library, which wants one more for SOCKS, does not
            raise PermanentError(unloaded(error), hint=REINSTALL) from error
        raise _no_proxy() from error
    except Exception as error:
        if not _is_about_a_proxy(error):
            raise
        raise _no_proxy() from error


def _is_about_a_proxy(error: Exception) -> bool:
    import httpx2  # noqa: PLC0415 - its client is being made, so it is there

    # UnicodeError: of what is sent, not of where
    return isinstance(error, httpx2.InvalidURL | ValueError) and not isinstance(error, UnicodeError)


def _no_proxy() -> UsageError:
    words = "the proxy that HTTPS_PROXY or ALL_PROXY names cannot be used: expected http://HOST:PORT or https://HOST:PORT"
    return UsageError(words, hint=_REPAIR)


def _no_authorities(error: OSError) -> UsageError:
    found = [f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    why = "it holds no certificate" if isinstance(error, ssl.SSLError) else (error.strerror or str(error)).lower()
    return UsageError(
        f"the certificate authorities cannot be read ({', '.join(found) or 'of this system'}): {why}", hint=_REPAIR
    )


def failure_words(error: BaseException) -> str:
    """Return what TLS or the system said below an error of the HTTP library; empty if neither did."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS fails: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, OSError) and error.errno and error.strerror:
        # asyncio words its own failures; a resolver's numbers are negative and have words of their own
        return (os.strerror(error.errno) if error.errno > 0 else error.strerror).lower()
    below = _below(error)
    return failure_words(below) if below is not None else ""


def trust_hint(error: BaseException) -> str:
    """Return what helps if the other side was not trusted; empty if that was not what failed."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, ssl.SSLCertVerificationError):
        found = _below(found)
    return _TRUST if found is not None else ""


def _below(error: BaseException) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return error.exceptions[0]
    return error.__cause__ or error.__context__
