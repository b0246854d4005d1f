"""On which line of a TOML text each key stands.

`tomllib` returns values without positions. This scanner walks over a text that `tomllib` has already accepted, so it only has
to find its way (TOML 1.0: keys, strings, arrays, inline tables, comments), never to judge. A path holds keys, and indexes for
the elements of arrays and of arrays of tables: `tunnel.on_url[1]` is ("tunnel", "on_url", 1).
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_left
from collections.abc import Mapping

from prx.core.parsing import DEEPEST

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_STRING = re.compile(  # a multi-line string may end with up to two quotes of its own before the closing three
    r'"""(?:[^\\]|\\.)*?"{3,5}' + r"|'''.*?'{3,5}" + r'|"(?:[^"\\]|\\.)*"' + r"|'[^']*'",
    re.DOTALL,
)


class TooDeepError(ValueError):
    """Tables and lists are nested deeper than `prx.core.parsing.DEEPEST`; `line` is the first that is."""

    def __init__(self, line: int) -> None:
        super().__init__(f"line {line} is nested too deeply")
        self.line = line


def find_lines(text: str) -> Mapping[KeyPath, int]:
    """Return the line, counted from 1, on which each table, key and element of a valid TOML text is first named.

    Raises TooDeepError.
    """
    scanner = _Scanner(text)
    scanner.scan_document()
    return scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[KeyPath, int] = {}
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._last_index: dict[KeyPath, int] = {}  # of each array of tables: the element that headers now add to

    def scan_document(self) -> None:
        table: KeyPath = ()
        while self._skip_blank() < len(self.text):
            if self.text[self.at] == "[":
                table = self._scan_header()
            else:
                self._scan_pair(table)

    def _scan_header(self) -> KeyPath:
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        line = self._line()
        keys = self._scan_key()
        self._check_depth(len(keys), line)
        self.at += 2 if many else 1
        path: KeyPath = ()
        for key in keys[:-1]:
            path = self._current((*path, key))
            self.lines.setdefault(path, line)
        path = (*path, keys[-1])
        self.lines.setdefault(path, line)
        if many:
            self._last_index[path] = self._last_index.get(path, -1) + 1
        path = self._current(path)
        self.lines.setdefault(path, line)
        return path

    def _current(self, path: KeyPath) -> KeyPath:
        return (*path, self._last_index[path]) if path in self._last_index else path

    def _scan_pair(self, table: KeyPath) -> None:
        line = self._line()
        path = table
        keys = self._scan_key()
        self._check_depth(len(table) + len(keys), line)
        for key in keys:
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1  # the equals sign
        self._scan_value(path)

    def _scan_key(self) -> list[str]:
        """Read a dotted key and stop before the character that follows it."""
        keys: list[str] = []
        while True:
            self._skip_blank()
            match = _BARE_KEY.match(self.text, self.at) or _STRING.match(self.text, self.at)
            assert match is not None, "tomllib accepted a key that is neither bare nor quoted"
            self.at = match.end()
            keys.append(match[0] if match.re is _BARE_KEY else tomllib.loads(f"key = {match[0]}")["key"])
            self._skip_blank()
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _scan_value(self, path: KeyPath) -> None:
        self._skip_blank()
        first = self.text[self.at]
        if first == "[":
            self._scan_array(path)
        elif first == "{":
            self._scan_inline_table(path)
        else:
            pattern = _STRING if first in "\"'" else _SCALAR
            match = pattern.match(self.text, self.at)
            assert match is not None, "tomllib accepted a string without an end"
            self.at = match.end()

    def _scan_array(self, path: KeyPath) -> None:
        index = 0
        self._check_depth(len(path) + 1, self._line())
        while not self._next_is("]"):
            self.lines[(*path, index)] = self._line()
            self._scan_value((*path, index))
            index += 1

    def _scan_inline_table(self, path: KeyPath) -> None:
        while not self._next_is("}"):
            self._scan_pair(path)

    def _next_is(self, closing: str) -> bool:
        """Step over the opening bracket or a comma, then over `closing` if that comes next."""
        if self.text[self._skip_blank()] != closing:
            self.at += 1
        self._skip_blank()
        if self.text[self.at] == closing:
            self.at += 1
            return True
        return False

    def _skip_blank(self) -> int:
        match = _BLANK.match(self.text, self.at)
        assert match is not None, "the pattern matches nothing, too"
        self.at = match.end()
        return self.at

    @staticmethod
    def _check_depth(depth: int, line: int) -> None:
        if depth > DEEPEST:
            raise TooDeepError(line)

    def _line(self) -> int:
        return bisect_left(self._newlines, self.at) + 1
