"""Find the root certificates that this connector trusts, the same for HTTP/2, for QUIC and for services with TLS.

They are searched in the places in which Go searches, so that what makes cloudflared trust an edge makes this connector trust it
too: the file of `SSL_CERT_FILE` and the folders of `SSL_CERT_DIR` (with `:` between them), and for each that is not set what
OpenSSL was built with. cloudflared adds roots of Cloudflare's own, which it carries in its program; this connector has none of
them.
"""

from __future__ import annotations

import os
import re
import ssl
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import load_pem_x509_certificate

_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_MAX_BYTES: Final = 16 << 20  # of one file


def system_roots(environment: Mapping[str, str] = os.environ) -> bytes:
    """Return the certificates of the system as PEM, each once; empty if there are none that can be read.

    They are read once in the life of the process, as Go does. One that breaks RFC 5280 so that `cryptography` objects to it, as
    some roots of the nineties do, is left out: QUIC could not use it.
    """
    return _read(environment.get("SSL_CERT_FILE", ""), environment.get("SSL_CERT_DIR", ""))


@lru_cache(maxsize=8)
def _read(file: str, folders: str) -> bytes:
    found: dict[bytes, None] = {}
    for path in _files(file, folders):
        try:
            if not path.is_file():  # a FIFO would be waited for
                continue
            with path.open("rb") as opened:
                content = opened.read(_MAX_BYTES)
        except OSError:
            continue
        found.update(dict.fromkeys(_BLOCK.findall(content)))
    return b"".join(block + b"\n" for block in found if _readable(block))


def _files(file: str, folders: str) -> Iterator[Path]:
    built_in = ssl.get_default_verify_paths()
    yield Path(file or built_in.openssl_cafile)
    for folder in (folders or built_in.openssl_capath).split(":"):
        if folder and Path(folder).is_dir():
            yield from sorted(path for path in Path(folder).iterdir() if path.is_file())


def _readable(block: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            load_pem_x509_certificate(block)
        except (ValueError, CryptographyDeprecationWarning):
            return False
    return True


def trust_system(context: ssl.SSLContext, environment: Mapping[str, str] = os.environ) -> None:
    """Make a TLS context trust the system's roots."""
    if roots := system_roots(environment):
        context.load_verify_locations(cadata=roots.decode("ascii"))
