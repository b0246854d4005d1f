"""What is published: source distribution and wheel hold what they need and no more, and are the same from any checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from tests.deploy.files import ROOT

STRAY = ("prx.toml", "prx-token", "storm.xml", ".env", "deploy/compose/prx-token", "src/prx/__pycache__/x.cpython-311.pyc")


def tracked() -> list[str]:
    """Return the files of the repository; skip if this is none, as in an unpacked source distribution."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout of the repository")
    return [name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def checkout(folder: Path, *, mode: int, stray: bool) -> Path:
    """Copy what is tracked, with such rights and the time of now; `stray`: and what a user's own checkout may hold besides."""
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
        (folder / name).chmod(mode | (0o111 & (ROOT / name).stat().st_mode))
    for name in STRAY if stray else ():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("not to be published")
    return folder


def build(source: Path, target: str) -> Path:
    """Build a distribution of a checkout."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(source / "dist")]
    subprocess.run(command, cwd=source, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    (made,) = (source / "dist").glob("*.whl" if target == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def sdists(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the source distribution of a clean checkout, and of one that is used."""
    folders = [tmp_path_factory.mktemp(name) for name in ("clean", "used")]
    return [
        build(checkout(folder, mode=mode, stray=mode == 0o600), "sdist")
        for folder, mode in zip(folders, (0o644, 0o600), strict=True)
    ]


def test_the_source_is_complete_and_nothing_else(sdists: list[Path]) -> None:
    """Each file of the repository is in it, and no token, configuration or result that lies beside them."""
    with tarfile.open(sdists[1]) as archive:
        found = sorted(name.partition("/")[2] for name in archive.getnames())
    assert found == sorted([*tracked(), "PKG-INFO"])


def test_it_is_the_same_from_any_checkout(sdists: list[Path], tmp_path: Path) -> None:
    """Times, rights and stray files of the checkout make no difference, byte for byte, nor does the way of a wheel."""
    assert sdists[0].read_bytes() == sdists[1].read_bytes()
    with tarfile.open(sdists[0]) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    wheels = [build(source, "wheel") for source in (unpacked, sdists[1].parents[1])]
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    names = zipfile.ZipFile(wheels[0]).namelist()
    package = {f"prx/{path.relative_to(ROOT / 'src/prx')}" for path in map(ROOT.joinpath, tracked()) if "src/prx" in str(path)}
    assert package <= set(names)
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"prx", "prx_tunnel"}
    assert {name for name in names if name.startswith("prx/")} == package
