"""A child that runs another program than the one before it says which."""

import hashlib
from pathlib import Path

import pytest
from tests.runtime.contexts import shared

from prx.config.schema import CloudflareSettings, TunnelSettings
from prx.files.fingerprint import file_fingerprint
from prx.runtime import client_program
from prx.runtime.client_program import ClientProgram
from prx.runtime.context import TunnelContext
from prx.runtime.replaced import LastProgram
from prx.testing.clock import ManualClock


def seen(program: Path) -> tuple[object, ...]:
    """Return what a tunnel sees of a program."""
    return (str(program), *file_fingerprint(program)) if program.exists() else ()


async def test_a_replaced_program_is_named_with_version_and_checksum(tmp_path: Path) -> None:
    """The first start and a start of the same file say nothing; another file is reported with versions and checksum."""
    program, last = tmp_path / "cloudflared", LastProgram()
    program.write_bytes(b"old")
    assert await last.change(seen(program), "2026.6.0") == ""
    assert await last.change(seen(program), "2026.6.0") == ""
    program.unlink()
    assert await last.change(seen(program), "") == "", "a program that is away is no other one"
    program.write_bytes(b"the new one")
    said = await last.change(seen(program), "2026.8.2")
    assert "2026.8.2, before 2026.6.0" in said
    assert hashlib.sha256(b"the new one").hexdigest() in said
    assert await last.change(seen(program), "2026.8.2") == ""


@pytest.mark.parametrize("kind", ["gone", "folder"])
async def test_a_program_that_cannot_be_read_is_told_without_a_checksum(tmp_path: Path, kind: str) -> None:
    """What cannot be read (deleted meanwhile, a folder) does not keep the child from starting."""
    program, last = tmp_path / "cloudflared", LastProgram()
    program.write_bytes(b"old")
    await last.change(seen(program), "1")
    program.write_bytes(b"another")
    found = seen(program)
    program.unlink()
    if kind == "folder":
        program.mkdir()
    said = await last.change(found, "")
    assert "of unknown version, before 1" in said
    assert "sha256" not in said


def test_only_a_program_that_is_whole_is_taken(tmp_path: Path) -> None:
    """One that is still being written, may not be run yet, or is away for a moment is not taken; then it is, once."""
    path = tmp_path / "cloudflared"
    settings = TunnelSettings(cloudflare=CloudflareSettings(cloudflared_path=str(path)))
    context = TunnelContext.create("web", settings, shared(tmp_path, ManualClock()))
    program = ClientProgram()

    def beat() -> str:
        return program.replaced_while_running(context)

    path.write_bytes(b"old")
    path.chmod(0o755)
    program.about_to_start(context)
    program.started()
    assert [beat(), beat()] == ["", ""]
    path.unlink()
    assert [beat(), beat()] == ["", ""], "away"
    path.mkdir()
    assert [beat(), beat()] == ["", ""], "a folder"
    path.rmdir()
    for size in range(1, 4):
        path.write_bytes(b"n" * size)
        path.chmod(0o644)
        assert beat() == "", "being written"
    assert beat() == "", "not to be run yet"
    path.chmod(0o755)
    assert [beat(), beat(), beat()] == ["", str(path), ""]
    replacement = tmp_path / "new"
    replacement.write_bytes(b"newer")
    replacement.chmod(0o755)
    replacement.replace(path)
    assert [beat(), beat(), beat()] == ["", str(path), ""], "renamed into place"


async def test_a_program_of_many_tunnels_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand tunnels of one program a beat costs one look, and each tunnel learns of the replacement."""
    file = tmp_path / "cloudflared"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    settings = TunnelSettings(cloudflare=CloudflareSettings(cloudflared_path=str(file)))
    contexts = [TunnelContext.create(name, settings, shared(tmp_path, ManualClock())) for name in ("a", "b", "c")]
    programs = [ClientProgram() for _ in contexts]
    for program, context in zip(programs, contexts, strict=True):
        program.about_to_start(context)
        program.started()
    looks: list[str] = []

    def look(path: str) -> tuple[int, ...]:
        looks.append(path)
        return file_fingerprint(path)

    monkeypatch.setattr(client_program, "file_fingerprint", look)
    file.write_text("#!/bin/sh\n# another one\n")
    for expected in ("", str(file)):
        known: client_program.Programs = {}
        found = [program.replaced_while_running(context, known) for program, context in zip(programs, contexts, strict=True)]
        assert found == [expected] * 3
    assert len(looks) == 2
