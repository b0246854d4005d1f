"""Find a running lab and ask it: its control URL stands in a small file of the runtime directory while it runs.

Each lab has a file of its own, `lab.PID.json`, so that the end of one takes nothing from another. A file whose process is gone,
after a SIGKILL, is passed over.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import click

from prx.config.local_addr import LocalAddr
from prx.config.paths import ensure_private_dir, runtime_dir
from prx.core.errors import PrxError, UsageError, shortage
from prx.core.parsing import parse_json
from prx.core.shortage import lack_for_connection, lack_of
from prx.files import FileRefusedError
from prx.files.reading import read_plain
from prx.files.replace import write_whole
from prx.ui.errors import describe_os_error

CONTROL_VARIABLE: Final = "PRX_LAB_CONTROL"
_MAX_ANSWER: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 10.0
_CHUNK: Final = 1 << 16
_OK: Final = 200

control_option = click.option(
    "--control",
    envvar=CONTROL_VARIABLE,
    metavar="URL",
    help=f"The lab's control URL [{CONTROL_VARIABLE}]; default: that of the lab that was started last.",
)

LIMITS_VARIABLE: Final = "PRX_LAB_LIMITS"
limits_option = click.option(
    "--limits",
    envvar=LIMITS_VARIABLE,
    type=click.Choice(("free", "none")),
    default="free",
    help=f"What visitors are refused: as on Cloudflare's free plan, or nothing [{LIMITS_VARIABLE}].",
)


class NoLabError(PrxError):
    """Nothing answers at the control URL of a lab."""


@contextmanager
def announced(control: str) -> Iterator[None]:
    """Publish this control URL to other commands of the user for the length of a block."""
    folder = ensure_private_dir(runtime_dir())
    file = folder / f"lab.{os.getpid()}.json"
    try:
        write_whole(file, json.dumps({"control": control, "pid": os.getpid(), "since": time.time_ns()}).encode(), durable=False)
    except OSError as error:
        raise describe_os_error(error, file) from error
    try:
        yield
    finally:
        with suppress(OSError):  # one that stays names a process that is gone, and is passed over
            file.unlink(missing_ok=True)


def ask(control: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask a lab and return its answer; PrxError if there is none, or if it refuses."""
    import h11

    found = control or _announced_control()
    where = _place(found)
    try:
        status, text = _exchange(where, method, path, b"" if body is None else json.dumps(body).encode())
    except (OSError, h11.ProtocolError) as error:
        if lack := lack_for_connection(error):  # it was not asked
            raise shortage(lack) from error
        words = (getattr(error, "strerror", None) or str(error)).lower()
        raise NoLabError(f"no lab answers at {found}: {words}", hint="`prx lab` prints its control URL") from error
    document = _document(text)
    if status != _OK:
        raise PrxError(f"the lab refused: {document.get('error', text.strip()[:200])}")
    return document


def _exchange(where: tuple[str, int], method: str, path: str, body: bytes) -> tuple[int, str]:
    """Send a request and return status and body of the answer; `prx start` has h11 loaded, and `http.client` needs `email`."""
    import h11

    connection = h11.Connection(h11.CLIENT)
    host = f"[{where[0]}]:{where[1]}" if ":" in where[0] else f"{where[0]}:{where[1]}"
    headers = [
        ("Host", host),
        ("Connection", "close"),
        ("Content-Type", "application/json"),
        ("Content-Length", f"{len(body)}"),
    ]
    request = h11.Request(method=method, target=path, headers=headers)
    status, answer = 0, b""
    address = (where[0].encode(), where[1])  # a host as a str loads the codec of IDNA and its tables, 0.4 MiB
    with socket.create_connection(address, timeout=_TIMEOUT_SECONDS) as stream:  # type: ignore[arg-type]  # bytes are a host, too
        stream.sendall(b"".join(connection.send(part) or b"" for part in (request, h11.Data(body), h11.EndOfMessage())))
        while len(answer) < _MAX_ANSWER:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(stream.recv(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                answer += event.data
            elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                break
    return status, answer.decode(errors="replace")


def _place(control: str) -> tuple[str, int]:
    """Return host and port of a control URL; UsageError if it is none."""
    expected = "a lab's control URL such as http://127.0.0.1:40125"
    try:
        found = LocalAddr.parse(control)
    except ValueError as error:
        raise UsageError(f"found {control!r}, expected {expected}") from error
    if not control.lower().startswith("http://"):
        raise UsageError(f"found {control!r}, expected {expected}")
    return found.host, found.port


def _document(text: str) -> dict[str, Any]:
    try:
        document = parse_json(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise PrxError("what answers is no lab: expected JSON", hint="`prx lab` prints its control URL")
    return document


def announced_controls() -> list[str]:
    """Return the control URLs of the labs that run, the last one that was started first."""
    found = [entry for file in runtime_dir().glob("lab.*.json") if (entry := _read(file)) is not None]
    return [control for _, control in sorted(found, reverse=True)]


def _announced_control() -> str:
    """Return the control URL of the lab that was started last and still runs."""
    found = announced_controls()
    if not found:
        raise PrxError("this user's files name no lab that runs", hint="start one with `prx lab`, or give --control")
    return found[0]


def _read(file: Path) -> tuple[int, str] | None:
    """Return when a lab was started and its control URL; None if that is not known, or if it has ended.

    ShortageError if the file cannot be read for now.
    """
    try:
        entry = parse_json(read_plain(file, limit=_MAX_ANSWER, ours=True))
        os.kill(int(entry["pid"]), 0)
        return int(entry["since"]), str(entry["control"])
    except (OSError, FileRefusedError, ValueError, KeyError, TypeError, OverflowError) as error:
        if lack := lack_of(error):
            raise shortage(lack) from error
        return None
