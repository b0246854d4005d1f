"""Turn what a configuration says into the secret that it means.

    secret:NAME          an entry of prx's own secrets file
    file:PATH            a file that only its owner (root or us) can read
    env:NAME             an environment variable
    cmd:PROGRAM ARG …    what a program prints: `op`, `pass`, `vault` …; words split as a shell does, but no shell runs
    credential:NAME      a systemd credential: a file of that name in $CREDENTIALS_DIRECTORY
    anything else        the secret itself

Line ends and a byte order mark around the value are dropped, and of a pasted `cloudflared … eyJ…` line only the token stays.
Every failure is a SecretError that names the reference and the defect, never the content. This blocks (files, programs): from
an event loop, call it in a thread.
"""

from __future__ import annotations

import functools
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from prx.core.errors import PrxError
from prx.core.value import Value, value_class
from prx.files.people import expanded
from prx.files.rule import Claim
from prx.secrets.command import run_for_secret
from prx.secrets.errors import SecretError
from prx.secrets.files import clean_text, read_private
from prx.secrets.pasted_token import extract_token
from prx.secrets.value import Secret

if TYPE_CHECKING:
    from prx.secrets.store import SecretStore

PREFIXES: Final = ("secret", "file", "env", "cmd", "credential")
# What prx itself is given in the environment, and no helper program needs.
OWN_VARIABLES: Final = ("PRX_MASTER_KEY", "CLOUDFLARE_TUNNEL_TOKEN", "TUNNEL_TOKEN", "CF_ACCESS_CLIENT_SECRET")

# What prx is given there and others may use, too: shown nowhere, and left to the user's own service.
SHARED_VARIABLES: Final = ("CLOUDFLARE_API_TOKEN",)

Lookup = Callable[[str], Secret]


def split_reference(text: str) -> tuple[str, str]:
    """Return prefix and rest of a reference, such as ("env", "NAME"); the prefix is empty for plain text."""
    prefix, colon, rest = text.partition(":")
    return (prefix, rest.strip()) if colon and prefix in PREFIXES else ("", text)


def is_reference(secret: Secret) -> bool:
    """Return whether what should be a secret is still the reference to one, as no program was to be run for it."""
    return bool(split_reference(secret.reveal())[0])


def own_secrets(environ: Mapping[str, str]) -> list[str]:
    """Return the secrets that stand in prx's own variables, without those that are references."""
    given = (environ.get(name, "").strip() for name in (*OWN_VARIABLES, *SHARED_VARIABLES))
    return [value for value in given if value and not split_reference(value)[0]]


def describe(text: str) -> str:
    """Return where a secret comes from, fit for showing: the reference, of a command its program only, never plain text."""
    prefix, rest = split_reference(text)
    if not prefix:
        return "plain text"
    return f"cmd:{_program(rest)}" if prefix == "cmd" else f"{prefix}:{rest}"


def _program(command: str) -> str:
    words = command.split(maxsplit=1)
    return f"{words[0]} …" if len(words) > 1 else command


def store_lookup(folder: Path, environ: Mapping[str, str], ask: Callable[[bool], Secret] | None = None) -> Lookup:
    """Make the lookup for `secret:NAME` in the data directory `folder`; the file is opened at its first use, not before."""

    @functools.cache
    def store() -> SecretStore:
        from prx.secrets.keys import KeyFinder  # noqa: PLC0415 - most configurations need no cryptography library
        from prx.secrets.store import SecretStore  # noqa: PLC0415 - the same

        return SecretStore(folder, KeyFinder.from_environment(environ, ask))

    return lambda name: store().get(name).value


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogatepass")  # undecodable bytes of the environment become a clear complaint later


@value_class(frozen=True, slots=True, eq=False, repr=False)
class SecretSources(Value):
    """Resolve references against one environment.

    `lookup` answers `secret:NAME` (see `store_lookup`); relative paths start at `base`, in which commands run, too; `timeout`
    bounds a command in seconds.
    """

    lookup: Lookup | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    base: Path = Path()
    timeout: float = 10.0

    def resolve(self, text: str) -> Secret:
        """Return the secret that `text` means; SecretError when it cannot be had."""
        prefix, rest = split_reference(text)
        place = describe(text)
        if prefix and not rest:
            raise SecretError(f"{prefix}: names nothing, expected {prefix}:NAME")
        readers: dict[str, Callable[[str], bytes]] = {
            "file": self._from_file,
            "env": self._from_environment,
            "cmd": self._from_command,
            "credential": self._from_credential,
            "": _encoded,
        }
        if prefix == "secret":
            return self._from_store(rest)
        return Secret(extract_token(clean_text(readers[prefix](rest), place), place))

    def _from_store(self, name: str) -> Secret:
        if self.lookup is None:
            raise SecretError(f"secret:{name}: the secrets file is not in use here")
        return self.lookup(name)

    def _from_file(self, path: str) -> bytes:
        named = self._expanded(path)
        claim = Claim.NAMED if named.is_absolute() else Claim.FOUND
        return read_private(self.base / named, claim=claim, environ=self.environ)

    def _expanded(self, path: str) -> Path:
        try:
            return expanded(path, self.environ)
        except PrxError as error:
            raise SecretError(f"file:{path}: {error.message}", hint="write the whole path") from None

    def _from_environment(self, name: str) -> bytes:
        if name not in self.environ:
            raise SecretError(f"env:{name}: the environment variable is not set")
        return _encoded(self.environ[name])

    def _from_command(self, command: str) -> bytes:
        try:
            argv = shlex.split(command)
        except ValueError as error:
            raise SecretError(f"cmd:{_program(command)}: {str(error).lower()}") from None
        environment = {name: value for name, value in self.environ.items() if name not in (*OWN_VARIABLES, *SHARED_VARIABLES)}
        return run_for_secret(argv, environment, timeout=self.timeout, folder=self.base)

    def _from_credential(self, name: str) -> bytes:
        folder = self.environ.get("CREDENTIALS_DIRECTORY", "")
        if not folder:
            raise SecretError(
                f"credential:{name}: $CREDENTIALS_DIRECTORY is not set",
                hint=f"add LoadCredential={name}:/path to the systemd unit",
            )
        if name in {".", ".."} or "/" in name:
            raise SecretError(f"credential:{name}: expected the name of one file, without a slash")
        return read_private(Path(folder) / name, allow_group=True, claim=Claim.NAMED, environ=self.environ)
