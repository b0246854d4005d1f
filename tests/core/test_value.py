"""Data classes that inherit equality, hash and repr are equal, hashed and shown as those of `dataclass` itself."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace
from typing import Any

import pytest

from prx.core.value import Value


@dataclass(frozen=True, slots=True)
class Compiled:
    """What `dataclass` makes."""

    name: str
    port: int = 0
    secret: str = field(default="", repr=False)
    seen: list[int] = field(default_factory=list, compare=False)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Inherited(Value):
    """The same."""

    name: str
    port: int = 0
    secret: str = field(default="", repr=False)
    seen: list[int] = field(default_factory=list, compare=False)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Wider(Inherited):
    """The same with one more, and without slots."""

    more: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Empty(Value):
    """Nothing."""


GIVEN = (("web",), ("web", 1), ("web", 1, "s3cret"), ("web", 1, "other"), ("api", 1, "s3cret", [1]), ("web", 0, "", [2]))


@pytest.mark.parametrize("left", GIVEN)
@pytest.mark.parametrize("right", GIVEN)
def test_they_are_equal_as_compiled_ones_are(left: tuple[Any, ...], right: tuple[Any, ...]) -> None:
    """Equal values, those with `compare=False` left out, are equal and have one hash; other values are not equal."""
    same = Compiled(*left) == Compiled(*right)
    assert (Inherited(*left) == Inherited(*right)) is same
    assert (Inherited(*left) != Inherited(*right)) is not same
    assert len({Inherited(*left), Inherited(*right)}) == len({Compiled(*left), Compiled(*right)})


@pytest.mark.parametrize("given", GIVEN)
def test_they_show_what_compiled_ones_show(given: tuple[Any, ...]) -> None:
    """The repr names class and fields, and never a field that is to be kept out of it."""
    assert repr(Inherited(*given)) == repr(Compiled(*given)).replace("Compiled", "Inherited")
    assert "s3cret" not in repr(Inherited(*given))
    assert repr(Empty()) == "Empty()"


def test_another_class_is_never_equal() -> None:
    """Neither a class with the same fields, nor one that is derived, nor one without any is equal."""
    assert Inherited("web") != Compiled("web")
    assert Inherited("web") != Wider("web")
    assert Wider("web") != Inherited("web")
    assert Wider("web") == Wider("web")
    assert Wider("web", more=(1,)) != Wider("web")
    assert Empty() == Empty() != object()


def test_what_cannot_be_hashed_is_said() -> None:
    """A value that holds a list has no hash, as a compiled one has none."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(Wider("web", more=([],)))


def test_everything_else_is_dataclass_itself() -> None:
    """They cannot change, and are copied, replaced, pickled and taken apart as ever."""
    value = Inherited("web", 80, "s3cret", [1])
    with pytest.raises(FrozenInstanceError):
        value.port = 81  # type: ignore[misc]
    assert replace(value, port=81) == Inherited("web", 81, "s3cret")
    assert copy.deepcopy(value) == value == pickle.loads(pickle.dumps(value))
    assert asdict(value) == {"name": "web", "port": 80, "secret": "s3cret", "seen": [1]}
