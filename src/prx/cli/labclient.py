"""Find a running lab and ask it: its control URL stands in a small file of the runtime directory while it runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from prx.cli.ending import unusable
from prx.config.paths import ensure_private_dir, runtime_dir
from prx.core.errors import PrxError
from prx.files import FileRefusedError
from prx.files.reading import read_plain

CONTROL_VARIABLE: Final = "PRX_LAB_CONTROL"
_MAX_ANSWER: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 10.0

control_option = click.option(
    "--control",
    envvar=CONTROL_VARIABLE,
    metavar="URL",
    help=f"The lab's control URL [{CONTROL_VARIABLE}]; default: that of the lab that was started last.",
)


@contextmanager
def announced(control: str) -> Iterator[None]:
    """Let other commands find the lab with this control URL for the length of a block."""
    file = _file()
    ensure_private_dir(file.parent)
    content = json.dumps({"control": control, "pid": os.getpid()})
    fresh = file.with_suffix(f".{os.getpid()}")
    try:
        fresh.touch(mode=0o600)
        fresh.write_text(content)
        fresh.replace(file)
    except OSError as error:
        raise unusable(error, fresh) from error
    try:
        yield
    finally:
        if _read() == content:  # a lab that was started later has written its own
            file.unlink()


def ask(control: str | None, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask a lab and give its answer; PrxError where there is none, or where it refuses."""
    import http.client

    found = control or _announced_control()
    where = urlsplit(found)
    connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port or 80, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read(_MAX_ANSWER).decode(errors="replace")
    except OSError as error:
        raise PrxError(f"no lab answers at {found}: {error}", hint="`prx lab` prints its control URL") from error
    finally:
        connection.close()
    document = _document(text)
    if answer.status != http.client.OK:
        raise PrxError(f"the lab refused: {document.get('error', text.strip()[:200])}")
    return document


def _document(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise PrxError("what answers is no lab: expected JSON", hint="`prx lab` prints its control URL")
    return document


def _file() -> Path:
    return runtime_dir() / "lab.json"


def _read() -> str:
    """Return what the file holds; empty where there is none, or something else in its place."""
    try:
        return read_plain(_file(), limit=_MAX_ANSWER, ours=True).decode(errors="replace")
    except (OSError, FileRefusedError):
        return ""


def _announced_control() -> str:
    try:
        return str(json.loads(_read())["control"])
    except (ValueError, KeyError, TypeError):
        raise PrxError(
            "no lab runs, as far as this user's files tell", hint="start one with `prx lab`, or give --control"
        ) from None
