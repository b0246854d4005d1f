"""Repeated lines are said once and counted, and none is lost."""

from prx.logs.fold import Folder
from prx.logs.records import LogRecord


def record(message: str, at: str = "t") -> LogRecord:
    """Make a record."""
    return LogRecord(at, "web", "error", message, "cloudflared")


def words(records: list[LogRecord]) -> list[str]:
    """Return the messages."""
    return [each.message for each in records]


def test_first_goes_out_at_once_and_repeats_as_one_count() -> None:
    """The first is not delayed; its repeats come as one line with their number and the newest time."""
    folder = Folder(hold=10)
    assert words(folder.push(0, record("a"))) == ["a"]
    for second in range(1, 8):
        assert folder.push(second, record("a", f"t{second}")) == []
    assert folder.due == 11
    assert folder.flush(10.9) == []
    (told,) = folder.flush(11)
    assert (told.message, told.at, told.fields["repeated"]) == ("a (×7)", "t7", 7)
    assert folder.flush(99) == []


def test_alternating_lines_fold_too() -> None:
    """A group of lines that come in turn is folded like a single one."""
    folder = Folder(hold=10)
    out = [each for turn in range(9) for name in "abc" for each in folder.push(turn, record(name))]
    assert words(out) == ["a", "b", "c"]
    assert words(folder.flush(0, everything=True)) == ["a (×8)", "b (×8)", "c (×8)"]


def test_single_repeat_stays_as_it_is() -> None:
    """One repeat needs no count."""
    folder = Folder()
    folder.push(0, record("a"))
    folder.push(1, record("a"))
    assert words(folder.flush(99)) == ["a"]


def test_memory_is_bounded_and_nothing_lost() -> None:
    """A line pushed out by others tells its count first."""
    folder = Folder(width=2)
    folder.push(0, record("a"))
    folder.push(0, record("a"))
    folder.push(0, record("a"))
    assert words(folder.push(0, record("b"))) == ["b"]
    assert words(folder.push(0, record("c"))) == ["a (×2)", "c"]


def test_nothing_held_is_never_due() -> None:
    """The owner needs no timer while nothing is held."""
    folder = Folder()
    folder.push(0, record("a"))
    assert folder.due is None


def test_different_errors_are_different() -> None:
    """The same message with another error says something else: neither hides the other, whether it has words or not."""
    folder = Folder()
    for message in ("Request failed", ""):
        first, second = (
            LogRecord("t", "web", "error", message, "cloudflared", fields={"error": text}) for text in ("refused", "time-out")
        )
        assert [item.words for record in (first, second) for item in folder.push(0, record)] == [first.words, second.words]
        assert folder.push(0, first) == []


def test_different_levels_are_different() -> None:
    """The same words at another level, or of another tunnel, are another line."""
    folder = Folder()
    folder.push(0, record("a"))
    assert folder.push(0, LogRecord("t", "api", "error", "a", "cloudflared"))
