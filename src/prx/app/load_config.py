"""Load the configuration as commands need it: from the usual places, with its secrets."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prx.config.changes import require_no_loss
from prx.config.choice import chosen, name_kept, named
from prx.config.load import Also, Loaded, load
from prx.config.paths import ConfigPlace, data_dir, find_config
from prx.files.fingerprint import file_fingerprint
from prx.files.people import expanded
from prx.files.rule import Claim
from prx.secrets import FILE_NAME
from prx.secrets.errors import SecretError
from prx.secrets.sources import OWN_VARIABLES, Lookup, SecretSources, is_reference, own_secrets, store_lookup
from prx.secrets.value import Secret
from prx.ui import errors

_LONG_WORD = 16  # characters; shorter ones are the vocabulary of a command


class ConfigurationReader:
    """Read the configuration in `path` (None: the usual places), with `local_addr` in place of its own if it is given.

    `overrides`: values from the command line for other keys, by dotted name. `only`, `name`: see `prx.config.choice`.
    `otherwise`: what a tunnel is called that neither a file nor `name` names; empty: its port; None: as the schema says.
    For the lab a named tunnel needs no token, as the lab makes its own. Without `run_commands` no program is run for a secret.
    `also`: see `prx.config.load.load`.
    A master password is asked for on a terminal when the configuration is read first, and never again: what it opens stays
    open. Once a file has been read prx stays with it: another one that turns up, or its absence, changes nothing.
    """

    def __init__(
        self,
        path: Path | None,
        environ: Mapping[str, str],
        local_addr: str = "",
        *,
        overrides: Mapping[str, Any] = MappingProxyType({}),
        lab: bool = False,
        run_commands: bool = True,
        only: tuple[str, ...] = (),
        name: str = "",
        otherwise: str | None = None,
        also: Also = lambda _: (),
    ) -> None:
        self._only, self._name, self._otherwise = only, name, otherwise
        self._path = path
        self._environ = environ
        self._overrides = {**overrides, **({"tunnel.local_addr": local_addr} if local_addr else {})}
        self._lab = lab
        self._run_commands, self._also = run_commands, also
        self._may_ask = True
        self._place: ConfigPlace | None = None
        self._in_force: Loaded | None = None
        self._store: Lookup | None = None
        self._undeclared = ""  # what the tunnel that no file declared is called

    def read(self) -> Loaded:
        """Return the configuration as it stands now; raise ConfigError with every mistake. Blocks: files, programs, people.

        A file that has lost what is in force (`take`) is a mistake (`prx.config.changes`).
        """
        place = self._place or find_config(self._path, self._environ)
        loaded = self._with_names(chosen(self._load(place), only=self._only, name=self._name))
        if self._in_force is not None:
            require_no_loss(self._in_force, loaded)
        self._place, self._may_ask = place, False
        errors.hide(secret_forms(loaded, self._environ))
        return loaded

    def _with_names(self, loaded: Loaded) -> Loaded:
        if self._otherwise is None or self._name:
            return loaded
        loaded = named(loaded, self._otherwise)
        if self._in_force is None and not loaded.declares:
            self._undeclared = next(iter(loaded.config.tunnels))
        return name_kept(loaded, self._undeclared) if self._undeclared else loaded

    def take(self, loaded: Loaded) -> None:
        """Take in that a configuration is in force."""
        self._in_force = loaded

    def _load(self, place: ConfigPlace | None) -> Loaded:
        base = Path() if place is None else place.path.parent
        sources = SecretSources(lookup=self._lookup, environ=self._environ, base=base)
        return load(
            place.path if place else None,
            self._environ,
            self._overrides,
            resolve_secret=sources.resolve,
            tokens_follow=self._lab,
            claim=place.claim if place else Claim.FOUND,
            run_commands=self._run_commands,
            also=self._also,
        )

    def _lookup(self, name: str) -> Secret:
        if self._store is None:  # a user without a home has no data directory, and needs none for other secrets
            self._store = store_lookup(data_dir(self._environ), self._environ, self._ask if sys.stdin.isatty() else None)
        return self._store(name)

    def _ask(self, new: bool) -> Secret:
        if not self._may_ask:  # the panel of running tunnels is on the screen, where a prompt would not be seen
            raise SecretError("needs its master password", hint="restart prx to be asked for it, or set PRX_MASTER_KEY")
        from prx.ui.prompt import ask_password

        return ask_password(new)


def load_configuration(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    run_commands: bool = False,
    local_addr: str = "",
    also: Also = lambda _: (),
) -> Loaded:
    """Return the configuration for a command that reads it once and, unless it is asked to, executes nothing.

    `also`: further mistakes, as for `prx.config.load.load`.
    """
    return ConfigurationReader(path, environ, local_addr, run_commands=run_commands, also=also).read()


def secret_forms(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every secret of a configuration and of prx's own variables, in every form that must never be shown."""
    from prx.backends import create

    yield from own_secrets(environ)
    for secret in loaded.secrets:
        yield secret.reveal()
        yield from _long_words(secret.reveal())
    for settings in loaded.config.tunnels.values():
        if not is_reference(settings.cloudflare.token):
            yield from create(settings).secrets


def _long_words(text: str) -> Iterator[str]:
    """Yield the words of a secret command that may make all of it secret: what it runs may print one of them alone."""
    words = text.split()
    for word in words[1:]:
        value = word.partition("=")[2] if word.startswith("-") else word
        if len(value) >= _LONG_WORD and not value.startswith(("/", "~", ".")):
            yield value


def environment_for_service(loaded: Loaded, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the user's own service: that of prx, without what is meant for prx alone.

    Left out are the variables of prx's own secrets, and every one that holds a secret of the configuration (`env:NAME`).
    """
    secrets = {secret.reveal() for secret in loaded.secrets}
    return {name: value for name, value in environ.items() if name not in OWN_VARIABLES and value.strip() not in secrets}


def sources_seen(loaded: Loaded, environ: Mapping[str, str]) -> tuple[object, ...]:
    """Return what changes when a file changes that the configuration came from: its own, the secrets, those of `file:` keys."""
    base = Path() if loaded.path is None else loaded.path.parent
    named = [base / expanded(file, environ) for file in loaded.files]
    files = [*([loaded.path] if loaded.path else []), data_dir(environ) / FILE_NAME, *named]
    return tuple(file_fingerprint(file) for file in files)
