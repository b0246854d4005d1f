"""A prx that ends while it is asked: that is known, and is no silence."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from prx.control.client import Client, NotRunningError, UnresponsiveError

_PRX = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
print(flush=True)
connection, _ = listening.accept()
connection.recv(1000)
how = sys.argv[2]
if how == "goes":
    os.unlink(sys.argv[1])
    connection.close()
    sys.stdin.read()
elif how == "is killed":
    os.kill(os.getpid(), 9)
elif how == "has a successor":
    os.unlink(sys.argv[1])
    print(flush=True)
    sys.stdin.read()
elif how == "breaks off":
    connection.close()
    sys.stdin.read()
elif how == "resets":
    os.unlink(sys.argv[1])
    connection.shutdown(socket.SHUT_RD)
    connection.close()
    sys.stdin.read()
"""


def ask(path: Path, how: str, meanwhile: Callable[[subprocess.Popen[str]], object] = lambda _: None) -> BaseException | None:
    """Ask a process that ends in this way before it answers; return what is raised."""
    command = [sys.executable, "-c", _PRX, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as prx:
        assert prx.stdout is not None
        prx.stdout.readline()
        try:
            with Client(path, timeout=10) as client:
                helper = threading.Thread(target=meanwhile, args=(prx,))
                helper.start()
                try:
                    client.ask("url", wait=5)
                except (NotRunningError, UnresponsiveError) as error:
                    return error
                finally:
                    helper.join()
        finally:
            with suppress(ProcessLookupError):
                prx.kill()
    return None


@pytest.mark.parametrize("how", ["goes", "is killed", "resets"])
def test_a_prx_that_ends_while_it_is_asked_is_not_running(path: Path, how: str) -> None:
    """However it ends, what is known is that it has ended: 3, with its pid, and no word of a log that may say more."""
    found = ask(path, how)
    assert isinstance(found, NotRunningError)
    assert (found.exit_code, found.pid > 0) == (3, True)
    assert found.message == f"prx (pid {found.pid}) ended before it could answer"


def test_a_prx_that_another_takes_the_place_of_has_ended(path: Path) -> None:
    """A socket of the same name that is another process's is no sign of life."""
    successor = socket.socket(socket.AF_UNIX)

    def succeed(prx: subprocess.Popen[str]) -> None:
        assert prx.stdout is not None
        prx.stdout.readline()
        successor.bind(str(path))
        successor.listen()
        prx.send_signal(signal.SIGKILL)

    with successor:
        found = ask(path, "has a successor", succeed)
    assert isinstance(found, NotRunningError)


def test_a_prx_that_lives_and_breaks_off_is_unresponsive(path: Path) -> None:
    """That it closes the connection alone says nothing of it."""
    assert isinstance(ask(path, "breaks off"), UnresponsiveError)
