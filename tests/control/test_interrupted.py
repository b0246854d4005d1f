"""Ctrl-C at any moment of a connection to a socket with a long path: no descriptor is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from prx.control.client import Client, NotRunningError
from prx.control.unixpath import PATH_LIMIT, address

CODE = ("unixpath.py", "contextlib.py", "client.py")


@contextmanager
def interrupted(at: int) -> Iterator[list[int]]:
    """Raise KeyboardInterrupt as call number `at` to a function in C returns; yield the numbers of those that have returned."""
    returned: list[int] = []

    def see(frame: FrameType, event: str, _function: Any) -> None:
        if event == "c_return" and frame.f_code.co_filename.endswith(CODE):
            returned.append(len(returned))
            if len(returned) == at:
                raise KeyboardInterrupt

    sys.setprofile(see)
    try:
        yield returned
    finally:
        sys.setprofile(None)


def open_files() -> int:
    """Count the descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("way", ["address", "client"])
def test_ctrl_c_leaves_no_descriptor(tmp_path: Path, way: str) -> None:
    """Whichever call has just returned, what it has opened is closed."""
    folder = tmp_path / ("x" * PATH_LIMIT)
    folder.mkdir()
    before, at, ended = open_files(), 0, False
    while not ended:
        at += 1
        try:
            with interrupted(at):
                if way == "client":
                    Client(folder / "web.sock").close()
                else:
                    with address(folder / "web.sock"):
                        pass
                ended = True
        except NotRunningError:
            ended = True
        except KeyboardInterrupt:
            pass
        assert open_files() == before, at
    assert at > 3
