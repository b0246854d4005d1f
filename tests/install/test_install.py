"""`install_cloudflared` against a mirror that can do everything wrong."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.install.mirror import MACHINE, PROGRAM, Answer, Mirror, archive, redirect, release, status, whole

from prx.core.errors import PermanentError, PrxError, UsageError
from prx.install.cloudflared import Installed, install_cloudflared
from prx.install.fetch import Bounds
from prx.install.pinned import Release
from prx.install.programs import installed_cloudflared, open_programs

TGZ = "cloudflared-linux-amd64.tgz"


async def bring(folder: Path, base: str, wanted: Release | None = None, bounds: Bounds | None = None) -> Installed:
    """Install the small release, or `wanted`."""
    return await install_cloudflared(folder, release=wanted or release(), machine=MACHINE, base=base, bounds=bounds)


def nothing_there(folder: Path) -> bool:
    """Return whether the folder holds neither program, link nor partial file."""
    return {path.name for path in folder.iterdir()} <= {".lock"}


async def test_good_file_is_installed(mirror: Mirror, folder: Path) -> None:
    """What the mirror holds arrives whole, executable for all, writable for its owner alone, in a private folder."""
    done = await bring(folder, mirror.serve(whole()))
    program = folder / "cloudflared-2099.1.0"
    assert done.downloaded
    assert done.path.resolve() == program
    assert program.read_bytes() == PROGRAM
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cloudflared", "cloudflared-2099.1.0"]
    ran = await asyncio.to_thread(subprocess.run, [done.path], capture_output=True, check=True)
    assert ran.stdout == b"cloudflared version 2099.1.0\n"


async def test_progress_is_told(mirror: Mirror, folder: Path) -> None:
    """Progress reports how much has come, and how much is expected, up to the end."""
    told: list[tuple[int, int | None]] = []
    base = mirror.serve(whole())
    await install_cloudflared(
        folder, release=release(), machine=MACHINE, base=base, progress=lambda *numbers: told.append(numbers)
    )
    assert told[0] == (0, len(PROGRAM))
    assert told[-1] == (len(PROGRAM), len(PROGRAM))
    assert told == sorted(told)


async def test_second_install_downloads_nothing(mirror: Mirror, folder: Path) -> None:
    """A program that is there, whole, is kept without a question; one that was changed is replaced."""
    base = mirror.serve(whole())
    await bring(folder, base)
    assert not (await bring(folder, base)).downloaded
    assert len(mirror.asked) == 1
    with (folder / "cloudflared-2099.1.0").open("ab") as file:
        file.write(b"#")
    assert (await bring(folder, base)).downloaded
    assert (folder / "cloudflared-2099.1.0").read_bytes() == PROGRAM


async def test_altered_file_is_refused(mirror: Mirror, folder: Path) -> None:
    """A single changed byte: both digests are named, nothing is kept, and what was in use stays."""
    old = b"#!/bin/sh\necho version 2099.0.0\n"
    mirror.serve(whole(old), version="2099.0.0")
    altered = PROGRAM[:-1] + b"!"
    base = mirror.serve(whole(altered))
    await bring(folder, base, release(old, "2099.0.0"))
    with pytest.raises(PermanentError) as refusal:
        await bring(folder, base)
    assert release().assets[MACHINE].sha256 in refusal.value.message
    assert release(altered).assets[MACHINE].sha256 in refusal.value.message
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cloudflared", "cloudflared-2099.0.0"]


async def test_nothing_is_executable_before_it_is_verified(mirror: Mirror, folder: Path) -> None:
    """While a download goes on, its file has mode 0600 and no name that would be run."""
    base = mirror.serve(mirror.half())
    async with asyncio.TaskGroup() as group:
        install = group.create_task(bring(folder, base), name="install")
        assert await asyncio.to_thread(mirror.half_sent.wait, 30)
        (partial,) = [path for path in folder.iterdir() if path.name != ".lock"]
        assert partial.name.startswith(".partial-")
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600
        install.cancel()
    assert nothing_there(folder)


async def test_truncated_file_is_refused(mirror: Mirror, folder: Path) -> None:
    """A connection that ends too early is said to be just that."""
    mirror.let_go.set()
    with pytest.raises(PrxError, match="closed before the end"):
        await bring(folder, mirror.serve(mirror.half()))
    assert nothing_there(folder)


@pytest.mark.parametrize(
    ("how", "bounds", "words"),
    [
        ("half", Bounds(idle=0.2), r"nothing came for 0\.2 s"),
        ("drip", Bounds(idle=5, total=0.3), r"not downloaded within 0\.3 s"),
        ("endless", Bounds(size=1_000_000), "expected at most 1000000"),
    ],
)
async def test_bounds_hold(mirror: Mirror, folder: Path, how: str, bounds: Bounds, words: str) -> None:
    """A server that stalls, drips or never ends costs what was allowed, and no more."""
    answer: Answer = getattr(mirror, how)()
    with pytest.raises(PrxError, match=words):
        await bring(folder, mirror.serve(answer), bounds=bounds)
    assert nothing_there(folder)


async def test_announced_size_is_believed_when_too_large(mirror: Mirror, folder: Path) -> None:
    """A file that says that it is too large is not even started."""
    with pytest.raises(PrxError, match=f"{len(PROGRAM)} bytes or more, expected at most 1000"):
        await bring(folder, mirror.serve(mirror.half()), bounds=Bounds(size=1000, idle=20))
    assert nothing_there(folder)


@pytest.mark.parametrize(("code", "words"), [(404, r"is not there \(404\)"), (503, "answers 503, expected 200")])
async def test_refusals_of_the_server(mirror: Mirror, folder: Path, code: int, words: str) -> None:
    """An answer other than 200 is named, with the URL that gave it."""
    with pytest.raises(PrxError, match=words) as refusal:
        await bring(folder, mirror.serve(status(code)))
    assert f"{mirror.url}/2099.1.0/cloudflared-linux-amd64" in refusal.value.message
    assert nothing_there(folder)


async def test_nobody_listens(folder: Path, mirror: Mirror) -> None:
    """A mirror that is not there is an error in words."""
    mirror.close()
    with pytest.raises(PrxError, match=r"cannot download http://127\.0\.0\.1\S+: connection refused"):
        await bring(folder, mirror.url)


async def test_redirects_are_followed_a_few_times(mirror: Mirror, folder: Path) -> None:
    """A redirect or two lead to the file."""
    mirror.answers["/a"] = redirect("/b?signature=hidden")
    mirror.answers["/b?signature=hidden"] = whole()
    assert (await bring(folder, mirror.serve(redirect("/a")))).downloaded


async def test_redirect_loop_ends(mirror: Mirror, folder: Path) -> None:
    """A loop is left after the bound."""
    mirror.answers["/loop"] = redirect("/loop")
    with pytest.raises(PrxError, match="more than 5 redirects"):
        await bring(folder, mirror.serve(redirect("/loop")))
    assert len(mirror.asked) == 6


@pytest.mark.parametrize("location", ["http://192.0.2.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://example.com/"])
async def test_redirects_to_plain_http_are_refused(mirror: Mirror, folder: Path, location: str) -> None:
    """Only https is followed; the one exception stays on this machine."""
    with pytest.raises(PrxError, match="only https is followed"):
        await bring(folder, mirror.serve(redirect(location)))
    assert len(mirror.asked) == 1


@pytest.mark.parametrize("base", ["http://192.0.2.1/m", "ftp://127.0.0.1", "file:///tmp", "mirror.example.com", "https://"])
async def test_plain_http_is_refused_to_begin_with(folder: Path, base: str) -> None:
    """A mirror is asked over https, or on this machine."""
    with pytest.raises(UsageError, match="expected a URL that starts with https://"):
        await bring(folder, base)


async def test_no_password_is_shown(mirror: Mirror, folder: Path) -> None:
    """An error names the URL without the name, password and key that may be in it."""
    base = mirror.serve(redirect("/x?key=geheim")).replace("http://", "http://user:geheim@")
    with pytest.raises(PrxError) as refusal:
        await bring(folder, base)
    assert "geheim" not in refusal.value.message
    assert "/x is not there" in refusal.value.message


async def test_unknown_machine_is_refused(folder: Path) -> None:
    """A machine without a known digest is refused before anything is asked or made, with the way by hand."""
    with pytest.raises(PermanentError, match="no verified cloudflared for plan9 mips") as refusal:
        await install_cloudflared(folder, machine=("plan9", "mips"))
    assert "install it by hand" in refusal.value.hint
    assert not folder.exists()


async def test_archive_gives_its_one_program(mirror: Mirror, folder: Path) -> None:
    """Of an archive only the regular file `cloudflared` is taken, with our mode, not with its own."""
    packed = archive({"../evil": b"x", "cloudflared": PROGRAM, "zz": b""})
    done = await bring(folder, mirror.serve(whole(packed), name=TGZ), release(packed, name=TGZ))
    assert done.path.read_bytes() == PROGRAM
    assert stat.S_IMODE(done.path.stat().st_mode) == 0o755
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cloudflared", "cloudflared-2099.1.0"]
    assert not (folder.parent / "evil").exists()


@pytest.mark.parametrize(
    "packed",
    [archive({"cloudflared": None}), archive({"other": b"x"}), b"no archive", archive({"cloudflared": PROGRAM})[:200]],
    ids=["link", "other name", "no archive", "cut short"],
)
async def test_odd_archives_are_refused(mirror: Mirror, folder: Path, packed: bytes) -> None:
    """A link, another name or a broken archive gives no program, even with the right digest."""
    with pytest.raises(PermanentError, match="the archive"):
        await bring(folder, mirror.serve(whole(packed), name=TGZ), release(packed, name=TGZ))
    assert nothing_there(folder)


async def test_one_install_at_a_time(mirror: Mirror, folder: Path) -> None:
    """A second install does not disturb the first: it is refused."""
    with open_programs(folder), pytest.raises(PrxError, match="another prx installs"):
        await bring(folder, mirror.serve(whole()))


async def test_full_folder_is_an_error_in_words(mirror: Mirror, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the file system refuses is said with the folder, and leaves nothing."""

    def refuse(_: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(PrxError, match=f"cannot write to {folder}: no space left on device"):
        await bring(folder, mirror.serve(whole()))
    assert nothing_there(folder)


async def test_rollback_goes_back_and_forth(mirror: Mirror, folder: Path) -> None:
    """The version before is kept, older ones are not, and rollback changes the two."""
    versions = ["2099.1.0", "2099.2.0", "2099.3.0"]
    for version in versions:
        content = f"#!/bin/sh\necho {version}\n".encode()
        await bring(folder, mirror.serve(whole(content), version), release(content, version))
    assert not (folder / "cloudflared-2099.1.0").exists()
    with open_programs(folder) as programs:
        assert programs.rollback() == "2099.2.0"
        assert programs.link.read_text().endswith("2099.2.0\n")
        assert programs.rollback() == "2099.3.0"
        assert programs.link.read_text().endswith("2099.3.0\n")


async def test_rollback_needs_a_version_before(mirror: Mirror, folder: Path) -> None:
    """There is nothing to go back to after the first install, nor before it."""
    for _ in range(2):
        with open_programs(folder) as programs, pytest.raises(PrxError, match="no cloudflared before"):
            programs.rollback()
        await bring(folder, mirror.serve(whole()))


async def test_installed_program_is_found_when_trustworthy(mirror: Mirror, folder: Path) -> None:
    """The installed program is found; not one that others could have changed, nor one that lies elsewhere."""
    environ = {"PRX_DATA_DIR": str(folder.parent)}
    assert installed_cloudflared(environ) is None
    done = await bring(folder, mirror.serve(whole()))
    assert installed_cloudflared(environ) == done.path
    (folder / "cloudflared-2099.1.0").chmod(0o775)
    assert installed_cloudflared(environ) is None
    (folder / "cloudflared-2099.1.0").chmod(0o755)
    folder.chmod(0o777)
    assert installed_cloudflared(environ) is None
    folder.chmod(0o700)
    done.path.unlink()
    done.path.symlink_to("/bin/sh")
    assert installed_cloudflared(environ) is None
    done.path.unlink()
    done.path.symlink_to("cloudflared")
    assert installed_cloudflared(environ) is None
