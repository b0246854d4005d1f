"""Where the API token comes from, in this order: a reference that was given, a cert.pem that was asked for, the variable
CLOUDFLARE_API_TOKEN, a sign-in by `prx login`, a cert.pem that lies there already.

A token never stands on a command line: what is given there is a reference (`secret:`, `file:`, `env:`, `cmd:`, `credential:`).
"""  # noqa: D205 - the order is the point

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prx.cloudflare_api.cert import CANNOT, find_cert, read_cert
from prx.cloudflare_api.client import BASE, FED_BASE
from prx.cloudflare_api.rights import how_to_get
from prx.core.errors import CredentialError, UsageError
from prx.secrets.sources import describe, split_reference
from prx.secrets.value import Secret

VARIABLE: Final = "CLOUDFLARE_API_TOKEN"
API_VARIABLE: Final = "PRX_CLOUDFLARE_API"
_SDK_VARIABLE: Final = "CLOUDFLARE_BASE_URL"
LOGIN_ENTRY: Final = "cloudflare-login"
_WORD: Final = re.compile(r"[A-Za-z0-9_.~+/=-]{20,4096}")
_GLOBAL_KEY: Final = re.compile(r"cfk_.*|[0-9a-f]{37}")

Resolve = Callable[[str], Secret]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A token, and where it is from (`words`). account_id, zone_id: of a cert.pem, which cannot do more (`limits`)."""

    token: Secret
    words: str
    base: str = BASE
    account_id: str = ""
    zone_id: str = ""
    limits: str = ""
    warning: str = ""


def api_of(environ: Mapping[str, str], usual: str = BASE) -> str:
    """Return the address of the API: prx's own setting, else that of Cloudflare's SDK (`prx lab env` sets it), else `usual`."""
    return environ.get(API_VARIABLE) or environ.get(_SDK_VARIABLE) or usual


def find_credentials(
    environ: Mapping[str, str],
    resolve: Resolve,
    *,
    token_from: str = "",
    cert: Path | bool = False,
    signed_in: Callable[[], Secret | None] = lambda: None,
) -> Credentials:
    """Return the token to use; CredentialError if there is none.

    resolve: turns a reference into the secret. cert: a file, or True for the one that lies there. signed_in: gives the token
    of `prx login`, fresh, or None.
    """
    base = api_of(environ)
    if token_from and cert:
        raise UsageError("--token-from and --cert both say where the token comes from", hint="leave out one of the two")
    if token_from:
        if not split_reference(token_from)[0]:
            raise UsageError(
                "--token-from takes a reference, never the token itself: every user of this machine sees command lines",
                hint="prx secret set cloudflare, then --token-from secret:cloudflare; or set CLOUDFLARE_API_TOKEN",
            )
        return Credentials(_checked(resolve(token_from), describe(token_from)), describe(token_from), base)
    if cert:
        return _of_cert(cert if isinstance(cert, Path) else find_cert(environ), environ)
    if given := environ.get(VARIABLE, "").strip():
        return Credentials(_checked(resolve(given), VARIABLE), VARIABLE, base)
    if (token := signed_in()) is not None:
        return Credentials(token, "prx login", base)
    if (path := find_cert(environ)) is not None:
        return _of_cert(path, environ)
    raise CredentialError(
        f"there is nothing to sign in to Cloudflare with: {VARIABLE} is not set, and no cert.pem lies in ~/.cloudflared",
        hint=f"make {how_to_get()}\n  then: read -rs {VARIABLE}; export {VARIABLE}",
    )


def _of_cert(path: Path | None, environ: Mapping[str, str]) -> Credentials:
    if path is None:
        raise CredentialError("no cert.pem lies in ~/.cloudflared", hint="`cloudflared tunnel login` makes one")
    cert = read_cert(path, environ)
    base = api_of(environ, FED_BASE if cert.fed else BASE)
    return Credentials(cert.token, str(path), base, cert.account_id, cert.zone_id, CANNOT, cert.warning)


def _checked(token: Secret, place: str) -> Secret:
    """Return the token; CredentialError names what is wrong with its form, never what stands there."""
    value = token.reveal().strip().removeprefix("Bearer ").strip().strip("\"'")
    if not value:
        raise CredentialError(f"{place}: the API token is empty")
    if _GLOBAL_KEY.fullmatch(value):
        raise CredentialError(
            f"{place} holds a global API key, which can do everything in every account; prx does not take it",
            hint=f"make {how_to_get()}",
        )
    if not _WORD.fullmatch(value):
        raise CredentialError(f"{place}: expected an API token, one word of at least 20 letters, digits, - and _")
    return Secret(value)
