"""Pushing a configuration over QUIC: the RPC of a stream that begins with `prx.lab.protocol.quic.preamble.RPC`.

The edge calls `updateConfiguration`; the connector answers with the version that it runs now, and an error if it could
not take the new one. cloudflared 2026.8.2 closes such a stream 5 s after it was opened. Sans-io: bytes in, bytes out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from prx.lab.protocol.errors import RpcError
from prx.lab.protocol.rpc import endpoint
from prx.lab.protocol.rpc.schema import TUNNEL

UPDATE: Final = endpoint.Method(0xB48EDFBDAA25DB04, 0, TUNNEL.UpdateConfigurationParams, TUNNEL.UpdateConfigurationResults)


@dataclass(frozen=True, slots=True)
class Updated:
    """The connector's answer: the version it runs now, and its error or ''."""

    applied: int
    error: str = ""


class ConfigurationClient:
    """The edge's end: send what `update` returns, then `feed` what comes until it returns an answer."""

    def __init__(self) -> None:
        self._endpoint = endpoint.Endpoint()

    def update(self, version: int, config: bytes) -> bytes:
        """Ask the connector to run a configuration (JSON)."""
        _, data = self._endpoint.call(UPDATE, {"version": version, "config": config})
        return data

    def feed(self, data: bytes) -> Updated | None:
        """Take the connector's bytes; RpcError if it does not answer the call."""
        for event in self._endpoint.feed(data):
            match event:
                case endpoint.Returned(results=results):
                    result = results.get("result", {})
                    return Updated(result.get("latestAppliedVersion", 0), result.get("err", ""))
                case endpoint.Failed(reason=reason) | endpoint.Aborted(reason=reason):
                    raise RpcError(f"the connector did not take the configuration: {reason}")
                case _:
                    pass
        return None

    def data_to_send(self) -> bytes:
        """Return the bytes that must go to the connector now."""
        return self._endpoint.data_to_send()


class ConfigurationServer:
    """The connector's end; `update(version, config)` runs a configuration and says what became of it."""

    def __init__(self, update: Callable[[int, bytes], Updated]) -> None:
        self._endpoint = endpoint.Endpoint([UPDATE])
        self._update = update

    def feed(self, data: bytes) -> bytes:
        """Take the edge's bytes and return the bytes to send; RpcError ends the stream."""
        answer = b""
        for event in self._endpoint.feed(data):
            if isinstance(event, endpoint.Called):
                done = self._update(event.params.get("version", 0), event.params.get("config", b""))
                answer += self._endpoint.data_to_send()
                results = {"result": {"latestAppliedVersion": done.applied, "err": done.error}}
                answer += self._endpoint.reply(event, results)
        return answer + self._endpoint.data_to_send()
