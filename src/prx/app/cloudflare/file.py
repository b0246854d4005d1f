"""The configuration file of a set-up: which one it is, what it says of a host name, and how it is written."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from prx.cloudflare_api.plan import FileState
from prx.cloudflare_api.wishes import Wish, token_wish
from prx.config.edit import NamedTunnel, with_tunnel, without_tunnel
from prx.config.load import Loaded, load
from prx.config.paths import LOCAL_NAME, ConfigPlace, find_config
from prx.config.schema import TunnelSettings
from prx.core.errors import ConfigError, PrxError, UsageError, refused
from prx.files.reading import read_trusted
from prx.files.replace import require_replaceable, write_new, write_whole
from prx.files.rule import Claim
from prx.secrets.sources import split_reference

_LIMIT: Final = 1 << 20
_NEW_MODE: Final = 0o600
_SOME_AUD: Final = "0" * 64  # stands for a tag that is not known yet


@dataclass(frozen=True, slots=True)
class SetupFile:
    """The file that says, or is to say, what there is. text is empty if it does not exist yet.

    environ: the variables that it is read with.
    """

    path: Path
    exists: bool
    text: str
    loaded: Loaded
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    def hostnames(self) -> list[str]:
        """Return the host names of the named tunnels in it."""
        named = (item.cloudflare for item in self.loaded.config.tunnels.values() if item.cloudflare.mode == "named")
        return [item.hostname for item in named if item.hostname]

    def settings(self, hostname: str) -> TunnelSettings:
        """Return what it says of a host name, or if it says nothing, of the tunnel that has none yet."""
        tunnels = self.loaded.config.tunnels.values()
        known = next((item for item in tunnels if item.cloudflare.hostname == hostname), None)
        if known is not None:
            return known
        free = next((item for item in tunnels if not item.cloudflare.hostname and item.backend == "cloudflare"), None)
        return free or TunnelSettings()

    def entry(self, hostname: str) -> str:
        """Return the entry of the secrets manager that it names for the tunnel's token; empty if it names none."""
        settings = self.settings(hostname)
        prefix, rest = split_reference(settings.cloudflare.token.reveal())
        return rest if prefix == "secret" and settings.cloudflare.hostname == hostname else ""

    def entries_of_access(self) -> frozenset[str]:
        """Return the entries of the secrets manager that `[access]` names, with whose values prx itself passes Access."""
        access = self.loaded.config.access
        references = (split_reference(text) for text in (access.client_id, access.client_secret.reveal()))
        return frozenset(rest.removesuffix("-id") for prefix, rest in references if prefix == "secret")

    def state(self, wanted: NamedTunnel) -> FileState:
        """Return in words what would be written; ConfigError if `prx start` would refuse the file then."""
        changes = with_tunnel(self.text, wanted, self.environ)[1]
        if changes:
            whole = replace(wanted, aud=wanted.aud or _SOME_AUD)
            self._require_sound(with_tunnel(self.text, whole, self.environ)[0])
        return FileState(str(self.path), self.exists, changes)

    def _require_sound(self, text: str) -> None:
        try:
            load(self.path, self.environ, tokens_follow=True, text=text)
        except ConfigError as error:
            hint = "prx setup would write it so: change the file first, or let another be written: --write FILE"
            raise ConfigError(error.problems, hint=hint) from None

    def write(self, wanted: NamedTunnel) -> None:
        """Write the tunnel into the file as it is now."""
        self._put(with_tunnel(self._now(), wanted, self.environ)[0])

    def state_without(self, hostname: str, aud: str) -> FileState:
        """Return in words what a removal would take away."""
        return FileState(str(self.path), self.exists, without_tunnel(self.text, hostname, aud, self.environ)[1])

    def clean(self, hostname: str, aud: str) -> None:
        """Take away what no longer exists at Cloudflare."""
        self._put(without_tunnel(self._now(), hostname, aud, self.environ)[0])

    def require_writable(self) -> None:
        """Raise PrxError if `write` would fail for its folder: before anything is made at Cloudflare, not after."""
        try:
            require_replaceable(self.path.resolve())
        except OSError as error:
            raise self._unwritable(error) from None

    def _now(self) -> str:
        return _read(self.path, Claim.NAMED) if self.path.exists() else ""

    def _put(self, text: str) -> None:
        target = self.path.resolve()  # a link into a folder of dotfiles stays one
        try:
            if target.exists():
                write_whole(target, text.encode(), mode=stat.S_IMODE(target.stat().st_mode))
            else:
                write_new(target, text.encode(), mode=_NEW_MODE)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> PrxError:
        hint = "let another file be written: --write FILE"
        return refused(f"cannot write {self.path}: {(error.strerror or str(error)).lower()}", error, hint=hint, kind=PrxError)


def open_file(write: Path | None, environ: Mapping[str, str]) -> SetupFile:
    """Return the file that `--write` names, else the one that `prx start` reads here, else a prx.toml of this folder."""
    place = find_config(write, environ) or ConfigPlace(Path(LOCAL_NAME), Claim.FOUND)
    exists = place.path.exists()
    loaded = load(place.path if exists else None, environ, tokens_follow=True, claim=place.claim)
    return SetupFile(place.path, exists, _read(place.path, place.claim) if exists else "", loaded, environ)


def _read(path: Path, claim: Claim) -> str:
    try:
        return read_trusted(path, claim, limit=_LIMIT).data.decode("utf-8-sig")  # as it is read for `prx start`
    except UnicodeDecodeError:
        raise UsageError(f"{path}: expected UTF-8 text") from None


def wish_of(
    hostname: str,
    settings: TunnelSettings,
    *,
    local_addr: str = "",
    allow: tuple[str, ...] = (),
    public_paths: tuple[str, ...] = (),
    service_tokens: tuple[str, ...] = (),
) -> Wish:
    """Return what is wanted: what the command line says, else what the file says."""
    if local_addr:
        settings = settings.changed(local_addr=local_addr)
    said = settings.access
    tokens = tuple(token_wish(text) for text in service_tokens or said.service_tokens)
    wish = Wish(
        hostname,
        settings.origin_url,
        origin_request(settings),
        allow or said.allow,
        public_paths or said.public_paths,
        tokens,
    )
    if wish.public_paths and not wish.is_protected:
        raise UsageError(
            "--public-path leaves a part open of what is protected, and nothing is", hint="give --allow you@example.com, too"
        )
    if len({token.name for token in tokens}) < len(tokens):
        raise UsageError("--service-token names one token twice", hint="give each machine a name of its own")
    return wish


def origin_request(settings: TunnelSettings) -> dict[str, Any]:
    """Return the keys of `originRequest` that say how the service is reached."""
    keys: dict[str, Any] = {}
    if settings.host_header:
        keys["httpHostHeader"] = settings.host_header
    if settings.origin.scheme == "https":
        if not settings.origin_is_verified:
            keys["noTLSVerify"] = True
        if settings.origin_ca:
            keys["caPool"] = settings.origin_ca
        if settings.origin_server_name:
            keys["originServerName"] = settings.origin_server_name
    return keys


def tunnel_of(wish: Wish, *, local_addr: str, entry: str, team: str, aud: str, former_aud: str) -> NamedTunnel:
    """Return what the file is to say."""
    texts = [f"{item.name}=secret:{item.kept_as}" if item.kept_as else item.name for item in wish.service_tokens]
    return NamedTunnel(
        hostname=wish.hostname,
        local_addr=local_addr,
        token=f"secret:{entry}",
        allow=wish.allow,
        public_paths=wish.public_paths,
        service_tokens=texts,
        is_protected=wish.is_protected,
        team=team,
        aud=aud,
        former_aud=former_aud,
    )
