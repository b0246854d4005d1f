"""`scripts/real-cloudflared`, which installs the real program that the tests run with: a real pip, and wheels made here."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "real-cloudflared"
PROGRAM = b"#!/bin/sh\necho cloudflared version 2099.1.0\n"
METADATA = "Metadata-Version: 2.1\nName: pyflared\nVersion: 0.1.0\nRequires-Python: >=3.12\n"
MEMBER = "pyflared/bin/cloudflared"


class Checkout:
    """A checkout with this script alone, which expects PROGRAM, and a folder of wheels in place of a registry."""

    def __init__(self, folder: Path) -> None:
        self.wheels = folder / "wheels"
        self.wheels.mkdir()
        self.script = folder / "checkout" / "scripts" / SCRIPT.name
        self.script.parent.mkdir(parents=True)
        text = SCRIPT.read_text(encoding="utf-8")
        self.script.write_text(re.sub(r'SHA256 = "\w+"', f'SHA256 = "{hashlib.sha256(PROGRAM).hexdigest()}"', text))
        self.program = folder / "checkout" / ".venv" / "real" / "cloudflared"

    def offer(self, member: str = MEMBER, content: bytes = PROGRAM) -> None:
        """Put a wheel with one member into the folder of wheels."""
        with zipfile.ZipFile(self.wheels / "pyflared-0.1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(member, content)
            archive.writestr("pyflared-0.1.0.dist-info/METADATA", METADATA)
            archive.writestr("pyflared-0.1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr("pyflared-0.1.0.dist-info/RECORD", "")

    def run(self, **environ: str) -> tuple[int, str]:
        """Run the script without any registry; return its exit code and what it said."""
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_CONFIG_FILE": os.devnull}
        base: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(self.wheels)}
        command = [sys.executable, str(self.script)]
        done = subprocess.run(command, env={**base, **pip, **environ}, capture_output=True, text=True, check=False, timeout=60)
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """Return a checkout."""
    return Checkout(tmp_path)


on_this_machine = pytest.mark.skipif(
    (os.uname().sysname, os.uname().machine) != ("Linux", "x86_64"), reason="a program is known for Linux on x86-64"
)


@on_this_machine
def test_program_is_brought_once(checkout: Checkout) -> None:
    """The program comes out of the wheel, can be run, and is not asked for again."""
    checkout.offer()
    code, said = checkout.run()
    assert code == 0, said
    assert subprocess.run([checkout.program], capture_output=True, check=True).stdout == b"cloudflared version 2099.1.0\n"
    assert [path.name for path in checkout.program.parent.iterdir()] == ["cloudflared"]
    shutil.rmtree(checkout.wheels)
    assert checkout.run() == (0, "")


@on_this_machine
@pytest.mark.parametrize(
    ("member", "content", "words"),
    [
        (MEMBER, PROGRAM + b"#", "is another file than expected"),
        (MEMBER, b"", "is another file than expected"),
        ("pyflared/cloudflared", PROGRAM, f"holds no {MEMBER}"),
    ],
)
def test_another_file_is_an_error(checkout: Checkout, member: str, content: bytes, words: str) -> None:
    """What is not the expected file to the last bit is an error, and is not kept."""
    checkout.offer(member, content)
    code, said = checkout.run()
    assert code == 1
    assert words in said
    assert not checkout.program.exists()


@on_this_machine
def test_one_that_has_changed_is_an_error(checkout: Checkout) -> None:
    """A program that was altered since its installation is reported, with both digests, and not replaced unseen."""
    checkout.offer()
    checkout.run()
    checkout.program.write_bytes(b"other")
    code, said = checkout.run()
    assert code == 1
    assert hashlib.sha256(b"other").hexdigest() in said
    assert hashlib.sha256(PROGRAM).hexdigest() in said
    assert checkout.program.read_bytes() == b"other"


@on_this_machine
def test_no_registry_is_an_error_that_helps(checkout: Checkout) -> None:
    """Without a way to the registry there is no green run: it is said why, and how to give a program."""
    code, said = checkout.run()
    assert code == 1
    assert "pip cannot bring pyflared==0.1.0" in said
    assert "hint: PRX_TEST_CLOUDFLARED=/path/to/cloudflared make test" in said


def test_a_chosen_one_is_used(checkout: Checkout, tmp_path: Path) -> None:
    """PRX_TEST_CLOUDFLARED needs no installation; one that could not be run is an error."""
    program = tmp_path / "cloudflared"
    program.write_bytes(PROGRAM)
    code, said = checkout.run(PRX_TEST_CLOUDFLARED=str(program))
    assert (code, "no program that can be run" in said) == (1, True)
    program.chmod(0o755)
    assert checkout.run(PRX_TEST_CLOUDFLARED=str(program)) == (0, "")
    for wrong, words in (("cloudflared", "an absolute path"), (str(tmp_path), "no program"), ("/none/x", "no program")):
        code, said = checkout.run(PRX_TEST_CLOUDFLARED=wrong)
        assert (code, words in said) == (1, True), said


@on_this_machine
def test_another_machine_is_told(checkout: Checkout) -> None:
    """Where no program is known for the machine, that is said, and the tests go on without it."""
    text = checkout.script.read_text().replace('!= ("linux", "x86_64")', '== ("linux", "x86_64")')
    checkout.script.write_text(text)
    code, said = checkout.run()
    assert code == 0
    assert "no real cloudflared is known for" in said
    assert not checkout.program.exists()


def test_make_test_and_ci_have_it_first() -> None:
    """No test runs by `make test`, and nothing in CI, before the real program is there."""
    makefile = (SCRIPT.parents[1] / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^test: cloudflared\b", makefile, re.MULTILINE)
    assert re.search(r"^cloudflared: setup.*\n\t@\.venv/bin/python scripts/real-cloudflared$", makefile, re.MULTILINE)
    ci = (SCRIPT.parents[1] / ".ci" / "run").read_text(encoding="utf-8")
    assert ci.index("make cloudflared") < ci.index("make lint")
