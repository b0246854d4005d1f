"""Other nameservers in resolv.conf are news, however the file is replaced; anything else in it is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.runtime.host.test_change_monitor import Wifi

from prx.runtime.host.change_monitor import EVERY, ChangeMonitor
from prx.runtime.host.nameservers import Nameservers
from prx.testing.clock import ManualClock

HOME = "# made by a program\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch example.com\n"
AWAY = "nameserver 198.51.100.7\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a resolv.conf that is a link, as most are."""
    real = tmp_path / "run" / "resolv.conf"
    real.parent.mkdir()
    real.write_text(HOME)
    link = tmp_path / "resolv.conf"
    link.symlink_to(real)
    return link


def write(file: Path, text: str) -> None:
    """Write in place, at a later time than before."""
    file.write_text(text)
    later = file.stat().st_mtime_ns + 1_000_000_000
    os.utime(file, ns=(later, later))


def replace(file: Path, text: str) -> None:
    """Put another file in its place."""
    other = file.with_name("other")
    other.write_text(text)
    other.replace(file.resolve())


def lead_elsewhere(file: Path, text: str) -> None:
    """Have the link lead to another file."""
    other = file.with_name("elsewhere")
    other.write_text(text)
    file.unlink()
    file.symlink_to(other)


@pytest.mark.parametrize("change", [write, replace, lead_elsewhere])
def test_other_nameservers_are_news_once(file: Path, change: object) -> None:
    """Written in place, replaced, or behind another link: it is noticed once, and its return too."""
    assert callable(change)
    seen = Nameservers(file)
    assert not seen.have_changed()
    change(file, AWAY)
    assert [seen.have_changed(), seen.have_changed()] == [True, False]
    write(file, HOME)
    assert [seen.have_changed(), seen.have_changed()] == [True, False]


@pytest.mark.parametrize(
    "text", [HOME, HOME + "options timeout:1\n", "", "# being written\n", "nameserver\n"],
    ids=["the same", "options", "empty", "none yet", "half a line"],
)  # fmt: skip
def test_what_names_no_others_is_no_news(file: Path, text: str) -> None:
    """A renewed lease with the same servers, another option, a file that is being written: nothing has changed."""
    seen = Nameservers(file)
    write(file, text)
    assert not seen.have_changed()
    write(file, HOME)
    assert not seen.have_changed()


def test_a_file_that_is_not_there(file: Path) -> None:
    """While it is away nothing is known; a machine that gets its first one has news."""
    seen = Nameservers(file)
    file.unlink()
    assert not seen.have_changed()
    fresh = Nameservers(file)
    file.write_text(HOME)
    assert (seen.have_changed(), fresh.have_changed()) == (False, True)


def test_the_heartbeat_reports_them(file: Path) -> None:
    """It reports other nameservers while there is a network; without one they help no one."""
    said: list[str] = []
    clock, wifi = ManualClock(), Wifi()
    heart = ChangeMonitor(clock, wifi, said.append, nameservers=Nameservers(file))
    write(file, AWAY)
    clock.advance(EVERY)
    heart.beat()
    assert said == ["nameservers"]
    wifi.name = ""
    write(file, HOME)
    clock.advance(EVERY)
    heart.beat()
    assert said == ["nameservers", "no network"]
