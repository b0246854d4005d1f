"""The user database: private groups, and access lists behind them."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from pathlib import Path

import pytest

from prx.files import FileRefusedError
from prx.files.people import is_private_group
from prx.files.reading import require_trusted_path
from prx.files.rule import Claim

_ACL = "system.posix_acl_access"


def database(
    monkeypatch: pytest.MonkeyPatch, *, members: tuple[str, ...] = (), name: str = "ann", others: tuple[int, ...] = ()
) -> None:
    """Put a user ann (1000) and a group 1000 into the database, and others whose first group that is, too."""
    ann = pwd.struct_passwd(("ann", "x", 1000, 1000, "", "/home/ann", "/bin/sh"))
    rest = [pwd.struct_passwd((f"u{uid}", "x", uid, 1000, "", "/", "/bin/sh")) for uid in others]
    users = {user.pw_uid: user for user in [ann, *rest]}
    monkeypatch.setattr(pwd, "getpwuid", users.__getitem__)
    monkeypatch.setattr(pwd, "getpwall", lambda: list(users.values()))
    monkeypatch.setattr(grp, "getgrgid", {1000: grp.struct_group((name, "x", 1000, list(members)))}.__getitem__)


def test_a_group_of_ones_own_is_private(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where useradd made the group, with the user's name, only that user is in it."""
    database(monkeypatch)
    assert is_private_group(1000, 1000)
    database(monkeypatch, members=("ann",))
    assert is_private_group(1000, 1000)


def test_a_group_with_others_in_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member, another user with the same first group, another name, another group, an unknown user: each is another user."""
    database(monkeypatch, members=("bob",))
    assert not is_private_group(1000, 1000)
    database(monkeypatch, others=(1001,))
    assert not is_private_group(1000, 1000)
    database(monkeypatch, name="users")
    assert not is_private_group(1000, 1000)
    database(monkeypatch)
    assert not is_private_group(1000, 1001)
    assert not is_private_group(4242, 1000)


@pytest.mark.skipif(os.geteuid() != 0, reason="the group of root is private for root's files")
def test_an_access_list_lets_in_whom_the_mode_does_not_show(tmp_path: Path) -> None:
    """A file of mode 0664 in a private group is ours alone, until an access list gives another user the right to write."""
    path = tmp_path / "prx.toml"
    path.touch()
    path.chmod(0o664)
    require_trusted_path(path, Claim.FOUND)
    entries = ((0x01, 6, 0xFFFFFFFF), (0x02, 6, 4242), (0x04, 6, 0xFFFFFFFF), (0x10, 6, 0xFFFFFFFF), (0x20, 4, 0xFFFFFFFF))
    try:  # the kernel's form of an access list: linux/posix_acl_xattr.h
        os.setxattr(path, _ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries))
    except OSError:
        pytest.skip("no access lists on this file system")
    assert path.stat().st_mode & 0o777 == 0o664
    with pytest.raises(FileRefusedError, match="access list"):
        require_trusted_path(path, Claim.FOUND)
    require_trusted_path(path, Claim.NAMED)
