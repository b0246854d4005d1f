"""Read the command line and the environment the way cloudflared reads them.

Theory of operation: words are read from the left. A word with one or two dashes is a flag; it takes `=value` or the next
word, except that a boolean flag never takes the next word. The first word without a dash names the command: `tunnel`,
then possibly `run`. Flags of the tunnel command may also stand before the word `tunnel`. A value on the command line
beats the environment, which beats the default; of a flag given twice the last counts, unless it is a list. Observed with
cloudflared 2026.8.2; so are the texts of the errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from prx.core.durations import parse_duration
from prx.lab.connector.flags import FLAGS, Flag, Kind, Side

Value = str | bool | int | float | list[str]

_BY_WORD: Final = {word: flag for flag in FLAGS for word in (flag.name, *flag.aliases)}
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})


class Action(Enum):
    """What the command line asks for."""

    VERSION = "version"
    SHORT_VERSION = "version --short"
    HELP = "help"
    QUICK = "tunnel"
    NAMED = "tunnel run"
    INGRESS = "tunnel ingress"


@dataclass(frozen=True, slots=True)
class Values:
    """The flags that were set, by name; `get` falls back to the default."""

    given: Mapping[str, Value] = field(default_factory=dict)
    from_command_line: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def get(self, name: str) -> Value:
        """Return the value of a flag, or its default."""
        flag = _BY_WORD[name]
        return self.given[name] if name in self.given else convert(flag, flag.default)

    def text(self, name: str) -> str:
        """Return the value of a text flag."""
        value = self.get(name)
        assert isinstance(value, str)
        return value

    def number(self, name: str) -> float:
        """Return the value of an integer flag, or of a duration flag in seconds."""
        value = self.get(name)
        assert isinstance(value, int | float)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a list flag."""
        value = self.get(name)
        assert isinstance(value, list)
        return tuple(value)


@dataclass(frozen=True, slots=True)
class Invocation:
    """What is to be done, with which flags, and the words that were left over."""

    action: Action
    values: Values = field(default_factory=Values)
    arguments: tuple[str, ...] = ()
    after_run: bool = False


class FlagError(ValueError):
    """The command line cannot be read: usage text on stdout, exit code 0."""

    def __init__(self, text: str, *, after_run: bool) -> None:
        super().__init__(text)
        self.after_run = after_run


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Invocation:
    """Return what the command line (without the program's name) asks for; raise UsageError if it cannot be read."""
    words = _Words(arguments)
    values: dict[str, Value] = {}
    if help_or_version := _flags(words, values, Side.TUNNEL, root=True):
        return Invocation(help_or_version)
    command = words.take()
    if command in {None, "help", "h"}:
        return Invocation(Action.HELP)
    if command == "version":
        return Invocation(Action.SHORT_VERSION if words.take() in {"--short", "-short", "-s"} else Action.VERSION)
    if command != "tunnel":
        return _finish(Action.QUICK, values, environment, (command or "", *words.rest()))
    if _flags(words, values, Side.TUNNEL):
        return Invocation(Action.HELP)
    subcommand = words.take()
    if subcommand is None:
        return _finish(Action.QUICK, values, environment, ())
    if subcommand in {"help", "h"}:
        return Invocation(Action.HELP)
    if subcommand == "ingress":
        return _finish(Action.INGRESS, values, environment, tuple(words.rest()))
    if subcommand != "run":
        return _finish(Action.QUICK, values, environment, (subcommand, *words.rest()))
    if _flags(words, values, Side.RUN):
        return Invocation(Action.HELP, after_run=True)
    return _finish(Action.NAMED, values, environment, tuple(words.rest()))


def convert(flag: Flag, text: str) -> Value:
    """Return the value that a text means for a flag; raise ValueError with cloudflared's words."""
    try:
        match flag.kind:
            case Kind.BOOL:
                return _boolean(text or "false")
            case Kind.INTEGER:
                return int(text or "0", 0)
            case Kind.DURATION:
                return parse_duration(text or "0")
            case Kind.LIST:
                return text.split(",") if text else []
            case Kind.TEXT:
                return text
    except ValueError:
        kind = "boolean value" if flag.kind is Kind.BOOL else "value"
        joint = "for" if flag.kind is Kind.BOOL else "for flag"
        raise ValueError(f'invalid {kind} "{text}" {joint} -{flag.name}: parse error') from None


class _Words:
    """The words of the command line, read from the left."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._next = 0

    def take(self) -> str | None:
        if self._next == len(self._words):
            return None
        self._next += 1
        return self._words[self._next - 1]

    def rest(self) -> list[str]:
        return self._words[self._next :]

    def flags(self) -> Iterator[str]:
        """Yield the leading words that are flags; a lone `--` ends them and is dropped."""
        while self._next < len(self._words):
            word = self._words[self._next]
            if word == "-" or not word.startswith("-"):
                return
            self._next += 1
            if word == "--":
                return
            yield word


def _flags(words: _Words, values: dict[str, Value], side: Side, *, root: bool = False) -> Action | None:
    """Read the leading flags into `values`; return HELP or VERSION when one of those is asked for."""
    after_run = side is Side.RUN
    lists_started: set[str] = set()
    for word in words.flags():
        name, equals, text = word.removeprefix("-").removeprefix("-").partition("=")
        if name in {"h", "help"}:
            return Action.HELP
        if root and name in {"v", "V", "version"}:
            return Action.VERSION
        flag = _BY_WORD.get(name)
        if flag is None or not flag.side.allows(after_run=after_run):
            raise FlagError(f"flag provided but not defined: -{name}", after_run=after_run)
        if not equals:
            following = "true" if flag.kind is Kind.BOOL else words.take()
            if following is None:
                raise FlagError(f"flag needs an argument: -{name}", after_run=after_run)
            text = following
        _store(values, flag, text, lists_started, after_run=after_run)
    return None


def _store(values: dict[str, Value], flag: Flag, text: str, lists_started: set[str], *, after_run: bool) -> None:
    """Keep one value from the command line: a list grows by it whole, anything else is replaced."""
    if flag.kind is Kind.LIST:
        # On the command line a comma does not separate: observed with cloudflared 2026.8.2.
        known = values.get(flag.name) if flag.name in lists_started else None
        lists_started.add(flag.name)
        values[flag.name] = [*known, text] if isinstance(known, list) else [text]
        return
    try:
        values[flag.name] = convert(flag, text)
    except ValueError as error:
        raise FlagError(str(error), after_run=after_run) from None


def _finish(action: Action, values: dict[str, Value], environment: Mapping[str, str], arguments: tuple[str, ...]) -> Invocation:
    """Add what the environment has and the command line does not."""
    from_command_line = frozenset(values)
    named = action is Action.NAMED
    for flag in FLAGS:
        if flag.name in values or (flag.side is Side.RUN and not named):
            continue
        found = next((environment[name] for name in flag.env if environment.get(name)), None)
        if found is None:
            continue
        try:
            values[flag.name] = convert(flag, found)
        except ValueError as error:
            raise FlagError(f"{error} (from the environment)", after_run=named) from None
    return Invocation(action, Values(values, from_command_line), arguments, after_run=named)


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(text)
