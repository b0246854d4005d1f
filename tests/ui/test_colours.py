"""Colours on a terminal: of one word, if they are shown and wanted."""

from __future__ import annotations

import io
import re

import pytest

from prx.ui.colours import are_wanted, painted


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("error: no such option", "error:"),
        ("hint: prx --help", "hint:"),
        ("  hint: start the service", "hint:"),
        ("ok    network      a route", "ok"),
        ("fail  service      refused", "fail"),
        ("web   ready     https://a.example", "ready"),
        ("web   failed", "failed"),
        ("okay, that was it", ""),
        ("  origin_down: refused", ""),
        ("the error: of another", ""),
        ("web  https://ready.example", ""),
        ("", ""),
    ],
)
def test_one_word_is_coloured(line: str, word: str) -> None:
    """The word that says how things are is coloured, nothing else is, and the text stays as it is."""
    shown = painted(line)
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == line
    assert re.findall(r"\x1b\[[0-9;]+m(?:\x1b\[[0-9;]+m)?([^\x1b]+)\x1b\[0m", shown) == ([word] if word else [])


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        """Say that it is one."""
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
        (None, {"TERM": "xterm"}, False),
    ],
)
def test_only_if_they_are_wanted(
    stream: io.StringIO | None, environ: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe, a dumb terminal, NO_COLOR and a closed stream get none."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert are_wanted(stream) is wanted
