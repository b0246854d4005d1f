"""Draw a few lines at the bottom of a terminal again and again, below a story that scrolls.

The lines are drawn over those before, whose place is counted from their lengths: a terminal that became narrower has wrapped
them by itself, and one that became wider has joined what it had wrapped. xterm and the Linux console cut lines instead: there
a few lines of the story above are lost when the window becomes narrower. Nothing is written if nothing has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from prx.ui.fitting import rows

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_ERASE_LINE, _UP = "\x1b[2K", "\x1b[A"  # line by line: tmux keeps in its history what one order erases from the top


class Painter:
    """Write to a terminal with `offer`, which returns whether the text is written; what is refused is drawn the next time."""

    def __init__(self, console: Console, offer: Callable[[str], bool]) -> None:
        self._console = console
        self._offer = offer
        self._drawn: list[Text] = []
        self._columns = 0
        self._story: list[Text] = []
        self._hidden = False

    def tell(self, line: Text) -> None:
        """Have `line` written above the drawing, with the next one."""
        self._story.append(line)

    def draw(self, lines: Sequence[Text], columns: int) -> None:
        """Draw `lines` on a terminal of so many columns."""
        same = columns == self._columns and [item.markup for item in lines] == [item.markup for item in self._drawn]
        if same and not self._story:
            return
        parts = [self._back(columns), "" if self._hidden else _HIDE_CURSOR]
        parts += [self._ansi(line) + "\n" for line in self._story]
        parts.append("\n".join(self._ansi(line) for line in lines))
        if self._offer("".join(parts)):
            self._drawn, self._columns, self._hidden = list(lines), columns, True
            self._story.clear()

    def close(self, columns: int) -> None:
        """Take the drawing away; the story stays."""
        story = "".join(self._ansi(line) + "\n" for line in self._story)
        if self._hidden or story:
            self._offer(self._back(columns) + story + (_SHOW_CURSOR if self._hidden else ""))
        self._drawn, self._hidden = [], False
        self._story.clear()

    def _back(self, columns: int) -> str:
        """Return what erases the last drawing and leads to its first row."""
        taken = rows(self._drawn, columns)
        return "\r" + _ERASE_LINE + (_UP + _ERASE_LINE) * (taken - 1) if taken else ""

    def _ansi(self, line: Text) -> str:
        with self._console.capture() as capture:
            self._console.print(line, soft_wrap=True, end="")
        return capture.get()
