"""The one rule for everything that prx reads or runs: who could have put it there.

Theory of operation. What prx *finds* by itself (a `prx.toml` in the current folder, the user's own configuration, a script
beside it) is used only if the person who runs prx, or root, alone could have put it there. So the file and every folder on the
way to it, those of links included, must belong to one of them and be closed to the writing of others. In a sticky folder such
as /tmp others can add names but not take ours away, so there the owner of what is found decides. git guards foreign
repositories in the same way (git-config(1), safe.directory), with the same exception: root who came by sudo may use what
belongs to the user in SUDO_UID.

What the user has *named* (`-c FILE`, PRX_CONFIG, an absolute path) is their choice and may belong to another user, as files do
that are mounted into a container. What every user can write is refused in both.

Three things seem a fault and are none. A group that is its owner's alone (useradd(8), user private groups) goes with the
umask 002. What lies on a read-only mount and belongs to root or to us cannot be written, whatever its mode says; ConfigMap
volumes are like that. And a sticky folder, as above.

Everything here is a function of facts, which `prx.files.walk` gathers.
"""

from __future__ import annotations

import enum
import os
import stat
from collections.abc import Callable, Mapping
from typing import Final

from prx.core.value import Value, value_class

_EVERYBODY: Final = stat.S_IWOTH
_GROUP: Final = stat.S_IWGRP
_MOUNT_POINTS: Final = ("/run/secrets/", "/var/run/secrets/")  # where Docker, Podman and Kubernetes mount secrets
_VOLUME_LINK: Final = "..data"  # in Kubernetes' volumes: leads to the folder of the moment, and is replaced at each rotation


class Claim(enum.Enum):
    """How prx came to a file: `FOUND` by itself, or `NAMED` by the user."""

    FOUND = "found"
    NAMED = "named"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Part(Value):
    """One folder, link or file on the way: where it is, and what the system says of it.

    mode: with the kind. links: the number of its hard links. read_only: it lies on a file system that is mounted read-only.
    acl: an access list may give rights to more users than the mode says; looked for only if the group may write.
    """

    path: str
    uid: int
    gid: int
    mode: int
    links: int = 1
    read_only: bool = False
    acl: bool = False
    identity: tuple[int, int] = (0, 0)  # device and inode

    def __str__(self) -> str:
        return f"owner {self.uid}, mode {stat.S_IMODE(self.mode):04o}"


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Way(Value):
    """The way to a file, without links in it: the folders from / on, and the links that were followed, each with its folder.

    `file` is None if there is nothing (yet). No folders at all: the file was handed over open (/dev/fd/N).
    """

    folders: tuple[Part, ...]
    links: tuple[tuple[Part, Part], ...]
    file: Part | None


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Fault(Value):
    """What is wrong with a way, in words that follow the name of the file, and the command that repairs it."""

    words: str
    remedy: str


def trusted_uids(environ: Mapping[str, str], euid: int | None = None) -> frozenset[int]:
    """Return the users who may have put there what is found: root, we, and the user behind sudo."""
    me = os.geteuid() if euid is None else euid
    sudo = environ.get("SUDO_UID", "")
    behind = {int(sudo)} if me == 0 and sudo.isascii() and sudo.isdigit() and len(sudo) <= 10 else set()
    return frozenset({0, me} | behind)


PrivateGroup = Callable[[int, int], bool]
"""Whether the second argument, a group, has no member but the first, a user."""


def fault(way: Way, claim: Claim, uids: frozenset[int], is_private: PrivateGroup) -> Fault | None:
    """Return what speaks against using what lies at the end of `way`; None if nothing does.

    `uids` are those of `trusted_uids`.
    """
    judge = _Judge(claim, uids, is_private)
    about = f"{way.file}:" if way.file else "not there yet:"
    if way.file and (words := judge.of_file(way.file, way.folders[-1] if way.folders else None)):
        return Fault(f"{about} it {words}", judge.remedy(way.file))
    for folder in way.folders:
        if words := judge.of_folder(folder):
            return Fault(f"{about} it lies below {folder.path} ({folder}), which {words}", judge.remedy(folder))
    for link, folder in way.links:
        if judge.of_link(link, folder):
            words = "belongs to another user, in a folder where everybody can make one"
            return Fault(f"{about} it is reached through the link {link.path} ({link}), which {words}", f"remove {link.path}")
    return None


@value_class(frozen=True, slots=True, eq=False, repr=False)
class _Judge(Value):
    claim: Claim
    uids: frozenset[int]
    is_private: PrivateGroup

    def of_file(self, file: Part, folder: Part | None) -> str:
        if self.claim is Claim.FOUND and file.uid not in self.uids:
            return f"belongs to another user, expected {self._people()}"
        if words := self.written_by(file):
            return f"can be written by {words}"
        if self.claim is Claim.FOUND and folder and file.links > 1 and self._is_shared(folder):
            return f"has {file.links} names, and one of them may have been put into {folder.path} by another user"
        return ""

    def of_folder(self, folder: Part) -> str:
        if self.claim is Claim.FOUND and folder.uid not in self.uids:
            return f"belongs to another user, who can put any file there; expected {self._people()}"
        if folder.mode & stat.S_ISVTX:
            return ""
        words = self.written_by(folder)
        return f"can be written by {words}, who can put any file there" if words else ""

    def of_link(self, link: Part, folder: Part) -> bool:
        return self.claim is Claim.FOUND and link.uid not in self.uids and self._is_shared(folder)

    def written_by(self, part: Part) -> str:
        """Name those who can write `part` and should not; empty: none."""
        if part.read_only and part.uid in self.uids:
            return ""
        if part.mode & _EVERYBODY:
            return "everybody"
        if self.claim is Claim.NAMED or not part.mode & _GROUP:
            return ""
        if part.acl:
            return f"group {part.gid}, or users in its access list"
        return "" if self.is_private(part.uid, part.gid) else f"group {part.gid}"

    def remedy(self, part: Part) -> str:
        if self.claim is Claim.FOUND and part.uid not in self.uids:
            return f"chown {max(self.uids)} {part.path}"
        if part.mode & _EVERYBODY:
            return f"chmod o-w {part.path}"
        return f"chmod g-w {part.path}" if part.mode & _GROUP else f"make a copy of {part.path}"

    def _is_shared(self, folder: Part) -> bool:
        return bool(folder.mode & stat.S_ISVTX and folder.mode & (_EVERYBODY | _GROUP)) and not folder.read_only

    def _people(self) -> str:
        users = " or ".join(f"user {uid}" for uid in sorted(self.uids - {0}))
        return f"{users} or root" if users else "root"


def is_mounted_secret(way: Way, uids: frozenset[int]) -> bool:
    """Return whether the file is a secret as containers mount them: it may be readable to all, since only root can change it.

    That is: it belongs to root, no one else can write it or a folder on the way, and it lies on a read-only mount, below
    /run/secrets, or in a Kubernetes volume. Below /run/secrets, on a read-only mount, it may belong to any user: Compose mounts
    a file of the host as it is.
    """
    file = way.file
    if file is None or not way.folders:
        return False
    known = file.path.startswith(_MOUNT_POINTS)
    volume = any(link.path.rpartition("/")[2] == _VOLUME_LINK and link.uid == 0 for link, _ in way.links)
    if file.uid != 0 and not (known and file.read_only):
        return False
    if file.mode & (_GROUP | _EVERYBODY) and not file.read_only:
        return False
    return (known or volume or file.read_only) and folders_are_closed(way, uids)


def folders_are_closed(way: Way, uids: frozenset[int]) -> bool:
    """Return whether only `uids` can turn a link on the way elsewhere, or put another file in the place of this one."""
    judge = _Judge(Claim.FOUND, uids, lambda _uid, _gid: False)
    return not any(judge.of_folder(folder) for folder in way.folders) and not any(
        judge.of_link(link, folder) for link, folder in way.links
    )
