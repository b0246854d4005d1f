"""The secrets manager, as a set-up uses it: opened once, asked for its password at most once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Final

from prx.cloudflare_api.credentials import LOGIN_ENTRY
from prx.config.paths import data_dir, ensure_private_dir, private_dir
from prx.core.errors import CredentialError
from prx.core.tunnel_token import TokenError, TunnelToken
from prx.runtime.host.clock import SystemClock
from prx.secrets.errors import SecretError, SecretNotFoundError
from prx.secrets.keys import MASTER_KEY_VARIABLE, KeyFinder, system_keyring
from prx.secrets.store import SecretStore
from prx.secrets.value import Secret

if TYPE_CHECKING:
    from prx.cloudflare_api.oauth import Tokens

_LONGEST_NAME: Final = 64


class Keeping:
    """Entries of the secrets manager in the data directory."""

    def __init__(self, environ: Mapping[str, str], ask: Callable[[bool], Secret] | None) -> None:
        self._environ = environ
        self._ask = ask

    @cached_property
    def store(self) -> SecretStore:
        """The store; nothing is opened yet."""
        return SecretStore(private_dir(data_dir(self._environ)), KeyFinder.from_environment(self._environ, self._ask))

    def lookup(self, name: str) -> Secret:
        """Return an entry; SecretError if there is none."""
        return self.store.get(name).value

    def names(self) -> frozenset[str]:
        """Return which entries there are."""
        return frozenset(self.store.entries())

    def tunnel_of(self, name: str) -> str:
        """Return the id of the tunnel whose token an entry holds; empty if there is none, or it is another secret."""
        with suppress(SecretNotFoundError, TokenError):
            return str(TunnelToken.decode(self.lookup(name).reveal()).tunnel_id)
        return ""

    def text_of(self, name: str) -> str:
        """Return what an entry holds that is no secret, such as a client id; empty if there is none."""
        with suppress(SecretNotFoundError):
            return self.lookup(name).reveal()
        return ""

    def require_key(self) -> None:
        """Raise SecretError if there is neither a key for a first entry nor a terminal to ask for one; nothing is changed."""
        if self.store.path.exists() or self._environ.get(MASTER_KEY_VARIABLE) or self._ask is not None:
            return
        if system_keyring() is None:
            raise SecretError(
                "tokens are kept in the secrets manager, and there is neither a keyring nor a master password for it",
                hint=f"run the command on a terminal to be asked for a password, or set {MASTER_KEY_VARIABLE}",
            )

    def prepare(self) -> None:
        """Raise SecretError if an entry could not be stored: before anything is made at Cloudflare, not after."""
        self.require_key()
        ensure_private_dir(data_dir(self._environ))
        self.store.prepare()

    def keep(self, name: str, value: Secret) -> None:
        """Store an entry."""
        self.store.set(name, value)

    def drop(self, name: str) -> None:
        """Delete an entry; one that is gone is fine."""
        with suppress(SecretNotFoundError):
            self.store.delete(name)

    # -- the sign-in of `prx login` ------------------------------------------------------------------------------

    def signed_in(self, renew: Callable[[Tokens], Tokens]) -> Secret | None:
        """Return the access token of `prx login`, renewed if it has ended; None if there was no sign-in."""
        from prx.cloudflare_api.oauth import Tokens

        if not self.store.path.exists() or LOGIN_ENTRY not in self.names():
            return None
        tokens = Tokens.read(self.lookup(LOGIN_ENTRY))
        if tokens.is_fresh(SystemClock().wall()):
            return tokens.access
        if not tokens.refresh:
            raise CredentialError("the sign-in at Cloudflare has ended", hint="prx login")
        renewed = renew(tokens)
        self.keep(LOGIN_ENTRY, renewed.to_text())
        return renewed.access


def entry_of(hostname: str) -> str:
    """Return the name of the entry for a tunnel's token, when the user has named none."""
    import hashlib

    name = f"prx-{hostname}"
    if len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:50]}-{hashlib.sha256(hostname.encode()).hexdigest()[:8]}"
