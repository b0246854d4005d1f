"""What the documentation says of faults is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from prx.lab.edge.faults.notation import kind_of
from prx.lab.edge.faults.script import Script
from prx.lab.faults import KINDS

DOCS = Path(__file__).parents[3] / "docs"


def test_every_fault_is_documented() -> None:
    """The reference names every fault, and none that does not exist."""
    table = (DOCS / "reference/lab.md").read_text().partition("| fault | values |")[2].partition("\n\n")[0]
    named = {kind_of(name).__name__ for name in re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)}
    assert named == set(KINDS)


def test_scripts_can_be_read() -> None:
    """The scripts and lines that the how-to shows are scripts."""
    text = (DOCS / "how-to/lab.md").read_text()
    scripts = [block for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) if "seed" in block]
    lines = re.findall(r"^\$ prx lab fault (.+)$", text, re.MULTILINE)
    assert len(scripts) == 1
    assert len(lines) == 5
    for script in (*scripts, *lines):
        assert Script.parse(script).steps
