"""A configuration file as it stands: its values, the line of each, and who may read it."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from prx.config import positions
from prx.core.errors import ConfigError, ShortageError
from prx.core.parsing import DEEPEST, too_many_digits
from prx.core.shortage import lack_of
from prx.core.value import Value, value_class
from prx.files import Claim, FileRefusedError
from prx.files.reading import Content, read_trusted
from prx.files.rule import is_mounted_secret, trusted_uids

MAX_BYTES: Final = 1 << 20  # a configuration is a few kilobytes: something larger is a mistake, such as /dev/zero

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_HINTS = {
    "Invalid value": 'expected text in quotes, a number, true or false, or a list such as ["a", "b"]',
    "Cannot overwrite a value": "the same key is set twice",
    "Cannot declare": "the same table is opened twice",
    "Illegal character": "a text in quotes ends on its own line, and control characters are written as \\uXXXX",
}


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Source(Value):
    """One file. `data`: its values as TOML defines them. `lines`: where each stands. `mode`: its permission bits.

    others_can_read: group or others have the right to, and that can be changed (it cannot if a container mounts the file).
    """

    path: Path
    data: Mapping[str, Any]
    lines: Mapping[positions.KeyPath, int] = field(default_factory=dict)
    mode: int = 0o600
    others_can_read: bool = False

    @property
    def declares_tunnels(self) -> bool:
        """Return whether the file has a `[tunnel]` or a `[tunnels.NAME]` of its own."""
        return "tunnel" in self.data or bool(self.data.get("tunnels"))


def read_source(path: Path, claim: Claim = Claim.FOUND, environ: Mapping[str, str] | None = None) -> Source:
    """Read a TOML file.

    Raises ConfigError when it cannot be read, is not TOML (with line and column if there is one), or is a file that others
    may have put there: `claim` says how prx came to it (`prx.files.rule`).
    """
    found = _read(path, claim, environ)
    content = found.data
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: found a byte that is not UTF-8, expected a text file in UTF-8"]) from error
    return parse_source(path, text, *_rights(found, environ))


def parse_source(path: Path, text: str, mode: int = 0o600, others_can_read: bool = False) -> Source:
    """Return what `text` says, which stands in the file `path` or is to; raise ConfigError if it is not TOML."""
    try:
        return Source(path, tomllib.loads(text), positions.find_lines(text), mode, others_can_read)
    except RecursionError as error:
        raise ConfigError([f"{path}: brackets are nested too deeply to be read"]) from error
    except positions.TooDeepError as error:
        raise ConfigError(
            [f"{path}:{error.line}: found more than {DEEPEST} tables and lists nested within one another"]
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(path, text, str(error))]) from error
    except ValueError as error:  # Python's own limit of digits
        raise ConfigError([f"{path}: not TOML: {too_many_digits()}"]) from error


def _read(path: Path, claim: Claim, environ: Mapping[str, str] | None) -> Content:
    try:
        return read_trusted(path, claim, limit=MAX_BYTES, environ=environ, naming=f"name it: -c {path}")
    except FileRefusedError as error:
        raise ConfigError([error.message], hint=error.hint) from error
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: there is no such file"], hint="prx config init writes one to begin with") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if lack := lack_of(error):  # of the machine, not of the configuration
            raise ShortageError(f"{path} cannot be read: {reason.lower()}", hint=lack.hint) from error
        raise ConfigError([f"{path}: cannot be read: {reason.lower()}"]) from error


def _rights(found: Content, environ: Mapping[str, str] | None) -> tuple[int, bool]:
    """Return the file's mode, and whether others can read it though they need not."""
    assert found.way.file is not None
    mode = stat.S_IMODE(found.way.file.mode)
    mounted = is_mounted_secret(found.way, trusted_uids(os.environ if environ is None else environ))
    return mode, bool(mode & 0o044) and not mounted


def _syntax_problem(path: Path, text: str, message: str) -> str:
    """Put the place of a syntax error first. The text of the line is not shown: it may hold a token."""
    match = _PLACE.search(message)
    what = message[: match.start()] if match else message
    hint = next((hint for start, hint in _HINTS.items() if what.startswith(start)), "")
    said = f"not TOML: {what[:1].lower()}{what[1:]}" + (f" ({hint})" if hint else "")
    if match is None:
        return f"{path}: {said}"
    if match["line"] is None:
        return f"{path}:{text.rstrip().count(chr(10)) + 1}: {said} at the end of the file"
    return f"{path}:{match['line']}:{match['column']}: {said}"
