"""prx's own checks are known by a word that only this prx has; no visitor can pass for one, and no service sees the word."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.traffic.pieces import ask, read_head, service

from prx import __version__
from prx.app.inspection import Inspection
from prx.config.schema import Config, GateSettings, InspectSettings, TunnelSettings
from prx.logs.redact import Redactor
from prx.runtime.host.clock import SystemClock
from prx.secrets.value import Secret
from prx.traffic.own import without_mark

FORGED = {
    "the User-Agent": f"User-Agent: prx/{__version__}",
    "the word of another": "X-PRX-Probe: " + "ab" * 24,
    "no word": "X-PRX-Probe:",
    "a replay": "X-PRX-Replay: 1",
    "all at once": f"User-Agent: prx/{__version__}\r\nX-PRX-Probe: 1\r\nX-PRX-Replay: 1",
}
OPEN = GateSettings()
GATE = GateSettings(bearer=Secret("of-visitors"))


async def passed(headers: str, folder: Path, gate: GateSettings = OPEN) -> tuple[bytes, list[dict[str, object]]]:
    """Send one request with these headers (`OWN`: the word); return the head that the service got, and what is listed."""
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await read_head(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    async with service(answer) as port:
        inspection = Inspection(SystemClock(), Redactor(), lambda _level, _text: None, folder=lambda: folder)
        settings = TunnelSettings(local_addr=f"127.0.0.1:{port}", inspect=InspectSettings(enabled=True), gate=gate)
        inspection.fit(Config(tunnels={"web": settings}))
        try:
            relay = int(inspection.child_settings("web", settings).local_addr.rpartition(":")[2])
            head = f"GET / HTTP/1.1\r\nHost: a\r\n{headers.replace('OWN', inspection.own_mark)}\r\n\r\n"
            assert "200 OK" in str(await ask(relay, head.encode()))
            return heads[0], (await inspection.answer({"do": "requests"}))["requests"]
        finally:
            await inspection.close()


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_visitor_cannot_hide_as_prx(forged: str, tmp_path: Path) -> None:
    """Whatever a visitor sends, the request is listed, is no replay, and reaches the service as it came."""
    head, listed = await passed(forged, tmp_path)
    assert [(item["path"], item["own"], item["replay_of"]) for item in listed] == [("/", False, None)]
    assert forged.encode() in head


@pytest.mark.parametrize("gate", [OPEN, GATE], ids=["open", "gate"])
@pytest.mark.parametrize("headers", ["X-PRX-Probe: OWN", "x-prx-probe: OWN\r\nA: b", "A: b\r\nX-Prx-Probe:OWN"])
async def test_a_check_of_prx_is_known_and_its_word_taken_away(headers: str, gate: GateSettings, tmp_path: Path) -> None:
    """It passes a gate, is not in the list, and the service gets all of it but the word, which would open a gate."""
    head, listed = await passed(headers, tmp_path, gate)
    assert listed == []
    assert b"x-prx-probe" not in head.lower()
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert (b"A: b\r\n" in head) is ("A: b" in headers)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX-Other: word\r\n\r\n",
        b"GET /?word HTTP/1.1\r\nX-PRX-Probe: another\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 23\r\n\r\nX-PRX-Probe: word\r\n\r\n..",
        b"X-PRX-Probe: word\r\n\r\n",
    ],
)
def test_nothing_else_is_taken_away(data: bytes) -> None:
    """A path, another header and a body keep what looks like it."""
    assert without_mark(data, b"word") == data
