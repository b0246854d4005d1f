"""`prx start` if there is no cloudflared: on a terminal it asks whether to install it, elsewhere it says what is missing."""

from __future__ import annotations

import hashlib
import select
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.install.mirror import PROGRAM, VERSION, Mirror, whole
from tests.support.terminal import Terminal, on_terminal
from tests.support.waits import PATIENCE

QUESTION = "Download it now? [y/N] "
# `prx`, with a table whose release is the mirror's
PRX = f"""
import sys
from prx.install import cloudflared as bring, pinned as table
url, digest = sys.argv[1:3]
asset = table.Asset("cloudflared-linux-amd64", digest)
table.RELEASES = url
table.PINNED = table.Release({VERSION!r}, {{bring.this_machine(): asset}} if digest else {{}})
bring.install_cloudflared.__kwdefaults__["release"] = table.PINNED
from prx.cli import main
sys.exit(main(sys.argv[3:]))
"""
# it says that it was run, and stays
CLIENT = PROGRAM.replace(b"\n", b'\ncase "$*" in *--version) ;; *) touch "${0%/*}/was-run"; exec sleep 600;; esac\n', 1)


class Home:
    """A home on a machine without cloudflared, and a mirror that gives `content`."""

    def __init__(self, folder: Path, mirror: Mirror, content: bytes = CLIENT) -> None:
        self.folder = folder
        self.mirror = mirror
        self.client = folder / "data" / "bin" / "cloudflared"
        self.digest = hashlib.sha256(CLIENT).hexdigest()
        self.environ = {"HOME": str(folder), "PRX_DATA_DIR": str(folder / "data"), "LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"}
        mirror.serve(whole(content))

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `prx start ARGUMENT …`."""
        return [sys.executable, "-c", PRX, self.mirror.url, self.digest, "start", "--hello", *arguments]

    def start(self, *arguments: str) -> AbstractContextManager[Terminal]:
        """Run `prx start` on a terminal."""
        return on_terminal(self.command(*arguments), self.environ, self.folder)

    def was_run(self) -> bool:
        """Return whether what the mirror gave was run as a connector."""
        return (self.client.parent / "was-run").exists()

    def wait_until_run(self) -> None:
        """Wait until it is: the script writes that a moment after it is started."""
        deadline = time.monotonic() + PATIENCE
        while not self.was_run():
            assert time.monotonic() < deadline
            select.select([], [], [], 0.01)


@pytest.fixture
def home(tmp_path: Path, mirror: Mirror) -> Home:
    """Return a home whose mirror gives the right program."""
    return Home(tmp_path, mirror)


def test_yes_brings_it_and_goes_on(home: Home) -> None:
    """The question says what would come from where; on yes it comes, verified, and the start goes on with it."""
    with home.start() as terminal:
        screen = terminal.wait_for(QUESTION)
        for words in (f"version {VERSION}, about 40 MB", home.mirror.url, str(home.client.parent), "SHA-256", home.digest):
            assert words in screen
        assert home.mirror.asked == []
        terminal.type("yes\n")
        terminal.wait_for(f"installed cloudflared {VERSION}")
        terminal.wait_for("spawned")
        home.wait_until_run()
        terminal.type("\x03")
        assert terminal.end() == 0
    assert home.client.read_bytes() == CLIENT


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "\x04"], ids=["no", "enter", "maybe", "ctrl-d"])
def test_anything_but_yes_downloads_nothing(home: Home, answer: str) -> None:
    """No is the default: nothing is asked for or written, and the start ends as it does without a terminal."""
    with home.start() as terminal:
        terminal.wait_for(QUESTION)
        terminal.type(answer)
        assert terminal.end() == 3
        assert "hint: install it with `prx install cloudflared`" in terminal.screen
    assert home.mirror.asked == []
    assert not home.client.parent.exists()


def test_what_was_typed_before_the_question_is_no_answer(home: Home) -> None:
    """A yes that was meant for something else does not count."""
    with home.start() as terminal:
        terminal.type("y\n")
        terminal.wait_for(QUESTION)
        terminal.type("n\n")
        assert terminal.end() == 3
    assert home.mirror.asked == []


def test_ctrl_c_at_the_question_is_a_stop(home: Home) -> None:
    """Ctrl-C ends prx at once, as asked, and nothing was downloaded."""
    with home.start() as terminal:
        terminal.wait_for(QUESTION)
        terminal.type("\x03")
        assert terminal.end(within=10) == 0
        assert "Traceback" not in terminal.screen
    assert home.mirror.asked == []


def test_ctrl_c_while_it_comes_leaves_no_program(home: Home) -> None:
    """A stop in the middle of the download takes away what has come."""
    home.mirror.serve(home.mirror.half(CLIENT))
    with home.start() as terminal:
        terminal.wait_for(QUESTION)
        terminal.type("y\n")
        assert home.mirror.half_sent.wait(30)
        terminal.type("\x03")
        assert terminal.end(within=10) == 0
    assert {path.name for path in home.client.parent.iterdir()} == {".lock"}


def test_an_altered_file_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    """What is not the expected file is neither kept nor run: both digests are named, exit code 3."""
    altered = CLIENT.replace(b"2099", b"2098")
    home = Home(tmp_path, mirror, altered)
    with home.start() as terminal:
        terminal.wait_for(QUESTION)
        terminal.type("y\n")
        assert terminal.end() == 3
        told = " ".join(terminal.screen.split())  # wrapped by words
    assert "is not the file that prx expects" in told
    assert home.digest in told
    assert hashlib.sha256(altered).hexdigest() in told
    assert not home.was_run()
    assert {path.name for path in home.client.parent.iterdir()} == {".lock"}


def test_a_script_is_not_asked(home: Home) -> None:
    """Without a terminal there is the error and its hint, exit code 3."""
    done = subprocess.run(
        home.command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, env=home.environ, timeout=60, check=False
    )
    assert done.returncode == 3, done.stderr
    assert QUESTION not in done.stderr
    assert "hint: install it with `prx install cloudflared`" in done.stderr
    assert home.mirror.asked == []


@pytest.mark.parametrize("elsewhere", ["2>talk", "</dev/null"])
def test_half_a_terminal_is_not_asked(home: Home, elsewhere: str) -> None:
    """Where the question could not be seen, or not be answered, there is none."""
    command = ["sh", "-c", f'"$@" {elsewhere}', "sh", *home.command()]
    with on_terminal(command, home.environ, home.folder) as terminal:
        assert terminal.end() == 3
        assert QUESTION not in terminal.screen
    assert home.mirror.asked == []


@pytest.mark.parametrize("option", ["--json", "--detach"])
def test_a_terminal_alone_is_no_reason_to_ask(home: Home, option: str) -> None:
    """Events as JSON are for a program, and one in the background has no user in front of it."""
    with home.start(option) as terminal:
        assert terminal.end() == 3
        assert QUESTION not in terminal.screen


def test_another_program_and_another_machine_are_not_offered(home: Home) -> None:
    """A program that the user has named is not replaced by ours; a machine without a pinned release is offered none."""
    config = home.folder / "prx.toml"
    config.write_text('[tunnel.cloudflare]\ncloudflared_path = "/opt/none/cloudflared"\n')
    with home.start() as terminal:
        assert terminal.end() == 3
        assert QUESTION not in terminal.screen
    config.unlink()
    home.digest = ""
    with home.start() as terminal:
        assert terminal.end() == 3
        assert QUESTION not in terminal.screen
