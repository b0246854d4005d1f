"""Whether a prx was killed: a fact about its control socket, never a guess."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from prx.control.liveness import killed
from prx.control.unixpath import listen


def test_only_a_socket_that_nobody_listens_on_is_that_of_a_killed_prx(tmp_path: Path) -> None:
    """One that is listened on belongs to a prx that lives; a file, a link that leads nowhere, a pipe say nothing."""
    with listen(tmp_path / "lives.sock") as lives:
        lives.listen()
        listen(tmp_path / "killed-1.sock").close()
        listen(tmp_path / "killed.2.sock").close()
        (tmp_path / "file.sock").touch()
        (tmp_path / "link.sock").symlink_to("nowhere")
        os.mkfifo(tmp_path / "pipe.sock")
        assert killed(tmp_path) == {"killed-1", "killed.2"}


def test_a_prx_that_is_too_busy_to_take_a_connection_lives(tmp_path: Path) -> None:
    """A full queue of connections, as that of a frozen prx, is no proof of its end, and is not waited for."""
    path = tmp_path / "frozen.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as frozen:
        frozen.bind(str(path))
        frozen.listen(0)
        waiting = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(str(path))
            assert killed(tmp_path) == frozenset()
        finally:
            for one in waiting:
                one.close()


@pytest.mark.parametrize("place", ["nothing", "a file", "a long path"])
def test_a_place_that_cannot_be_asked_tells_nothing(tmp_path: Path, place: str) -> None:
    """No such folder, or none: nothing is known, and nothing fails. A path beyond the kernel's limit is asked all the same."""
    folder = tmp_path / "run"
    if place == "a file":
        folder.touch()
    elif place == "a long path":
        folder = tmp_path / ("x" * 100)
        folder.mkdir()
        listen(folder / "web.sock").close()
    assert killed(folder) == ({"web"} if place == "a long path" else frozenset())
