"""Without a descriptor prx learns nothing: what was not read, examined or tried is read, examined or tried again."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path

import pytest
import trustme
from tests.support.lacks import no_descriptors

from prx.config.schema import TunnelSettings
from prx.core.errors import ShortageError
from prx.core.launch import Launch
from prx.core.shortage import FOR_NOW
from prx.runtime.hooks.command import CommandHook
from prx.runtime.hooks.kinds import Change, HookError
from prx.runtime.origin_trust import OriginTrust
from prx.runtime.probes import connect
from prx.runtime.probes.connect import FailureKind, ProbeError, verifying_tls
from prx.runtime.process import spawn, version
from prx.runtime.process.identity import identify
from prx.runtime.process.orphans import ChildLedger, reap_stale
from prx.runtime.process.spawn import SpawnError

OPEN_FILES = FOR_NOW[24].hint


def test_authorities_that_could_not_be_read_are_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context without the system's CAs would call every certificate invalid for as long as prx runs: none is kept."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: ssl.DefaultVerifyPaths(str(file), "", "", str(file), "", ""))
    connect._context.cache_clear()
    with no_descriptors(), pytest.raises(ProbeError) as short:
        verifying_tls()
    assert short.value.trouble is FailureKind.SHORT
    assert connect._context.cache_info().currsize == 0
    verifying_tls()
    assert connect._context.cache_info().currsize == 1
    connect._context.cache_clear()


def test_a_program_that_could_not_be_examined_is_not_run(tmp_path: Path) -> None:
    """It may have been put there by others: that is examined again, and no license to run it."""
    program = tmp_path / "client"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    with no_descriptors(), pytest.raises(SpawnError) as short:
        version._require_trusted(str(program))
    assert (short.value.permanent, short.value.for_now, short.value.hint) == (False, True, OPEN_FILES)


async def test_a_hook_that_could_not_be_examined_is_tried_again(tmp_path: Path) -> None:
    """It is not run unexamined, and not given up."""
    hook = CommandHook("sh ./hook.sh", tmp_path, {"PATH": "/usr/bin:/bin"})
    (tmp_path / "hook.sh").write_text("exit 0\n")
    change = Change("web", "https://a.example", "")
    with no_descriptors(), pytest.raises(HookError) as short:
        await hook.deliver(change)
    assert not short.value.permanent
    assert "cannot be examined" in str(short.value)
    await hook.deliver(change)


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv is Linux's")
def test_a_trial_that_could_not_be_made_is_made_again() -> None:
    """What a program of the system can do, and what prx itself is, is found out once, but not by a failure of the machine's."""
    for cached in (spawn._setpriv, spawn._own_elf_kind):
        expected = cached()
        cached.cache_clear()
        with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
            cached()
        assert cached() == expected


async def test_children_that_could_not_be_seen_are_not_forgotten(tmp_path: Path) -> None:
    """The list of what an earlier prx has left stays as it is until it can be read: what it names is ended then."""
    ledger = tmp_path / "children.json"
    process = await asyncio.create_subprocess_exec("sleep", "60")
    ChildLedger(ledger).add(identify(process.pid), "web")
    before = ledger.read_bytes()
    with no_descriptors(), pytest.raises(ShortageError) as short:
        await reap_stale(ledger)
    assert short.value.hint == OPEN_FILES
    assert ledger.read_bytes() == before
    assert [orphan.identity.pid for orphan in await reap_stale(ledger)] == [process.pid]
    await process.wait()


def test_a_rotated_certificate_that_could_not_be_read_is_read_later(tmp_path: Path) -> None:
    """The change is reported with the first look that can see it."""
    file = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(file)
    settings = TunnelSettings(local_addr="https://127.0.0.1:1", origin_ca=str(file), origin_tls_verify="true")
    trust = OriginTrust()
    trust.started(settings)
    trustme.CA().cert_pem.write_to_path(file)
    os.utime(file, (1, 1))
    assert trust.rotated(settings) is None  # it may still be written
    with no_descriptors():
        assert trust.rotated(settings) is None
        assert not trust.differs(settings)
    assert trust.rotated(settings) is not None
    assert trust.differs(settings)


def test_a_start_without_descriptors_says_nothing_of_the_program() -> None:
    """It is tried again, with the one hint for it."""
    with no_descriptors(), pytest.raises(SpawnError) as short:
        spawn.spawn(Launch(("sleep", "0"), {"PATH": os.defpath}))
    assert (short.value.permanent, short.value.for_now, short.value.hint) == (False, True, OPEN_FILES)
