"""Cut a byte stream into lines, whatever is in it, with bounded memory.

A stream is anything that a child writes: lines, one endless line, NUL bytes, half a character. The splitter keeps the
unfinished last line and never more than `LINE_LIMIT` bytes of it: a longer line is handed out once, cut and marked with
`CUT_MARKER`, and the rest of it, up to its newline, is counted and thrown away. How the stream was divided into
chunks never changes the lines.
"""

from __future__ import annotations

LINE_LIMIT = 64 * 1024
"""Longest line kept, in bytes, without the marker."""

CUT_MARKER = " …[cut]"
"""Ends a line that was longer than `LINE_LIMIT`."""

_MARKER = CUT_MARKER.encode()


class LineSplitter:
    r"""Turn chunks of bytes into whole lines without their newline ("\n" or "\r\n").

    `lines` counts lines handed out, and `cut` those among them that were too long.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        self.limit = limit
        self.lines = 0
        self.cut = 0
        self._tail = bytearray()
        self._skipping = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes."""
        *ended, rest = chunk.split(b"\n")
        if len(chunk) <= self.limit and b"\r" not in chunk:  # only the first can be another one than it is here
            found = [line for part in ended[:1] if (line := self._end(part)) is not None] + ended[1:]
        else:
            found = [line for part in ended if (line := self._end(part)) is not None]
        if rest:
            self._extend(rest, found)
        self.lines += len(found)
        return found

    def take_block(self, chunk: bytes) -> bytes | None:
        r"""Return the lines that `chunk` completes as they stand, each with its newline; None if they need `feed`.

        They do if there are none, or if one is too long or ends in "\r". Nothing is taken in then. `lines` does not count them.
        """
        end = chunk.rfind(b"\n") + 1
        if not end or self._skipping or len(chunk) - end > self.limit:
            return None
        block = b"".join((self._tail, memoryview(chunk)[:end]))
        if b"\r" in block or not self._fit(block):
            return None
        self._tail[:] = chunk[end:]
        return block

    def _fit(self, block: bytes) -> bool:
        """Return whether no line of a block is too long: the last newline within each limit's reach is looked for."""
        start = 0
        while len(block) - start > self.limit:
            newline = block.rfind(b"\n", start, start + self.limit + 1)
            if newline < 0:
                return False
            start = newline + 1
        return True

    def finish(self) -> list[bytes]:
        """Return the last line if the stream ended without a newline."""
        last = self._end(b"") if self._tail or self._skipping else None
        found = [] if last is None else [last]
        self.lines += len(found)
        return found

    def _end(self, part: bytes) -> bytes | None:
        """Complete the current line with `part`; None if its beginning went out already, cut."""
        if self._skipping:
            self._skipping = False
            return None
        if self._tail:
            self._tail += part
            part = bytes(self._tail)
            self._tail.clear()
        part = part.removesuffix(b"\r")
        return part if len(part) <= self.limit else self._cut(part)

    def _extend(self, part: bytes, found: list[bytes]) -> None:
        if self._skipping:
            return
        self._tail += part
        # one byte more is kept: it may be the "\r" of a line that just fits
        if len(self._tail) > self.limit + 1:
            found.append(self._cut(bytes(self._tail)))
            self._tail.clear()
            self._skipping = True

    def _cut(self, line: bytes) -> bytes:
        self.cut += 1
        return line[: self.limit] + _MARKER
