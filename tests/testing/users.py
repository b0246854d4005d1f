"""Run a user's test files for real, in a pytest of their own."""

from __future__ import annotations

import os

import pytest

# by its module's name, whether or not the entry point is installed
OPTIONS = ("-p", "no:prx", "-p", "prx.testing.plugin", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error", "-v")


def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, *options: str) -> pytest.RunResult:
    """Run what the user has written, in an environment in which nothing steers prx."""
    for name in list(os.environ):
        if name.startswith(("PRX_", "TUNNEL_")):
            monkeypatch.delenv(name)
    return pytester.runpytest_subprocess(*OPTIONS, *options, timeout=85)
