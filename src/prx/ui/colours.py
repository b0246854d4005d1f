"""Colours on a terminal: of the one word that says how things are, so that it is found at once, and never the only sign."""

from __future__ import annotations

import os
import re
from typing import Any, Final, TextIO

import click

from prx.core.states import State

_GOOD: Final = {"fg": "green"}
_WARNS: Final = {"fg": 166}  # can be read on a light background and on a dark one
_BAD: Final = {"fg": "red", "bold": True}
_QUIET: Final = {"dim": True}
_STYLES: Final[dict[str, dict[str, Any]]] = {
    "ok": _GOOD,
    "warn": _WARNS,
    "warn:": _WARNS,
    "error:": _BAD,
    "fail": _BAD,
    **dict.fromkeys(("hint:", "note:", "skip"), _QUIET),
    State.READY: _GOOD,
    State.DEGRADED: _WARNS,
    State.BACKOFF: _WARNS,
    State.FAILED: _BAD,
    State.IDLE: _QUIET,
    State.STOPPING: _QUIET,
    State.STARTING: {"fg": "cyan"},
}
_FIRST: Final = re.compile(r"^( *)(error:|warn:|hint:|note:|ok(?=  )|warn(?=  )|fail(?=  )|skip(?=  ))")
_STATE: Final = re.compile(rf"^(\S+ +)({'|'.join(State)})(?= |$)")


def are_wanted(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal that shows colours, and its user wants them (https://no-color.org)."""
    return stream is not None and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(line: str) -> str:
    """Return a line with its word of judgement coloured: the first one, or the state of a tunnel behind its name."""
    found = _FIRST.match(line) or _STATE.match(line)
    if found is None:
        return line
    return f"{found[1]}{click.style(found[2], **_STYLES[found[2]])}{line[found.end() :]}"
