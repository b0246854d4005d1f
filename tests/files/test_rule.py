"""The one rule, as a function of facts: who could have put it there."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from prx.files.rule import Claim, Part, Way, fault, is_mounted_secret, trusted_uids

ME, ROOT, STRANGER = 1000, 0, 4242
UIDS = frozenset({ROOT, ME})
FILE = Part("/srv/app/prx.toml", ME, ME, stat.S_IFREG | 0o600)
SLASH = Part("/", ROOT, ROOT, stat.S_IFDIR | 0o755)
SRV = Part("/srv", ROOT, ROOT, stat.S_IFDIR | 0o755)
APP = Part("/srv/app", ME, ME, stat.S_IFDIR | 0o755)
GOOD = Way((SLASH, SRV, APP), (), FILE)


def said(way: Way, claim: Claim = Claim.FOUND, *, private: bool = False) -> str:
    """Return what speaks against a way; empty: nothing."""
    found = fault(way, claim, UIDS, lambda uid, gid: private and uid == gid)
    return found.words if found else ""


def changed(part: Part, mode: int) -> Part:
    """Return a part with other permission bits."""
    return replace(part, mode=stat.S_IFMT(part.mode) | mode)


def test_what_only_we_could_have_put_there_is_used() -> None:
    """Our file in our folder below root's is good, found or named; so is root's."""
    assert not said(GOOD)
    assert not said(GOOD, Claim.NAMED)
    assert not said(replace(GOOD, file=replace(FILE, uid=ROOT, mode=stat.S_IFREG | 0o644)))


FOREIGN = {
    "the file": replace(GOOD, file=replace(FILE, uid=STRANGER)),
    "its folder": replace(GOOD, folders=(SLASH, SRV, replace(APP, uid=STRANGER))),
    "a folder above": replace(GOOD, folders=(SLASH, replace(SRV, uid=STRANGER), APP)),
    "the owner of a sticky folder": replace(GOOD, folders=(SLASH, replace(changed(SRV, 0o1777), uid=STRANGER), APP)),
    "a link in a sticky folder": replace(
        GOOD, links=((Part("/tmp/prx.toml", STRANGER, STRANGER, stat.S_IFLNK | 0o777), changed(SRV, 0o1777)),)
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_another_user_is_refused_where_found_and_accepted_where_named(what: str) -> None:
    """A stranger's file, folder or link could lead prx anywhere, unless the user has named it."""
    words = said(FOREIGN[what])
    assert "belongs to another user" in words
    assert f"owner {STRANGER}" in words
    assert not said(FOREIGN[what], Claim.NAMED)


WRITABLE = {
    "the file": replace(GOOD, file=changed(FILE, 0o666)),
    "its folder": replace(GOOD, folders=(SLASH, SRV, changed(APP, 0o777))),
    "a folder above": replace(GOOD, folders=(SLASH, changed(SRV, 0o757), APP)),
    "a folder of the way to a link": replace(GOOD, folders=(SLASH, changed(SRV, 0o777), SLASH, SRV, APP)),
}


@pytest.mark.parametrize("claim", Claim)
@pytest.mark.parametrize("what", WRITABLE)
def test_what_everybody_can_write_is_refused_in_both(what: str, claim: Claim) -> None:
    """A file, or any folder on the way, that everybody can write is not trusted."""
    assert "can be written by everybody" in said(WRITABLE[what], claim)


def test_in_a_sticky_folder_the_owner_decides() -> None:
    """Others can add to /tmp, but not take away or replace what is ours there."""
    shared = Part("/tmp", ROOT, ROOT, stat.S_IFDIR | 0o1777)
    assert not said(Way((SLASH, shared), (), FILE))
    assert "belongs to another user" in said(Way((SLASH, shared), (), replace(FILE, uid=STRANGER)))
    assert "has 2 names" in said(Way((SLASH, shared), (), replace(FILE, links=2)))
    assert not said(Way((SLASH, SRV, APP), (), replace(FILE, links=2)))


def test_a_private_group_is_no_fault_and_another_is() -> None:
    """Under umask 002 files are writable by the owner's private group; a shared group, or an access list, is other users."""
    for way in (
        replace(GOOD, file=changed(FILE, 0o664)),
        replace(GOOD, folders=(SLASH, SRV, changed(APP, 0o775))),
    ):
        assert not said(way, private=True)
        assert "can be written by group 1000" in said(way)
        assert not said(way, Claim.NAMED)
    assert "access list" in said(replace(GOOD, file=changed(replace(FILE, acl=True), 0o664)), private=True)


def test_a_read_only_mount_of_ours_cannot_be_written() -> None:
    """A ConfigMap's folder has mode 0777; the mount is read-only, and root's."""
    volume = Part("/etc/prx", ROOT, ROOT, stat.S_IFDIR | 0o777, read_only=True)
    file = replace(FILE, uid=ROOT, mode=stat.S_IFREG | 0o644, read_only=True)
    assert not said(Way((SLASH, volume), (), file))
    assert said(Way((SLASH, replace(volume, uid=STRANGER)), (), file), Claim.NAMED)
    assert said(Way((SLASH, replace(volume, read_only=False)), (), file))


def test_a_way_that_ends_nowhere_is_judged_by_its_folders() -> None:
    """A file that prx is to make must not be made where others could exchange it."""
    assert not said(replace(GOOD, file=None))
    assert "belongs to another user" in said(Way((SLASH, replace(SRV, uid=STRANGER)), (), None))


@pytest.mark.parametrize(
    ("euid", "environ", "trusted"),
    [
        (1000, {}, {0, 1000}),
        (0, {}, {0}),
        (0, {"SUDO_UID": "1000"}, {0, 1000}),
        (1000, {"SUDO_UID": "4242"}, {0, 1000}),
        (0, {"SUDO_UID": "-1"}, {0}),
        (0, {"SUDO_UID": "x" * 99}, {0}),
        (0, {"SUDO_UID": "9" * 40}, {0}),
    ],
)
def test_root_who_came_by_sudo_may_use_what_the_user_has(euid: int, environ: dict[str, str], trusted: set[int]) -> None:
    """Only for root does SUDO_UID name another trusted user, as for git."""
    assert trusted_uids(environ, euid) == trusted


SECRET = Part("/run/secrets/token", ROOT, ROOT, stat.S_IFREG | 0o444)
RUN = (SLASH, Part("/run", ROOT, ROOT, stat.S_IFDIR | 0o755), Part("/run/secrets", ROOT, ROOT, stat.S_IFDIR | 0o755))
ELSEWHERE = replace(SECRET, path="/srv/token")
VOLUME = ((Part("/srv/..data", ROOT, ROOT, stat.S_IFLNK | 0o777), SRV),)


@pytest.mark.parametrize(
    ("way", "accepted"),
    [
        (Way(RUN, (), SECRET), True),
        (Way(RUN, (), replace(SECRET, uid=STRANGER)), False),
        (Way(RUN, (), replace(SECRET, uid=STRANGER, read_only=True)), True),
        (Way(RUN, (), changed(SECRET, 0o446)), False),
        (Way((SLASH, SRV), (), ELSEWHERE), False),
        (Way((SLASH, SRV), (), replace(ELSEWHERE, read_only=True)), True),
        (Way((SLASH, SRV), (), replace(ELSEWHERE, read_only=True, uid=STRANGER)), False),
        (Way((SLASH, SRV), VOLUME, ELSEWHERE), True),
        (Way((SLASH, SRV), VOLUME, replace(ELSEWHERE, uid=ME)), False),
        (Way((SLASH, replace(SRV, uid=STRANGER)), VOLUME, ELSEWHERE), False),
        (Way((*RUN[:2], changed(RUN[2], 0o777)), (), SECRET), False),
        (Way((), (), SECRET), False),
    ],
)
def test_secrets_as_containers_mount_them(way: Way, accepted: bool) -> None:
    """Readable to all is accepted exactly where only root can change it: read-only mounts, /run/secrets, Secret volumes."""
    assert is_mounted_secret(way, UIDS) is accepted
