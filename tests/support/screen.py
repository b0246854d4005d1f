"""A terminal's screen as a person sees it, drawn by an emulator (pyte) from what a program writes."""

from __future__ import annotations

import pyte


class Screen:
    """A window of `columns` × `lines`, with the lines that have scrolled out of it."""

    def __init__(self, columns: int, lines: int) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=1_000, ratio=0.5)
        self._screen.set_mode(pyte.modes.LNM)  # as a terminal driver turns a newline into one with a carriage return
        self._stream = pyte.Stream(self._screen)

    def offer(self, text: str) -> bool:
        """Take what a program writes."""
        self._stream.feed(text)
        return True

    def resize(self, columns: int, lines: int) -> None:
        """Change the window, as xterm does: nothing is wrapped again."""
        self._screen.resize(lines, columns)

    @property
    def lines(self) -> list[str]:
        """What the window shows, without blanks at the ends of lines and empty lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n").split("\n")

    @property
    def scrolled(self) -> list[str]:
        """What has left the window at its top."""
        top = self._screen.history.top
        return ["".join(row[column].data for column in range(self._screen.columns)).rstrip() for row in top]

    @property
    def everything(self) -> list[str]:
        """All lines, those that have scrolled out first."""
        return [*self.scrolled, *self.lines]

    @property
    def cursor_is_hidden(self) -> bool:
        """Return whether the cursor cannot be seen."""
        return bool(self._screen.cursor.hidden)
