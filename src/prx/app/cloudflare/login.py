"""`prx login`: sign in by browser, and keep the tokens in the secrets manager."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from prx.app.cloudflare.keeping import Keeping
from prx.cloudflare_api.credentials import LOGIN_ENTRY
from prx.cloudflare_api.oauth import DASH, PORTS, SCOPES, Callback, Pkce, ScopeRefusedError, Tokens, exchange, missing_scopes
from prx.cloudflare_api.rights import how_to_get
from prx.core.errors import CredentialError, UsageError
from prx.runtime.host.clock import SystemClock
from prx.ui.errors import hide, print_note

DASH_VARIABLE: Final = "PRX_CLOUDFLARE_DASH"
PATIENCE: Final = 300.0


def dash_of(environ: Mapping[str, str]) -> str:
    """Return where people sign in; another place only for tests and the lab."""
    return environ.get(DASH_VARIABLE) or DASH


def sign_in(
    client_id: str,
    dash: str,
    keeping: Keeping,
    *,
    open_page: Callable[[str], None],
    ports: tuple[int, ...] = PORTS,
    patience: float = PATIENCE,
) -> list[str]:
    """Sign in and keep the tokens; return the scopes that the user declined."""
    require_client(client_id)
    keeping.prepare()
    try:
        tokens = _signed_in(client_id, dash, open_page, ports, patience, lasting=True)
    except ScopeRefusedError:
        print_note("this OAuth client may have no refresh token; once more, without one")
        tokens = _signed_in(client_id, dash, open_page, ports, patience, lasting=False)
    hide([tokens.access.reveal(), *([tokens.refresh.reveal()] if tokens.refresh else [])])
    keeping.keep(LOGIN_ENTRY, tokens.to_text())
    if not tokens.refresh:
        minutes = max(0.0, tokens.expires_at - SystemClock().wall()) / 60
        print_note(f"this sign-in ends in {minutes:.0f} min: Cloudflare gave no refresh token")
    return missing_scopes(tokens)


def _signed_in(
    client_id: str, dash: str, open_page: Callable[[str], None], ports: tuple[int, ...], patience: float, *, lasting: bool
) -> Tokens:
    pkce = Pkce()
    with Callback(pkce.state, ports) as callback:
        open_page(pkce.url(dash, client_id, callback.redirect, lasting=lasting))
        try:
            code = callback.wait(patience)
        except ScopeRefusedError:
            if lasting:
                raise
            raise CredentialError(
                "Cloudflare grants this OAuth client less than prx needs",
                hint=f"register it with the scopes {' '.join(SCOPES)}",
            ) from None
        hide([code])
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback.redirect,
            "client_id": client_id,
            "code_verifier": pkce.verifier,
        }
        return exchange(dash, form, now=SystemClock().wall)


def require_client(client_id: str) -> None:
    """Raise UsageError if no OAuth client is set: there is none of prx's own, so the user's must be named."""
    if not client_id:
        ports = ", ".join(f"http://127.0.0.1:{port}/callback" for port in PORTS)
        raise UsageError(
            "prx login is off: it takes an OAuth client, and oauth_client_id names none",
            hint=f"register one (Manage Account › OAuth clients; public, redirect URLs {ports}) and set oauth_client_id;\n"
            f"  or use {how_to_get()}",
        )
