"""One lab for all programs of a module, and a folder for each test."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.client.program import Home, lives, wait_for_end_of
from tests.support.origin import HostedOrigin, serving

from prx.control.client import Client
from prx.control.instance import sockets
from prx.core.errors import PrxError
from prx.lab import LabConfig
from prx.testing.lab import lab_in_thread


@pytest.fixture(scope="module")
def lab_control() -> Iterator[str]:
    """Yield the control URL of a running lab."""
    with lab_in_thread(LabConfig(limits="none")) as lab:
        yield lab.call(lambda running: running.control)


@pytest.fixture
def home(tmp_path: Path, lab_control: str) -> Iterator[Home]:
    """Yield a folder for programs; no prx is to run there when the test ends."""
    yield Home(tmp_path, lab_control)
    left = []
    for path in sockets(tmp_path / "data" / "run"):
        try:
            with Client(path) as client:
                left.append(client.pid)
        except PrxError:
            continue
    ended = [pid for pid in left if not lives(pid)]
    for pid in set(left) - set(ended):  # it may be about to end: a leak is one that lives on
        try:
            wait_for_end_of(pid)
        except AssertionError:
            os.kill(pid, signal.SIGKILL)
            raise


@pytest.fixture
def origin() -> Iterator[HostedOrigin]:
    """Yield a running local service."""
    with serving() as server:
        yield server
