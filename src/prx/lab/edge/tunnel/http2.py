"""A connection to a connector over HTTP/2: the edge accepts TCP and TLS, then speaks as HTTP/2 *client*.

Theory of operation (observed with cloudflared 2026.8.2)
--------------------------------------------------------
The first exchange is the control stream: a request with the header `cf-cloudflared-proxy-connection-upgrade:
control-stream`, whose bodies carry RPC both ways for as long as the connection lives. Every visitor's request is one
more exchange. Its headers travel as they are; the response's come serialised (`prx.lab.protocol.headers`). A WebSocket is
an exchange with the header set to `websocket`; HTTP/2 knows no 101, so acceptance shows as 200 with a
`sec-websocket-accept`. A configuration is pushed as an exchange with `update-configuration` and a JSON body.
"""

from __future__ import annotations

from typing import Any

from prx.core.parsing import parse_json
from prx.lab.edge.carrier import Kind, PushAnswer, TunnelRequest, TunnelResponse
from prx.lab.protocol import headers as codec
from prx.lab.protocol.errors import HeadersError, StreamError
from prx.lab.protocol.h2.session import H2Session
from prx.lab.protocol.h2.stream import H2Stream
from prx.lab.protocol.headers import Headers

_AUTHORITY = b"h2.cftunnel.com"
_MAX_PUSH_ANSWER = 64 * 1024


class Http2Exchange:
    """One request under way on a stream of its own."""

    def __init__(self, stream: H2Stream) -> None:
        self._stream = stream

    @property
    def trailers(self) -> Headers | None:
        """What came after the response's body."""
        return self._stream.trailers

    async def send(self, data: bytes, *, end: bool = False) -> None:
        """Send request body bytes, as fast as the connector takes them."""
        await self._stream.send_data(data, end=end)

    async def send_trailers(self, trailers: Headers) -> None:
        """End the request's body with trailers."""
        await self._stream.send_headers(trailers, end=True)

    async def next_head(self) -> TunnelResponse:
        """Wait for the next head of the response."""
        return _response(await self._stream.next_head())

    async def read(self) -> bytes:
        """Wait for response body bytes; b"" at the end."""
        return await self._stream.read()

    def close(self) -> None:
        """Give up what is not finished."""
        self._stream.reset()


class Http2Connection:
    """A `TunnelConnection` on one HTTP/2 session."""

    protocol = "http2"

    def __init__(self, session: H2Session) -> None:
        self._session = session
        self._control: H2Stream | None = None

    @property
    def peer(self) -> str:
        """The connector's address."""
        return str(self._session.transport.get_extra_info("peername", ("",))[0])

    async def open_control_stream(self) -> H2Stream:
        """Open the exchange that carries the registration; the first thing on every connection."""
        self._control = await self._session.request(_head(codec.CONTROL_STREAM))
        return self._control

    async def open_request(self, request: TunnelRequest) -> Http2Exchange:
        """Send a request's head."""
        head: Headers = [
            (b":method", request.method),
            (b":scheme", request.scheme),
            (b":authority", request.authority),
            (b":path", request.path),
            *request.headers,
        ]
        if request.kind is Kind.WEBSOCKET:
            head.append((codec.UPGRADE, codec.WEBSOCKET))
        has_body = request.has_body or request.kind is Kind.WEBSOCKET
        return Http2Exchange(await self._session.request(head, end=not has_body))

    async def push_configuration(self, version: int, config: bytes) -> PushAnswer:
        """Send a remote configuration (JSON) and wait for the answer."""
        stream = await self._session.request(_head(codec.UPDATE_CONFIGURATION))
        try:
            body = b'{"version":%d,"config":%b}' % (version, config)
            await stream.send_data(body, end=True)
            await stream.response()
            answer = b""
            while data := await stream.read():
                answer += data
                if len(answer) > _MAX_PUSH_ANSWER:
                    raise StreamError("the answer to a pushed configuration is too long")
        finally:
            stream.reset()
        return _push_answer(answer)

    async def wait_idle(self) -> None:
        """Wait until no request but the control stream is under way."""
        await self._session.wait_idle(besides=self._control)

    async def wait_closed(self) -> str:
        """Wait until the connection is gone; return the reason, empty for an orderly end."""
        await self._session.wait_closed()
        return self._session.close_reason

    def close(self) -> None:
        """Send what waits, then close; without GOAWAY, which cloudflared would log as an error."""
        self._session.close(goaway=False)

    def abort(self, reason: str) -> None:
        """Drop the connection at once."""
        self._session.abort(reason)

    def stall(self) -> None:
        """Fall silent, but keep the connection."""
        self._session.stall()

    def resume(self) -> None:
        """End the silence."""
        self._session.resume()

    def goaway(self) -> None:
        """Announce that no new request comes."""
        self._session.goaway()


def _head(upgrade: bytes) -> Headers:
    return [
        (b":method", b"GET"),
        (b":scheme", b"https"),
        (b":authority", _AUTHORITY),
        (b":path", b"/"),
        (codec.UPGRADE, upgrade),
    ]


def _response(raw: Headers) -> TunnelResponse:
    """Read a response's head: the serialised headers if there are any, else those of HTTP/2 itself."""
    status = 0
    serialised: bytes | None = None
    from_origin = False
    plain: Headers = []
    for name, value in raw:
        if name == b":status":
            status = int(value)
        elif name == codec.RESPONSE_HEADERS:
            serialised = value
        elif name == codec.RESPONSE_META:
            from_origin = codec.from_origin(value)
        elif not codec.is_control(name):
            plain.append((name, value))
    if serialised is None:
        return TunnelResponse(status, plain, from_origin)
    try:
        return TunnelResponse(status, codec.decode(serialised), from_origin)
    except HeadersError as error:
        raise StreamError(str(error)) from error


def _push_answer(body: bytes) -> PushAnswer:
    """Read `{"lastAppliedVersion":n,"err":null}`; the text of an error is lost on the way and comes as `{}`."""
    try:
        answer: Any = parse_json(body)
        applied = int(answer["lastAppliedVersion"])
        error = answer.get("err")
    except (ValueError, KeyError, TypeError, AttributeError) as defect:
        raise StreamError("the answer to a pushed configuration is not understood") from defect
    if error is None:
        return PushAnswer(applied, "")
    return PushAnswer(applied, error if isinstance(error, str) and error else "the connector refused it")
