"""What a configuration names and prx could not use: checked without executing anything, for `prx config check`.

Each finding names the keys that it follows from, so that it is kept back only if one of these is itself mistaken.
`prx start` finds out the same when it needs each thing, and lets the other tunnels run.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prx.backends import create
from prx.config.load import Loaded
from prx.config.places import Finding
from prx.config.programs import DefectKind, defect_of
from prx.config.schema import DEFAULT_TUNNEL, TunnelSettings
from prx.core.errors import CredentialError, PrxError, ShortageError
from prx.core.shortage import lack_of
from prx.files.people import expanded
from prx.secrets.sources import is_reference

_OF_PROGRAMS = {
    DefectKind.QUOTES: "found a command whose quotes do not match, expected a command on one line",
    DefectKind.ABSENT: "found {0.program} ({0.why}), expected a program",
    DefectKind.NO_FILE: "found {0.program}, which is no file, expected a program",
    DefectKind.NOT_EXECUTABLE: "found {0.program}, which is not executable, expected a program (chmod +x {0.program})",
    DefectKind.REFUSED: "found {0.path} ({0.why}), expected a program that only you or root can have put there",
}

_FOLLOWS_FROM: Mapping[str, tuple[str, ...]] = {
    "cloudflare.token": ("backend", "cloudflare.mode"),
    "origin_ca": ("local_addr",),
}


def unusable(loaded: Loaded, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what of the configuration cannot be used as it is now; never a part of a secret.

    ShortageError if that cannot be found out for now.
    """
    folder = Path() if loaded.path is None else loaded.path.parent
    for name, settings in loaded.config.tunnels.items():
        table = ("tunnel",) if name == DEFAULT_TUNNEL and "tunnel.backend" in loaded.origins else ("tunnels", name)
        for key, text in _of_tunnel(settings, folder, environ):
            paths = [(*table, *item.split(".")) for item in (key, *_FOLLOWS_FROM.get(key, ()))]
            yield Finding(paths[0], tuple(paths), text)


def _of_tunnel(settings: TunnelSettings, folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    checks: dict[str, Callable[[], str]] = {
        "cloudflare.token": lambda: _token(settings),
        "origin_ca": lambda: _origin_ca(settings),
        "url_env_file": lambda: _env_file(settings.url_env_file, folder, environ),
    }
    for key, check in checks.items():
        if text := check():
            yield key, text
    for key in ("on_url", "on_change"):
        for command in getattr(settings, key):
            defect = defect_of(command, folder)
            if defect is not None and defect.kind in _OF_PROGRAMS:
                yield key, _OF_PROGRAMS[defect.kind].format(defect)


def _token(settings: TunnelSettings) -> str:
    token = settings.cloudflare.token
    if settings.backend != "cloudflare" or settings.cloudflare.mode != "named" or not token or is_reference(token):
        return ""
    try:
        _ = create(settings).tunnel_id
    except CredentialError as error:
        defect = error.message.partition(": ")[2] or error.message
        return f"found a token that cannot work ({defect}), expected a whole one: {error.hint}"
    return ""


def _origin_ca(settings: TunnelSettings) -> str:
    if not settings.origin_ca or settings.origin.scheme != "https":
        return ""
    from prx.runtime.probes.connect import ProbeError
    from prx.runtime.probes.origin import Trust

    try:
        if not stat.S_ISREG(Path(settings.origin_ca).stat().st_mode):
            return f"found {settings.origin_ca}, which is no file, expected a PEM file of certificates"
        Trust(True, Path(settings.origin_ca), "").context(settings.origin.host)
    except OSError as error:
        if lack := lack_of(error):
            words = f"{settings.origin_ca} cannot be read: {(error.strerror or str(error)).lower()}"
            raise ShortageError(words, hint=lack.hint) from error
        return f"found {settings.origin_ca} ({(error.strerror or str(error)).lower()}), expected a PEM file of certificates"
    except ProbeError as error:
        return f"found no certificate ({error.words}), expected a PEM file of certificates"
    return ""


def _env_file(named: str, folder: Path, environ: Mapping[str, str]) -> str:
    if not named:
        return ""
    try:
        path = folder / expanded(named, environ)
        if path.exists() and not path.is_file():
            return f"found {named}, which is no file, expected a dotenv file or a name for one"
        if not path.parent.is_dir():
            return f"found {named}, whose folder is not there, expected a dotenv file or a name for one"
    except (PrxError, OSError):
        return ""  # said when it is written
    return ""
