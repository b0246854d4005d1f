"""The page for users shows tests that pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.testing.users import run

from prx.testing.factory import TunnelFactory
from prx.testing.lab import LabInThread
from prx.testing.tunnels import Tunnel

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "test-your-webhook-receiver-in-ci.md").read_text(encoding="utf-8")
FILES = {name: text for text, name in re.findall(r"```python\n(# (\S+\.py)\n.*?)```", PAGE, re.DOTALL)}


def test_the_page_works(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block of code, copied into the file that it names, is part of a test run that passes."""
    assert len(FILES) == PAGE.count("```python")
    for name, text in FILES.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(pytester.path))
    result = run(pytester, monkeypatch)
    result.assert_outcomes(passed=sum(text.count("\ndef test_") for text in FILES.values()))
    result.stdout.fnmatch_lines(["test_receiver.py::test_a_signed_event_arrives PASSED*"])
    assert PAGE.count("2 passed") == 1
    assert FILES["test_receiver.py"].count("\ndef test_") == 2


@pytest.mark.parametrize(("fixture", "kind"), [("tunnel", Tunnel), ("lab", LabInThread)])
def test_every_name_in_the_table_is_there(fixture: str, kind: type) -> None:
    """What the table of fixtures names can be called."""
    (row,) = re.findall(rf"^\| `{fixture}` \| (.*) \|$", PAGE, re.MULTILINE)
    named = re.findall(r"`([a-z_]+)`", row)
    made = {*dir(kind), "url", "events", "status"}
    assert named
    assert set(named) <= made
    assert TunnelFactory.__call__.__kwdefaults__ == {"hostname": "", "within": 60.0}
