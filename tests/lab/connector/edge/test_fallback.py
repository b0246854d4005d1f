"""Which protocol a connection speaks, and when it takes another, on scripted transports and without waiting."""

import asyncio

import pytest
from tests.lab.connector.stage import Stage, stopped_when

from prx.lab.connector.command_line import Action, parse
from prx.lab.connector.edge.fallback import Protocols, read_protocols
from prx.lab.connector.edge.transport import RejectedError, ServeError, SilentError
from prx.lab.connector.log import Log

AUTO = Protocols("quic", "http2", dials=2)


def switches(stage: Stage) -> list[str]:
    """What the log says of protocols."""
    return [line.partition(" INF ")[2].partition(" conn")[0] for line in stage.lines if " protocol " in line and "INF" in line]


async def test_fallback_after_silence() -> None:
    """Dials over QUIC that hear nothing lead to HTTP/2 after the allowed failures, for all connections."""
    stage = Stage([SilentError("silence")] * 3, connections=3, protocols=AUTO)
    await stopped_when(stage, lambda: len(stage.state.connections) == 3)
    assert stage.spoken == ["quic"] * 3 + ["http2"] * 3
    assert switches(stage) == ["Switching to fallback protocol http2"]
    assert sum("If this log occurs persistently" in line for line in stage.lines) == 1
    assert not any("Serve tunnel error" in line for line in stage.lines)
    announced = [line.partition("up to ")[2].partition(" ")[0] for line in stage.lines if "Retrying" in line]
    assert announced[:3] == ["2s", "4s", "8s"]


async def test_no_fallback_without_one() -> None:
    """QUIC that was asked for by name stays, and the advice is given when the waits grow no longer."""
    stage = Stage([SilentError("silence")] * 7, protocols=Protocols("quic", dials=2))
    await stopped_when(stage, lambda: len(stage.state.connections) == 1)
    assert stage.spoken == ["quic"] * 8
    assert switches(stage) == []
    assert sum("If this log occurs persistently" in line for line in stage.lines) == 2


async def test_no_fallback_once_proven() -> None:
    """A connection that cannot dial stays with QUIC where another was registered with it."""
    stage = Stage([None] + [SilentError("silence")] * 6, connections=2, protocols=AUTO)
    await stopped_when(stage, lambda: len(stage.state.connections) == 2)
    assert set(stage.spoken) == {"quic"}


async def test_refused_over_quic() -> None:
    """Refusals over QUIC lead to HTTP/2 when the waits grow no longer; there a refusal is final."""
    stage = Stage([ServeError("refused")] * 3 + [RejectedError("tunnel is gone")], protocols=AUTO)
    with pytest.raises(RejectedError, match="tunnel is gone"):
        await stage.run()
    assert stage.spoken == ["quic"] * 3 + ["http2"]


async def test_back_to_quic_after_a_loss() -> None:
    """A connection that fell back, was registered and is lost starts again with QUIC."""
    stage = Stage([SilentError("silence")] * 3, protocols=AUTO)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(stage.run())
        await stage.until(lambda: len(stage.state.connections) == 1)
        stage.breaks[0].set()
        await stage.until(lambda: len(stage.spoken) == 5 and len(stage.state.connections) == 1)
        stage.stopping.set()
    assert stage.spoken == ["quic"] * 3 + ["http2", "quic"]
    assert switches(stage) == ["Switching to fallback protocol http2", "Changing protocol to quic"]


@pytest.mark.parametrize(
    ("words", "environment", "first", "fallback"),
    [
        (["tunnel", "--protocol", "quic", "run"], {}, "quic", ""),
        (["tunnel", "--protocol", "http2", "run", "--token", "t"], {}, "http2", ""),
        (["tunnel", "--protocol", "h2mux", "run", "--token", "t"], {}, "http2", ""),
        (["tunnel", "run", "--token", "t"], {}, "quic", "http2"),
        (["tunnel", "-p", "auto", "run"], {"TUNNEL_TOKEN": "t"}, "quic", "http2"),
        (["tunnel", "run", "--token-file", "f"], {}, "http2", ""),
        (["tunnel", "run", "-p", "auto"], {"TUNNEL_TOKEN_FILE": "f"}, "http2", ""),
        (["tunnel", "--url", "u"], {}, "quic", ""),
        (["tunnel", "--url", "u", "--protocol", "auto"], {}, "http2", ""),
        (["tunnel", "--url", "u"], {"TUNNEL_TRANSPORT_PROTOCOL": "http2"}, "http2", ""),
    ],
)
def test_protocols(words: list[str], environment: dict[str, str], first: str, fallback: str) -> None:
    """Which protocols are used follows from the flags and from where the token comes."""
    invocation = parse(words, environment)
    quick = invocation.action is Action.QUICK
    protocols = read_protocols(invocation.values, quick=quick, log=Log(sink=lambda _: None))
    assert protocols == Protocols(first, fallback, 8)
