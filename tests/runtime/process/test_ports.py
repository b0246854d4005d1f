"""The port that a child gets."""

import socket
from pathlib import Path

import pytest

from prx.runtime.process import ports
from prx.runtime.process.ports import draw_port


def test_a_drawn_port_lies_outside_of_what_the_system_draws() -> None:
    """No outgoing connection can get it as its own port, so nothing can meet itself there; and it is free."""
    low, high = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    drawn = [draw_port() for _ in range(200)]
    assert [port for port in drawn if low <= port <= high] == []
    assert len(set(drawn)) > 150
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", drawn[-1]))


def test_a_port_in_use_is_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program listens on is passed over; if nothing else is left the system gives one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_ephemeral_range", lambda: (1, 2))
        draws = iter([number, number, 20001])
        monkeypatch.setattr(ports, "_any_port", lambda: next(draws, number))
        monkeypatch.setattr(ports, "_is_free", lambda port, real=ports._is_free: port == 20001 or real(port))
        assert draw_port() == 20001
        assert draw_port(3) != number
