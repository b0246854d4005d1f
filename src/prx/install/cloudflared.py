"""Install cloudflared: choose the asset, get it, verify it, run it once, put it in place."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prx.core.errors import PermanentError, PrxError, ShortageError, refused
from prx.install.fetch import Bounds, Progress, fetch
from prx.install.local import copy_from_file
from prx.install.pinned import RELEASES, Asset, Machine, Release, pinned_for
from prx.install.platform import choose_asset, this_machine
from prx.install.programs import Partial, Programs, open_programs
from prx.install.trial import require_version
from prx.install.unpack import unpack


@dataclass(frozen=True, slots=True)
class Installed:
    """What is in use now: its path, its version, the asset that it came from, and whether that had to be downloaded."""

    path: Path
    version: str
    asset: Asset
    downloaded: bool


def ignore_progress(_received: int, _expected: int | None) -> None:
    """Show nothing."""


async def install_cloudflared(
    folder: Path,
    *,
    release: Release | None = None,
    machine: Machine | None = None,
    base: str = RELEASES,
    file: Path | None = None,
    bounds: Bounds | None = None,
    progress: Progress = ignore_progress,
) -> Installed:
    """Put the cloudflared of `release` into `folder` and into use; nothing is downloaded if it is there already.

    Without `release` it is the newest one that is pinned for `machine`. It comes from BASE/VERSION/NAME, or from `file`, which
    holds the same bytes. A file gets its name and its mode only once its SHA-256 has proved right, is put into use only once it
    has said its version, and what was in use before stays for `rollback`. Raise PermanentError if `machine` is not in the
    release, the content is not the expected one or cannot be run here, PrxError if it cannot be had or written.
    """
    machine = machine or this_machine()
    release = release or pinned_for(machine)
    asset = choose_asset(release, machine)
    source = file or f"{base.rstrip('/')}/{release.version}/{asset.name}"
    try:
        with open_programs(folder) as programs:
            there = not asset.is_archive and programs.holds(release.version, asset.sha256)
            if not there:
                async with _verified(programs, source, asset, bounds or Bounds(), progress) as partial:
                    _keep(programs, partial, asset, release.version)
            if machine == this_machine():
                await _try_out(programs, release.version)
            programs.switch(release.version)
            return Installed(programs.link, release.version, asset, downloaded=not there)
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(folder: Path, error: OSError) -> PrxError:
    """Return what ends an install that could not write; a file is named if it is the one that stands in the way."""
    words = f"cannot write to {error.filename2 or folder}: {(error.strerror or str(error)).lower()}"
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return refused(words, error, hint="set PRX_DATA_DIR to a directory of your own")
    return refused(words, error, kind=PrxError)


@asynccontextmanager
async def _verified(
    programs: Programs, source: Path | str, asset: Asset, bounds: Bounds, progress: Progress
) -> AsyncIterator[Partial]:
    """Yield what `source` holds, a file or a URL, proved to be `asset`; the copy is gone after the block unless it was kept."""
    with programs.partial() as partial:
        if isinstance(source, Path):
            fetched = copy_from_file(source, partial.file, bounds=bounds, progress=progress)
            deleted, hint = "", f"it must be {asset.name} as it was published, byte for byte"
        else:
            fetched = await fetch(source, partial.file, bounds=bounds, progress=progress)
            deleted = "; it was deleted"
            hint = "the mirror, or something on the way, gives another file: try another network or mirror"
        if fetched.sha256 != asset.sha256:
            raise PermanentError(
                f"{fetched.source} is not the file that prx expects: its SHA-256 is {fetched.sha256} ({fetched.size} bytes), "
                f"expected {asset.sha256}{deleted}",
                hint=hint,
            )
        yield partial


def _keep(programs: Programs, partial: Partial, asset: Asset, version: str) -> None:
    if not asset.is_archive:
        programs.keep(partial, version)
        return
    partial.file.seek(0)
    with programs.partial() as program:
        unpack(partial.file, program.file)
        programs.keep(program, version)


async def _try_out(programs: Programs, version: str) -> None:
    """Run the program of `version` for its version; one that is not in use and does not pass is removed.

    Its content has been verified: one that could not be run for now stays for the next try.
    """
    try:
        await require_version(programs.file(version), version)
    except ShortageError:
        raise
    except PrxError:
        programs.remove_unused(version)
        raise
