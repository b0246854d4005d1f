"""The places in which prx searches for its configuration and keeps its own files.

    config file   -c FILE, else PRX_CONFIG, else ./prx.toml, else $XDG_CONFIG_HOME/prx/config.toml
                  (for a user without a home PRX_DATA_DIR/config.toml)
    data          PRX_DATA_DIR, else $XDG_DATA_HOME/prx
    runtime       PRX_DATA_DIR/run if PRX_DATA_DIR is set, else $XDG_RUNTIME_DIR/prx, else run in the data directory

The defaults of the XDG variables, and the rule that a relative path in one of them is ignored, are those of the XDG Base
Directory Specification 0.8. Standard library only: `prx url` and `prx status` import this module and must stay fast.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from prx.core.errors import PermanentError, UsageError, refused
from prx.core.shortage import lack_of
from prx.core.value import Value, value_class
from prx.files.people import expanded, home_folder
from prx.files.presence import is_there
from prx.files.rule import Claim

LOCAL_NAME = "prx.toml"
PRIVATE_MODE = 0o700


@value_class(frozen=True, slots=True, eq=False, repr=False)
class ConfigPlace(Value):
    """A configuration file, and how prx came to it: that decides whose file it may be (`prx.files.rule`)."""

    path: Path
    claim: Claim


def find_config(
    explicit: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> ConfigPlace | None:
    """Return the configuration file to read, or None if there is none.

    A file that the user named (`explicit`, else PRX_CONFIG) is returned whether it exists or not, so that the loader can say
    that it is missing. The two usual places count only if something is there; a user without a home has one of them.
    """
    env = os.environ if environ is None else environ
    if explicit is not None:
        return ConfigPlace(explicit, Claim.NAMED)
    if named := env.get("PRX_CONFIG"):
        return ConfigPlace(expanded(named, env), Claim.NAMED)
    local = Path(LOCAL_NAME) if cwd is None else cwd / LOCAL_NAME
    if _is_there(local):
        return ConfigPlace(local, Claim.FOUND)
    try:
        usual = user_config_file(env)
    except PermanentError:
        return None
    return ConfigPlace(usual, Claim.FOUND) if _is_there(usual, {errno.EACCES}) else None


def _is_there(path: Path, closed: Collection[int] = ()) -> bool:
    """Return whether something lies at `path`; also if that is not known for now: a bad disk is not an empty one.

    closed: further errors that mean as much. A current folder that is closed is one in which prx happens to stand; the usual
    place is the user's own, and a tunnel that came up with the defaults would lack the guards of the file in it.
    """
    try:
        return is_there(path)
    except OSError as error:
        return lack_of(error) is not None or error.errno in closed


def config_file(explicit: Path | None = None, environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Path | None:
    """Return the path that `find_config` finds."""
    place = find_config(explicit, environ, cwd)
    return place.path if place else None


def user_config_file(environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of the user's own configuration file, which need not exist.

    For a user without a home it lies in PRX_DATA_DIR; PermanentError if that is not set either.
    """
    env = os.environ if environ is None else environ
    try:
        return _xdg(env, "XDG_CONFIG_HOME", ".config") / "prx" / "config.toml"
    except PermanentError:
        if not env.get("PRX_DATA_DIR"):
            raise
    return data_dir(env) / "config.toml"


def data_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory of lasting files (state, secrets, downloaded programs), absolute; it is not created here.

    Raises PermanentError for a user without a home, if PRX_DATA_DIR does not name it.
    """
    env = os.environ if environ is None else environ
    if named := env.get("PRX_DATA_DIR"):
        return _absolute(expanded(named, env))
    return _xdg(env, "XDG_DATA_HOME", ".local/share") / "prx"


def runtime_dir(environ: Mapping[str, str] | None = None) -> Path:
    """Return the directory of sockets and locks, absolute; it is not created here."""
    env = os.environ if environ is None else environ
    shared = env.get("XDG_RUNTIME_DIR", "")
    if not env.get("PRX_DATA_DIR") and shared.startswith("/"):
        return Path(shared) / "prx"
    return data_dir(env) / "run"


def ensure_private_dir(path: Path) -> Path:
    """Create `path` with mode 0700, parents included, or make an existing one of ours private; return it.

    Raises PrxError if the machine has no room for it now. PermanentError if it cannot be created otherwise, is a symbolic link,
    is no directory, or belongs to another user: each of these would let another user read or replace what is kept there.
    """
    try:
        for parent in reversed(path.parents):  # `parents=True` of mkdir gives its mode to the last one alone
            if not os.path.lexists(parent):
                parent.mkdir(mode=PRIVATE_MODE, exist_ok=True)
        if not os.path.lexists(path):
            path.mkdir(mode=PRIVATE_MODE, exist_ok=True)
        found = path.lstat()
    except OSError as error:
        raise refused(f"cannot create the directory {path}: {error.strerror}", error, hint=_OTHER_DIRECTORY) from error
    _refuse_foreign(path, found)
    if stat.S_IMODE(found.st_mode) != PRIVATE_MODE:
        path.chmod(PRIVATE_MODE)
    return path


def private_dir(path: Path) -> Path:
    """Return `path` for a command that only reads: an existing directory is checked as above, and none is made."""
    return ensure_private_dir(path) if os.path.lexists(path) else path


_OTHER_DIRECTORY = "set PRX_DATA_DIR to a directory of your own"


def _refuse_foreign(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise PermanentError(f"{path} is a symbolic link, expected a directory", hint=_OTHER_DIRECTORY)
    if not stat.S_ISDIR(found.st_mode):
        raise PermanentError(f"{path} is a file, expected a directory", hint=_OTHER_DIRECTORY)
    if found.st_uid != os.geteuid():
        raise PermanentError(
            f"{path} belongs to user {found.st_uid}, expected user {os.geteuid()}, who runs prx", hint=_OTHER_DIRECTORY
        )


def _xdg(environ: Mapping[str, str] | None, variable: str, fallback: str) -> Path:
    env = os.environ if environ is None else environ
    named = env.get(variable, "")
    if named.startswith("/"):
        return Path(named)
    return _absolute(home_folder(env) / fallback)


def _absolute(path: Path) -> Path:
    """Return `path` from the root: the child runs in another folder."""
    try:
        return path.absolute()
    except OSError as error:
        words = f"{path}: cannot be found, as the current folder does not exist any more"
        raise refused(words, error, hint="change into another one: cd ~", kind=UsageError) from error
