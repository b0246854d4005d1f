"""Faults as a script: what happens to an edge, when, one line each.

    # a bad morning
    seed 7
    at 2s  random drop one
    at 5s  refuse for 10s
    at 20s reject-registration unauthorized times=2
    every 30s..60s random drop one until 5m
    at 10m clear

`at TIME` acts once, `every TIME` again and again, with `LOW..HIGH` after a pause that chance chooses; `until TIME` ends that.
`for TIME` clears a lasting fault again. `clear [FAULT]` clears one or all. Times count from the script's beginning and are
those of the lab's clock. Chance follows `seed`, so that a script does the same each time. The faults and their values are
those of `prx.lab.faults`, written as `prx.lab.edge.faults.notation` says.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol, TypeAlias

from prx.lab.edge.config import Sleep
from prx.lab.edge.faults.notation import from_words, kind_of, seconds
from prx.lab.faults import ONCE, Fault


class Target(Protocol):
    """What a script acts on: a lab."""

    def inject(self, fault: Fault, *, lasts: float | None = None) -> None:
        """Set a fault, which will be cleared after so many seconds."""

    def clear(self, kind: type[Fault] | None = None) -> None:
        """Clear the fault of a class; None: all of them."""


@dataclass(frozen=True, slots=True)
class Inject:
    """Set a fault, for so many seconds (None: until cleared)."""

    fault: Fault
    lasts: float | None = None


@dataclass(frozen=True, slots=True)
class Clear:
    """Clear the fault of a class; None: all."""

    kind: type[Fault] | None = None


Action: TypeAlias = Inject | Clear


@dataclass(frozen=True, slots=True)
class Step:
    """An action at `first` seconds; with `pause` (least, most) again after each pause, before `until`."""

    action: Action
    first: float = 0.0
    pause: tuple[float, float] | None = None
    until: float = float("inf")

    @property
    def at_once(self) -> bool:
        """Return whether it is done without any wait."""
        return self.pause is None and self.first == 0.0


@dataclass(frozen=True, slots=True)
class Script:
    """Steps, and the seed for whatever they leave to chance (None: the lab's own)."""

    steps: tuple[Step, ...]
    seed: int | None = None

    @classmethod
    def parse(cls, text: str) -> Script:
        """Read a script; ValueError names the line, what was found and what is expected."""
        steps: list[Step] = []
        seed: int | None = None
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            try:
                if words[:1] == ["seed"]:
                    seed = _seed(words[1:])
                elif words:
                    steps.append(parse_step(words))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
        return cls(tuple(steps), seed)


def parse_step(words: list[str]) -> Step:
    """Read the words of one line; an action without a time is done at once."""
    if words[0] == "at":
        when, action = _time_and_action(words)
        return Step(parse_action(action), first=seconds(when))
    if words[0] == "every":
        when, action = _time_and_action(words)
        action, end = _without(action, "until")
        low, dots, high = when.partition("..")
        pause = (seconds(low), seconds(high if dots else low))
        if not 0 < pause[0] <= pause[1]:
            raise ValueError(f"{when!r} is no pause; expected such as 30s or 30s..60s")
        return Step(parse_action(action), pause=pause, until=float("inf") if end is None else end)
    return Step(parse_action(words))


def parse_action(words: list[str]) -> Action:
    """Read an action, such as `drop one`, `refuse for 10s` or `clear refuse`."""
    if words[0] == "clear":
        if len(words) > 2:
            raise ValueError(f"{' '.join(words)!r} clears too much; expected clear, or clear FAULT")
        return Clear(kind_of(words[1]) if len(words) == 2 else None)
    words, lasts = _without(words, "for")
    fault = from_words(words)
    if lasts is not None and isinstance(fault, ONCE):
        raise ValueError(f"{words[-1]!r} acts once; expected it without 'for'")
    return Inject(fault, lasts)


async def play(script: Script, target: Target, *, clock: Callable[[], float], sleep: Sleep, chance: Random) -> None:
    """Do what a script says, to its end; one with an `every` that has no `until` has none."""
    began = clock()
    order = itertools.count()
    agenda: list[tuple[float, int, Step]] = []

    def plan(at: float, step: Step) -> None:
        if at < step.until:
            heapq.heappush(agenda, (at, next(order), step))

    for step in script.steps:
        plan(step.first if step.pause is None else chance.uniform(*step.pause), step)
    while agenda:
        at, _, step = heapq.heappop(agenda)
        while (wait := began + at - clock()) > 0:
            await sleep(wait)
        perform(step.action, target)
        if isinstance(step.action, Inject) and step.action.lasts is not None:
            plan(at + step.action.lasts, Step(Clear(type(step.action.fault))))
        if step.pause is not None:
            plan(at + chance.uniform(*step.pause), step)


def perform(action: Action, target: Target) -> None:
    """Do one action; its end is not planned here."""
    match action:
        case Inject(fault=fault, lasts=lasts):
            target.inject(fault, lasts=lasts)
        case Clear(kind=kind):
            target.clear(kind)


def _time_and_action(words: list[str]) -> tuple[str, list[str]]:
    if len(words) < 3:
        raise ValueError(f"{' '.join(words)!r} is not whole; expected {words[0]} TIME ACTION")
    return words[1], words[2:]


def _without(words: list[str], mark: str) -> tuple[list[str], float | None]:
    """Take `MARK TIME` off the end."""
    if words[-2:-1] == [mark]:
        return words[:-2], seconds(words[-1])
    return words, None


def _seed(words: list[str]) -> int:
    if len(words) != 1 or not words[0].isdecimal():
        raise ValueError(f"{' '.join(words)!r} is no seed; expected a whole number")
    return int(words[0])
