"""The prompt for what must not be shown, and the signals that come meanwhile."""

from __future__ import annotations

import signal

import pytest

from prx.ui.prompt import hidden


@pytest.mark.parametrize(
    ("number", "stays"),
    [(signal.SIGINT, False), (signal.SIGTERM, False), (signal.SIGQUIT, True), (signal.SIGALRM, True), (signal.SIGXCPU, True)],
)
def test_what_the_launcher_ignores_stays_ignored(number: signal.Signals, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """`docs/reference/output.md`: a signal that was ignored when prx began stays ignored, except SIGINT and SIGTERM."""
    seen: list[object] = []

    def answer(_words: str) -> str:
        seen.append(signal.getsignal(number))
        return "word"

    monkeypatch.setattr("getpass.getpass", answer)
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert hidden("? ") == "word"
        assert (seen == [signal.SIG_IGN]) is stays
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
