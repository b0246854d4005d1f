"""A connection to a connector over QUIC: the edge is the server, and opens a stream for each request.

Theory of operation (observed with cloudflared 2026.8.2)
--------------------------------------------------------
The connector's first stream carries the registration's RPC. For every visitor's request the edge opens a stream and
sends the request's head (`prx.lab.protocol.quic.preamble`), then its body; the answer comes back likewise. An error of the
connector's own comes in place of a response and is shown as 502. There is no way to announce an end: who leaves closes.
"""

from __future__ import annotations

import asyncio
from typing import Final

from prx.lab.edge.carrier import Kind, PushAnswer, TunnelRequest, TunnelResponse
from prx.lab.protocol.errors import RpcError, SessionClosedError, StreamError
from prx.lab.protocol.headers import Headers
from prx.lab.protocol.quic import preamble
from prx.lab.protocol.quic.session import QuicSession
from prx.lab.protocol.quic.stream import QuicStream
from prx.lab.protocol.rpc.push import ConfigurationClient, Updated

_CONTROL: Final = 0  # the id of the first stream that a client opens (RFC 9000, 2.1)
_PUSH_SECONDS: Final = 10.0
_BAD_GATEWAY: Final = TunnelResponse(502, [], from_origin=False)


class QuicExchange:
    """One request under way on a stream of its own."""

    trailers: Headers | None = None  # QUIC streams of a tunnel have none

    def __init__(self, stream: QuicStream) -> None:
        self._stream = stream
        self._early = b""

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send request body bytes, as fast as the connector takes them."""
        await self._stream.send_data(data, end=end)

    async def send_trailers(self, trailers: Headers) -> None:
        """End the request's body; the trailers themselves cannot be carried."""
        await self._stream.send_data(b"", end=True)

    async def next_head(self) -> TunnelResponse:
        """Wait for the head of the response."""
        response, self._early = await preamble.read_response(self._stream)
        if response.error:
            return _BAD_GATEWAY
        if not 100 <= response.status <= 999:
            raise StreamError(f"the connector answered with status {response.status}")
        return TunnelResponse(response.status, response.headers, from_origin=True)

    async def read(self) -> bytes:
        """Wait for response body bytes; b"" at the end."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return await self._stream.read()

    def close(self) -> None:
        """Give up what is not finished."""
        self._stream.reset()


class QuicCarrier:
    """A `TunnelConnection` on one QUIC session."""

    protocol = "quic"

    def __init__(self, session: QuicSession) -> None:
        self._session = session
        self._control: asyncio.Future[QuicStream] = asyncio.get_running_loop().create_future()
        session.on_stream = self._on_stream

    @property
    def peer(self) -> str:
        """The connector's address."""
        return self._session.peer

    async def accept_control_stream(self) -> QuicStream:
        """Wait for the connector's first stream, which carries the registration; StreamError if none comes."""
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(self._session.wait_closed(), name="edge-quic-closed")
            await asyncio.wait((ended, self._control), return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
        if not self._control.done():
            raise SessionClosedError(self._session.close_reason or "the connector left before it registered")
        return self._control.result()

    async def open_request(self, request: TunnelRequest) -> QuicExchange:
        """Send a request's head."""
        has_body = request.has_body or request.kind is Kind.WEBSOCKET
        stream = await self._session.open_stream()
        try:
            await stream.send_data(_head(request).encode(), end=not has_body)
        except BaseException:
            stream.reset()
            raise
        return QuicExchange(stream)

    async def push_configuration(self, version: int, config: bytes) -> PushAnswer:
        """Send a remote configuration (JSON) and wait for the answer."""
        stream = await self._session.open_stream()
        client = ConfigurationClient()
        try:
            async with asyncio.timeout(_PUSH_SECONDS):
                await stream.send_data(preamble.RPC + client.update(version, config))
                answer = await _answer(stream, client)
                await stream.send_data(client.data_to_send(), end=True)
        except RpcError as error:
            raise StreamError(str(error)) from error
        except TimeoutError:
            raise StreamError(f"the connector did not answer a pushed configuration within {_PUSH_SECONDS:.0f} s") from None
        finally:
            stream.reset()
        return PushAnswer(answer.applied, answer.error)

    async def wait_idle(self) -> None:
        """Wait until no request is under way."""
        await self._session.wait_idle(besides=self._control.result() if self._control.done() else None)

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; return the reason, empty for an orderly end."""
        await self._session.wait_closed()
        return self._session.close_reason

    def close(self) -> None:
        """Send what waits, then close with application error code 0."""
        self._session.close()

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        self._session.abort(reason)

    def stall(self) -> None:
        """Fall silent; both sides' idle time-outs will end the connection."""
        self._session.stall()

    def resume(self) -> None:
        """End the silence."""
        self._session.resume()

    def goaway(self) -> None:
        """Do nothing: QUIC has no such announcement."""

    def _on_stream(self, stream: QuicStream) -> None:
        if stream.id == _CONTROL and not self._control.done():
            self._control.set_result(stream)
        else:
            stream.reset()


def _head(request: TunnelRequest) -> preamble.ConnectRequest:
    sized = any(name == b"content-length" for name, _ in request.headers)
    websocket = request.kind is Kind.WEBSOCKET
    return preamble.ConnectRequest(
        kind=preamble.RequestKind.WEBSOCKET if websocket else preamble.RequestKind.HTTP,
        dest=b"%b://%b%b" % (request.scheme, request.authority, request.path),
        method=request.method,
        host=request.authority,
        headers=[header for header in request.headers if header[0] != b"trailer"],  # it would announce what never comes
        chunked=request.has_body and not sized and not websocket,
    )


async def _answer(stream: QuicStream, client: ConfigurationClient) -> Updated:
    while data := await stream.read():
        answer = client.feed(data)
        if answer is not None:
            return answer
        await stream.send_data(client.data_to_send())
    raise StreamError("the connector closed the stream of a pushed configuration without an answer")
