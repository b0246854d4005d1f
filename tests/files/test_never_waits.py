"""A FIFO in the place of a file: who opens it to read, or to write, would wait for the other end without end."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli.home import Home

from prx.cli.detach import _OUTPUT
from prx.history.segments import Bounds, SegmentWriter
from prx.install.programs import is_wrapper
from prx.lab.connector.origin.exchanges import OriginError
from prx.lab.connector.origin.pool import _add_roots
from prx.lab.connector.roots import system_roots
from prx.lab.edge import statedir
from prx.logs.reader import tail
from prx.runtime.probes.connect import ProbeError, origin_tls
from prx.runtime.replaced import LastProgram
from prx.traffic.spool import Spool

DAY = 1_800_000_000.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """Yield a home in which nothing is left behind."""
    made = Home(tmp_path)
    yield made
    made.close()


def history(folder: Path) -> object:
    """Append to a history of which today's file is one."""
    os.mkfifo(folder / "web.20270115.jsonl")
    writer = SegmentWriter(folder, "web", Bounds(), header=list, wall=lambda: DAY)
    with pytest.raises(OSError, match=r"No such device|regular file"):
        writer.write([b"{}"])
    return None


def program(folder: Path) -> object:
    """Ask whether it is a script."""
    os.mkfifo(folder / "cloudflared", 0o755)
    return is_wrapper(folder / "cloudflared")


def left_behind(folder: Path) -> object:
    """Sweep the folder of a lab whose lock is one."""
    lab = folder / f"{statedir._PREFIX}x"
    lab.mkdir()
    os.mkfifo(lab / statedir._LOCK)
    statedir._sweep(folder)
    return None


def kept_request(folder: Path) -> object:
    """Keep a request whose file is one."""
    spool = Spool(folder)
    os.mkfifo(folder / "000000000001-000.req.part")
    with pytest.raises(OSError, match=r"No such device"):
        spool.add(b"x")
    return None


def origin_ca(folder: Path) -> object:
    """Trust the certificates of a service that stand in one."""
    os.mkfifo(folder / "ca.pem")
    with pytest.raises(ProbeError, match=r"ca\.pem: found a FIFO, expected a file"):
        origin_tls(folder / "ca.pem")
    return None


def origin_ca_of_the_connector(folder: Path) -> object:
    """Have the builtin connector do the same."""
    os.mkfifo(folder / "ca.pem")
    with pytest.raises(OriginError, match=r"unable to read the file .*ca\.pem for --origin-ca-pool"):
        _add_roots(ssl.create_default_context(), str(folder / "ca.pem"))
    return None


def roots_of_the_system(folder: Path) -> object:
    """Have it read the variable SSL_CERT_FILE."""
    os.mkfifo(folder / "ca.pem")
    return system_roots({"SSL_CERT_FILE": str(folder / "ca.pem"), "SSL_CERT_DIR": str(folder / "none")})


ACTS = (history, program, left_behind, kept_request, origin_ca, origin_ca_of_the_connector, roots_of_the_system)


@pytest.mark.parametrize("act", ACTS)
def test_it_is_refused_at_once(tmp_path: Path, act: Callable[[Path], object]) -> None:
    """History, program, a lab's folder, kept requests, certificates: an error, or nothing, and no wait."""
    assert not act(tmp_path)


async def test_a_program_that_became_one(tmp_path: Path) -> None:
    """What a child runs is named without a checksum if it cannot be read."""
    os.mkfifo(tmp_path / "cloudflared")
    seen = LastProgram()
    await seen.change(("/bin/true", 1), "1")
    words = await seen.change((str(tmp_path / "cloudflared"), 2), "2")
    assert words.endswith(f"({tmp_path / 'cloudflared'})")


def test_prx_ends_with_one_for_its_history(home: Home) -> None:
    """`prx start` runs and ends as asked, and says that the history cannot be written."""
    history_folder = home.folder / "data" / "history"
    history_folder.mkdir(parents=True)
    home.run("start", "--hello", "--lab", "--ttl", "1s")
    (file,) = history_folder.iterdir()
    file.unlink()
    os.mkfifo(file)
    ended = home.run("start", "--hello", "--lab", "--ttl", "1s")
    assert ended.returncode == 0
    assert "the history cannot be written" in ended.stderr


def test_the_background_says_where(home: Home) -> None:
    """`prx start --detach` refuses one in the place of its output, by name."""
    logs = home.folder / "data" / "logs"
    logs.mkdir(parents=True)
    output = logs / _OUTPUT
    os.mkfifo(output)
    ended = home.run("start", "--hello", "--lab", "--detach")
    assert ended.returncode == 1
    assert str(output) in ended.stderr


def test_a_log_without_end(tmp_path: Path) -> None:
    """Of a file as large as a disk the last 64 MiB are read, whatever is asked for."""
    path = tmp_path / "x.log"
    with path.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nlast\n")
    assert tail(path, 1_000_000)[-1] == b"last"
