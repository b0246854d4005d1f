"""The how-to pages show code that exists."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
BLOCKS = re.findall(r"```python\n(.*?)```", (PAGES / "protect-your-app-with-access.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["asgi", "wsgi", "function"])
def test_examples_import_what_there_is(block: str) -> None:
    """Every example is Python, and every name that it takes from prx is there."""
    taken = [
        node
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prx")
    ]
    assert taken
    for node in taken:
        module = importlib.import_module(node.module or "")
        for alias in node.names:
            assert hasattr(module, alias.name)
