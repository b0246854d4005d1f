"""The core decides and does nothing: no clock, no chance, no file, no network."""

from __future__ import annotations

import ast
from pathlib import Path

import prx.core

ASKS_OR_ACTS = {
    "asyncio", "fcntl", "getpass", "glob", "http", "os", "platform", "pwd", "random", "secrets", "select", "selectors",
    "shutil", "signal", "socket", "socketserver", "ssl", "subprocess", "tempfile", "threading", "time", "urllib.request",
}  # fmt: skip
# a lock, with which a class is made once; names of numbers
ALLOWED = {("value.py", "threading"), ("exit_status.py", "signal"), ("signal_table.py", "signal")}


def test_no_module_of_the_core_asks_the_system() -> None:
    """None imports what reads a clock, draws a number, opens a file, starts a thread or asks the network, not even later."""
    found = {(file.name, name) for file in Path(prx.core.__path__[0]).glob("*.py") for name in _imported(file)}
    assert len({file for file, _ in found}) > 20
    assert {pair for pair in found if pair[1] in ASKS_OR_ACTS} == ALLOWED


def _imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    plain = {item.name for node in nodes if isinstance(node, ast.Import) for item in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
