"""The manual pages and the reference of the command line say what the help says, and can be read where prx is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import click
import pytest

from prx.cli.manual import everything, man_pages, page, root

ROOT = Path(__file__).parents[2]
MAN = ROOT / "man"


def test_the_pages_are_those_of_the_help() -> None:
    """Each page in man/ and the reference are what `make man` writes; none is left of a command that is gone."""
    assert {file.name: file.read_text() for file in MAN.iterdir()} == man_pages()
    assert (ROOT / "docs" / "reference" / "command-line.md").read_text() == page()


def test_every_command_and_option_is_in_its_page() -> None:
    """No option of a command or subcommand is missing in the pages, and none that is hidden is there."""
    pages = man_pages()
    for entry in everything(root()):
        words = entry.words.split()
        text = pages["prx.1" if len(words) == 1 else f"prx-{words[1]}.1"].replace("\\-", "-")
        for param in entry.command.params:
            if isinstance(param, click.Option):
                assert (f".B {param.opts[0]}" in text or f", {param.opts[0]}" in text) is not param.hidden, (entry.words, param)


@pytest.mark.parametrize("name", sorted(man_pages()))
def test_groff_reads_each_page(name: str) -> None:
    """No request is unknown, no line is lost: groff with all warnings says nothing."""
    if shutil.which("groff") is None:
        pytest.skip("groff is not installed")
    command = ["groff", "-man", "-Tutf8", "-Kutf8", "-ww", "-rLL=80n", str(MAN / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    shown = re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)
    assert "NAME" in shown
    assert "\\" not in shown.replace("\\n", "")


def test_mandoc_finds_no_fault() -> None:
    """The check of mandoc finds neither error nor bad style, if it is there."""
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    done = subprocess.run(
        ["mandoc", "-Tlint", "-Wwarning", *map(str, sorted(MAN.iterdir()))], capture_output=True, text=True, check=False
    )
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


def test_the_pages_are_installed(tmp_path: Path) -> None:
    """A wheel has them as data below share/man/man1, so that `man prx` works in whatever prefix it is installed."""
    shared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {"man": "share/man/man1"}
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.rpartition("/")[2] for name in names if "/data/share/man/man1/" in name} == set(man_pages())


def test_help_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns no line of any help is wider, so that none is cut in the middle of a word."""
    monkeypatch.setenv("COLUMNS", "80")
    wide = []
    for entry in everything(root()):
        context = click.Context(entry.command, info_name=entry.words, max_content_width=100)
        wide += [(entry.words, line) for line in entry.command.get_help(context).split("\n") if len(line) > 80]
    assert wide == []
