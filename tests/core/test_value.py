"""Data classes that inherit all their methods are made, compared, hashed and shown as those of `dataclass` itself."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, dataclass, field, replace
from typing import Any

import pytest

from prx.core.value import Value, value_class


@dataclass(frozen=True, slots=True)
class Compiled:
    """What `dataclass` makes."""

    name: str
    port: int = 0
    secret: str = field(default="", repr=False)
    seen: list[int] = field(default_factory=list, compare=False)


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Inherited(Value):
    """The same."""

    name: str
    port: int = 0
    secret: str = field(default="", repr=False)
    seen: list[int] = field(default_factory=list, compare=False)


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class Wider(Inherited):
    """The same with one more, and without slots."""

    more: tuple[Any, ...] = ()


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Empty(Value):
    """Nothing."""


@value_class(frozen=True, kw_only=True, slots=True, eq=False, repr=False)
class Keyed(Value):
    """By name alone, and without a default."""

    name: str = "web"
    number: int


@value_class(frozen=True, eq=False, repr=False)
class Completed(Value):
    """One that works something out."""

    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "long", f"{self.name}.localhost")

    long = ""


@value_class(frozen=True, eq=False, repr=False)
class CompletedTwice(Completed):
    """One that inherits that."""

    port: int = 0


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


WRONG: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "nothing": ((), {}),
    "too many": (("web", 1, "s3cret", [], 5), {}),
    "twice": (("web",), {"name": "api"}),
    "unknown": (("web",), {"host": "api"}),
    "unknown and nothing": ((), {"host": "api"}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("kind", [Compiled, Inherited])
def test_they_refuse_what_compiled_ones_refuse(kind: Any, wrong: str) -> None:
    """A value that is missing, given twice or too much, or of no field, is a TypeError."""
    given, named = WRONG[wrong]
    with pytest.raises(TypeError):
        kind(*given, **named)


def test_a_field_by_name_alone_is_not_given_by_position() -> None:
    """`kw_only` holds for the fields of the class that says so, and for those that have no default as well."""
    assert Wider("web", 1, "", [], more=(1,)).more == (1,)
    with pytest.raises(TypeError, match="takes 4 values by position, not 5"):
        Wider("web", 1, "", [], (1,))  # type: ignore[call-arg]
    assert Keyed(number=2).number == 2
    with pytest.raises(TypeError, match="made without 'number'"):
        Keyed()  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Inherited, "(name: 'str', port: 'int' = 0, secret: 'str' = '', seen: 'list[int]' = <factory>) -> None"),
        (Keyed, "(*, name: 'str' = 'web', number: 'int') -> None"),
        (CompletedTwice, "(name: 'str', port: 'int' = 0) -> None"),
        (Empty, "() -> None"),
    ],
)
def test_they_say_what_they_take(kind: type[Value], shown: str) -> None:
    """`help` and editors show the values that a class takes, as they do for one of `dataclass`."""
    assert str(inspect.signature(kind)) == shown
    assert f"{kind.__name__}{shown.removesuffix(' -> None')}" in pydoc.plain(pydoc.render_doc(kind))


def test_who_takes_something_else_says_so() -> None:
    """A class with an `__init__` of its own, a value that can be called, and `Value` itself show what they are called with."""

    @dataclass(frozen=True)
    class Further(Inherited):
        more: int = 0

    class Made(Inherited):
        def __init__(self, text: str) -> None:
            super().__init__(text)

    class Called(Inherited):
        def __call__(self, path: str) -> str:
            return path

    assert list(inspect.signature(Called("web")).parameters) == ["path"]
    assert list(inspect.signature(Further).parameters) == ["name", "port", "secret", "seen", "more"]
    assert list(inspect.signature(Made).parameters) == ["text"]
    assert list(inspect.signature(Value).parameters) == ["given", "named"]


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_has_what_was_worked_out(again: Callable[[Any], Any]) -> None:
    """A copy has what `__post_init__` has set beside the fields, as it is not called for one."""
    for made in (Completed("web"), CompletedTwice("web", 2)):
        assert (again(made), again(made).long) == (made, "web.localhost")
    assert again(Empty()) == Empty()
    assert again(Keyed(number=3)) == Keyed(number=3)


def test_a_default_is_made_anew() -> None:
    """What `default_factory` makes belongs to one value."""
    assert Inherited("web").seen is not Inherited("web").seen
    assert Inherited("web", seen=[1]).seen == [1]


def test_they_are_completed() -> None:
    """`__post_init__` sees the values, and is inherited."""
    assert Completed("web").long == "web.localhost"
    assert CompletedTwice("web", 2).long == "web.localhost"


def test_dataclass_itself_goes_on_from_one() -> None:
    """A frozen class of `dataclass` may be derived from a value, and another value, but none that can change."""

    @dataclass(frozen=True)
    class Further(Inherited):
        more: int = 0

    @value_class(frozen=True, eq=False, repr=False)
    class Furthest(Wider):
        last: int = 0

    assert Further("web", more=1) == Further("web", more=1) != Further("web", more=2)
    assert replace(Further("web", more=1), port=2).port == 2
    assert replace(Furthest("web", last=1), port=2) == Furthest("web", 2, last=1)
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass"):

        @dataclass
        class Loose(Inherited):  # type: ignore[misc]
            pass


def test_a_class_that_could_not_be_kept_as_it_is_is_refused() -> None:
    """A class that is not frozen, that wants compiled methods, or that has a field that is never given, is a mistake."""
    for wrong in ({"frozen": False, "eq": False, "repr": False}, {"frozen": True, "eq": True, "repr": False}):
        with pytest.raises(TypeError, match="frozen=True, eq=False, repr=False"):
            value_class(**wrong)
    with pytest.raises(TypeError, match="init=False cannot be"):

        @value_class(frozen=True, eq=False, repr=False)
        class NeverGiven(Value):
            seen: int = field(default=0, init=False)


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
    with pytest.raises(FrozenInstanceError):
        del value.port
    assert replace(value, port=81) == Inherited("web", 81, "s3cret")
    assert copy.deepcopy(value) == value == pickle.loads(pickle.dumps(value)) == copy.copy(value)
    wider = Wider("web", more=(1, [2]))
    assert copy.deepcopy(wider) == wider == pickle.loads(pickle.dumps(wider))
    assert asdict(value) == {"name": "web", "port": 80, "secret": "s3cret", "seen": [1]}
