"""Tests of the local service leave no process behind."""

from tests.runtime.process.conftest import nothing_left

__all__ = ["nothing_left"]
