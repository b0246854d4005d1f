"""Sign in to Cloudflare, or to the lab's stand-in, for one command."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prx.app.cloudflare.keeping import Keeping
from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.client import Client
from prx.cloudflare_api.credentials import Credentials, find_credentials
from prx.core.errors import PrxError
from prx.runtime.host.clock import SystemClock
from prx.runtime.host.terminal import has_terminal
from prx.secrets.sources import SecretSources
from prx.secrets.value import Secret
from prx.ui.errors import hide, print_note
from prx.ui.prompt import ask_password
from prx.ui.say import complain

if TYPE_CHECKING:
    from prx.cloudflare_api.oauth import Tokens


@dataclass(frozen=True, slots=True)
class SignIn:
    """How the command line says to sign in. lab: a lab's control URL; None: Cloudflare itself."""

    token_from: str = ""
    cert: Path | bool = False
    lab: bool = False
    lab_control: str = ""


def keeping_of(environ: Mapping[str, str]) -> Keeping:
    """Return the secrets manager, which asks for its password if there is a terminal."""
    return Keeping(environ, ask_password if has_terminal() else None)


def credentials_for(how: SignIn, environ: Mapping[str, str], keeping: Keeping, base: Path) -> Credentials:
    """Return the token that the command works with, and see to it that it is shown nowhere."""
    lab = _of_lab(how.lab_control) if how.lab else None
    if lab is not None and not (how.token_from or how.cert):
        found = lab  # and not a token of the environment, which is Cloudflare's own
    else:
        sources = SecretSources(lookup=keeping.lookup, environ=environ, base=base)
        found = find_credentials(
            environ,
            sources.resolve,
            token_from=how.token_from,
            cert=how.cert,
            signed_in=lambda: keeping.signed_in(lambda tokens: _renewed(tokens, environ)),
        )
        found = found if lab is None else replace(found, base=lab.base)
    hide([found.token.reveal()])
    if found.warning:
        complain(f"warning: {found.warning}")
    return found


@contextmanager
def api_for(credentials: Credentials) -> Iterator[Api]:
    """Yield the API for a token."""
    with Client(credentials.token, base=credentials.base, say=print_note) as client:
        yield Api(client)


def _of_lab(control: str) -> Credentials:
    from prx.app.lab_client import ask

    state = ask(control or None, "GET", "/state")
    try:
        return Credentials(Secret(state["api_token"]), "the lab", str(state["api"]))
    except (KeyError, TypeError):
        raise PrxError("the lab that answers serves no API", hint="end it, and start it again with this prx: prx lab") from None


def _renewed(tokens: Tokens, environ: Mapping[str, str]) -> Tokens:
    from prx.app.cloudflare.login import dash_of
    from prx.cloudflare_api.oauth import exchange

    form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh.reveal(), "client_id": tokens.client_id}
    return exchange(dash_of(environ), form, now=SystemClock().wall)


def interactive() -> bool:
    """Return whether a question can be asked and answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()
