"""Where the unit file lies, and putting it there and taking it away."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from prx.core.errors import PermanentError, PrxError, UsageError, refused
from prx.files import FileRefusedError
from prx.files.people import home_folder
from prx.files.reading import read_plain
from prx.files.replace import write_whole
from prx.systemd.unit import MARK, Scope

NAME: Final = "prx.service"
_LARGEST: Final = 1 << 20  # bytes; a unit file has a few kilobytes
BOOTED: Final = Path("/run/systemd/system")  # there exactly where systemd runs the machine: sd_booted(3)
_HIDDEN: Final = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - what ProtectHome= and PrivateTmp= take away
_PRINT: Final = "prx service install --print shows the unit file; elsewhere let the machine's own supervisor run `prx start`"


def unit_path(scope: Scope, environ: Mapping[str, str]) -> Path:
    """Return where systemd looks for the unit file of `scope` (systemd.unit(5), unit file load path)."""
    if scope is Scope.SYSTEM:
        return Path("/etc/systemd/system") / NAME
    config = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(config) if config.startswith("/") else home_folder(environ) / ".config"
    return folder / "systemd" / "user" / NAME


def require_systemd() -> None:
    """Raise PermanentError if no systemd runs this machine."""
    if sys.platform != "linux" or not BOOTED.is_dir():
        raise PermanentError("this machine is not run by systemd, so there is no service to install", hint=_PRINT)


def require_reachable(path: Path, what: str) -> None:
    """Raise UsageError if a system service, which has a user of its own and sees no homes, could not read `path`."""
    where = path.resolve()
    hidden = next((hidden for hidden in _HIDDEN if where.is_relative_to(hidden)), None)
    if hidden is not None:
        raise UsageError(
            f"{what} {path} lies in {hidden}, which a system service cannot see",
            hint="put it elsewhere (such as /etc/prx or /opt/prx), or install a user service: prx service install --user",
        )
    for part in [where, *where.parents]:
        needed = 0o1 if part.is_dir() else 0o4
        if not part.stat().st_mode & needed:
            raise UsageError(
                f"{what} {path} cannot be read by the service, which has a user of its own: {part} is closed to others",
                hint=f"chmod o+{'x' if needed == 0o1 else 'r'} {part}; keep tokens out of it, as credential:NAME",
            )


def put(path: Path, text: str) -> bool:
    """Write the unit file in one step; False if it stands there already. A file that is not ours is refused."""
    present = read_ours(path)
    if present == text:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode(), mode=0o644)
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def take_away(path: Path) -> bool:
    """Remove the unit file; False if there is none. A file that is not ours is refused."""
    if read_ours(path) is None:
        return False
    try:
        path.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error
    return True


def read_ours(path: Path) -> str | None:
    """Return the text of our unit file, None if there is none; raise PrxError if it is not ours."""
    try:
        text = read_plain(path, limit=_LARGEST).decode()
    except FileNotFoundError:
        return None
    except FileRefusedError as error:
        raise PrxError(error.message, hint="move it away first, if it is not needed") from error
    except (OSError, UnicodeDecodeError) as error:
        raise refused(f"{path} cannot be read: {error}", error, kind=PrxError) from error
    if not text.startswith(MARK):
        raise PrxError(f"{path} was not written by prx", hint="move it away first, if it is not needed")
    return text


def _unwritable(path: Path, error: OSError) -> PrxError:
    root = "a system service needs root: sudo prx service …, or --user" if isinstance(error, PermissionError) else ""
    return refused(f"cannot write {path}: {(error.strerror or str(error)).lower()}", error, hint=root, kind=PrxError)
