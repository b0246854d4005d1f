"""What the user database says: whose groups are private, and where a home is."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from prx.core.errors import PermanentError

NO_HOME = "set PRX_DATA_DIR to a directory of your own, or HOME"


def is_private_group(uid: int, gid: int) -> bool:
    """Return whether group `gid` is the private group of user `uid`: theirs by name and by default, with no other member.

    The group of root counts as one whatever the database says of system users: only root can add a member.
    """
    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    if user.pw_gid != gid or group.gr_name != user.pw_name or set(group.gr_mem) - {user.pw_name}:
        return False
    return gid == 0 or not any(other.pw_gid == gid and other.pw_uid != uid for other in pwd.getpwall())


def home_folder(environ: Mapping[str, str] | None = None) -> Path:
    """Return the user's home: HOME, else what the user database says.

    Raises PermanentError if there is neither, as for a container's arbitrary uid.
    """
    home = (os.environ if environ is None else environ).get("HOME")
    if home:
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        words = f"user {os.getuid()} has no home: HOME is not set, and the user database does not know this user"
        raise PermanentError(words, hint=NO_HOME) from None


def expanded(path: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return `path` with a leading `~` or `~USER` replaced; PermanentError if that home is not known."""
    first, _, rest = path.partition("/")
    if not first.startswith("~"):
        return Path(path)
    if first == "~":
        return home_folder(environ) / rest
    try:
        return Path(pwd.getpwnam(first[1:]).pw_dir) / rest
    except KeyError:
        raise PermanentError(f"{path}: there is no user {first[1:]!r}", hint=f"./{path} names a file of that name") from None
