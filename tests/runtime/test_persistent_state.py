"""What outlives a prx."""

from pathlib import Path

import pytest

from prx.runtime.persistent_state import PersistentState
from prx.testing.clock import ManualClock


def test_a_rate_limit_is_kept_for_the_next_prx(tmp_path: Path) -> None:
    """Another process knows how long the service must still be left alone, and no longer than that."""
    clock = ManualClock()
    PersistentState(tmp_path / "state.json", clock).keep_rate_limit("cloudflare", 120, 2)
    later = PersistentState(tmp_path / "state.json", clock)
    clock.advance(50)
    assert later.rate_limit("cloudflare") == (70, 2)
    assert later.rate_limit("another") == (0, 0)
    clock.advance(70)
    assert later.rate_limit("cloudflare") == (0, 0)


def test_a_clock_set_back_keeps_nothing_down(tmp_path: Path) -> None:
    """A limit that would last for years is a clock that was set, and is ignored."""
    clock = ManualClock()
    memory = PersistentState(tmp_path / "state.json", clock)
    memory.keep_rate_limit("cloudflare", 60, 1)
    clock.set_wall(-10 * 365 * 86400)
    assert memory.rate_limit("cloudflare") == (0, 0)


def test_a_protocol_is_remembered_for_its_network_only(tmp_path: Path) -> None:
    """What gets through at home says nothing about the café; and a rate limit beside it stays."""
    memory = PersistentState(tmp_path / "state.json", ManualClock())
    memory.keep_rate_limit("cloudflare", 60, 1)
    memory.keep_protocol("home", "http2")
    learnt = memory.protocol("home")
    assert learnt is not None
    assert (learnt.protocol, memory.protocol("café")) == ("http2", None)
    assert memory.rate_limit("cloudflare") == (60, 1)


def test_what_was_learnt_has_an_age(tmp_path: Path) -> None:
    """A firewall changes: after a day the protocol is forgotten; one that is written for another network leaves it alone."""
    clock = ManualClock()
    memory = PersistentState(tmp_path / "state.json", clock)
    memory.keep_protocol("home", "http2")
    clock.advance(12 * 3600)
    memory.keep_protocol("café", "http2")
    assert memory.protocol("home") is not None
    clock.advance(12 * 3600 + 1)
    assert memory.protocol("home") is None
    assert memory.protocol("café") is not None


def test_what_was_learnt_can_be_forgotten(tmp_path: Path) -> None:
    """One network or all; a rate limit stays, because asking sooner prolongs it."""
    memory = PersistentState(tmp_path / "state.json", ManualClock())
    memory.keep_rate_limit("cloudflare", 60, 1)
    for network in ("home", "café", "train"):
        memory.keep_protocol(network, "http2")
    assert memory.forget_protocol("home") == 1
    assert memory.protocol("home") is None
    assert memory.forget_protocol() == 2
    assert memory.forget_protocol() == 0
    assert memory.rate_limit("cloudflare") == (60, 1)


@pytest.mark.parametrize("entry", ['"http2"', "{}", '{"protocol": "http2", "at": true}', '{"protocol": 2, "at": 1}', "null"])
def test_an_entry_that_is_not_understood_is_none(tmp_path: Path, entry: str) -> None:
    """Also one of an earlier version, which had no age."""
    file = tmp_path / "state.json"
    file.write_text(f'{{"protocols": {{"home": {entry}}}}}')
    file.chmod(0o600)
    assert PersistentState(file, ManualClock()).protocol("home") is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"rate_limits": 3}', '{"rate_limits": {"cloudflare": {"until": "x"}}}'])
def test_a_broken_file_is_an_empty_one(tmp_path: Path, content: str) -> None:
    """Whatever stands in the file, a tunnel starts."""
    file = tmp_path / "state.json"
    file.write_text(content)
    file.chmod(0o600)
    memory = PersistentState(file, ManualClock())
    assert memory.rate_limit("cloudflare") == (0, 0)
    assert memory.protocol("home") is None


def test_a_version_holds_for_one_state_of_a_file(tmp_path: Path) -> None:
    """The next prx knows what a program has said, until its file changes; of many programs the last ones are kept."""
    PersistentState(tmp_path / "state.json", ManualClock()).keep_version("/a", (1, 2), "version 1")
    later = PersistentState(tmp_path / "state.json", ManualClock())
    assert (later.version("/a", (1, 2)), later.version("/a", (1, 3)), later.version("/b", (1, 2))) == ("version 1", "", "")
    for number in range(8):
        later.keep_version(f"/{number}", (number,), "version 2")
    assert (later.version("/a", (1, 2)), later.version("/0", (0,)), later.version("/7", (7,))) == ("", "version 2", "version 2")
