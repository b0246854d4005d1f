"""Carrying one request and its response, both ways at once, until the response is whole or broken, or a limit is met."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from h2.errors import ErrorCodes

from prx.lab.edge.carrier import Exchange, Kind, TunnelRequest, TunnelResponse
from prx.lab.edge.limits import Limits
from prx.lab.edge.public import error_pages, translate
from prx.lab.edge.public.access import Admission
from prx.lab.edge.public.silence import Silence
from prx.lab.edge.public.unpacking import Decoder, decoder_for, unpacked
from prx.lab.edge.public.visitor import MalformedError, RequestHead, UnsendableError, Visitor, VisitorLeftError
from prx.lab.protocol.errors import StreamError


@dataclass
class Visit:
    """One request of a visitor, and what became of it."""

    visitor: Visitor
    asked: RequestHead
    ray: str
    began: float
    admission: Admission | None = None
    status: int = 0
    source: str = "edge"
    index: int = -1
    sent: int = 0
    complete: bool = False
    uploaded: bool = False


class Relay:
    """Moves the bytes of one visit over one exchange."""

    def __init__(self, visit: Visit, exchange: Exchange, request: TunnelRequest, limits: Limits, *, quick: bool) -> None:
        self._visit = visit
        self._added = visit.admission.response if visit.admission is not None else []
        self._visitor = visit.visitor
        self._exchange = exchange
        self._request = request
        self._visitor_left = False
        self._broken = False
        self._malformed = False
        self._uploading: asyncio.Task[None] | None = None
        self._body_sent = False
        self._limits = limits
        self._quick = quick
        self._silence = Silence(limits.silence, exchange.close)
        self._too_large = False
        self.refused = False  # the connector has done nothing with the request, so another may be asked

    async def run(self) -> error_pages.Page | None:
        """Carry it; return what to show the visitor instead if nothing has been answered yet.

        VisitorLeftError: the visitor's connection must be broken, because they left or their response is not whole.
        """
        try:
            if self._request.has_body:
                problem = await self._run_both_ways()
            else:
                await self._upload()  # waits for nothing, and so needs no task of its own
                problem = await self._answer()
        finally:
            self._visitor.watch(None)
            self._silence.stop()
        if self._broken or self._visitor_left:
            raise VisitorLeftError("the response is not whole")
        return problem

    async def _run_both_ways(self) -> error_pages.Page | None:
        async with asyncio.TaskGroup() as group:
            self._uploading = group.create_task(self._upload(), name="upload")
            try:
                return await self._answer()
            finally:
                self._uploading.cancel()

    async def _answer(self) -> error_pages.Page | None:
        try:
            return await self._download()
        except (StreamError, VisitorLeftError, UnsendableError):
            self._broken = True
            return None

    # -- request -------------------------------------------------------------------------------------------------

    async def _upload(self) -> None:
        """Carry the request's body, then watch for the visitor to leave."""
        try:
            if not self._visit.uploaded:
                await self._upload_body()
            self._visitor.watch(self._leave)
        except VisitorLeftError:
            self._leave()
        except MalformedError:
            self._malformed = True
            self._exchange.close()
        except StreamError:
            pass  # the response's side meets the same and shows it to the visitor

    def _leave(self) -> None:
        self._visitor_left = True
        self._exchange.close()

    async def _upload_body(self) -> None:
        sent = 0
        while (data := await self._visitor.next_data()) is not None:
            sent += len(data)
            if self._limits.upload is not None and sent > self._limits.upload:
                self._too_large = True
                self._exchange.close()
                return
            self._body_sent = True
            await self._exchange.send(data)
            self._silence.moved()
        self._visit.uploaded = True
        if self._request.has_body:
            self._body_sent = True
            await self._end_upload()

    async def _end_upload(self) -> None:
        if trailers := translate.tunnel_trailers(self._visitor.trailers):
            await self._exchange.send_trailers(trailers)
        else:
            await self._exchange.send(b"", end=True)

    # -- response ------------------------------------------------------------------------------------------------

    async def _download(self) -> error_pages.Page | None:
        try:
            response = await self._final_head()
        except StreamError as error:
            self.refused = error.code == ErrorCodes.REFUSED_STREAM and not self._body_sent and not self._visitor_left
            return self._why_no_answer()
        self._visit.source = "origin" if response.from_origin else "connector"
        if not response.from_origin and response.status == HTTPStatus.BAD_GATEWAY:
            return error_pages.BAD_GATEWAY
        if self._request.kind is Kind.WEBSOCKET:
            if translate.accepted_websocket(response):
                await self._switch(response)
                return None
            with suppress(StreamError):  # a connector that has refused may have ended the exchange already
                await self._exchange.send(b"", end=True)
        elif response.status == HTTPStatus.SWITCHING_PROTOCOLS:
            return (
                error_pages.BAD_GATEWAY
            )  # this was not asked for; over QUIC a connector of a TCP service says it all the same
        return await self._respond(response)

    async def _final_head(self) -> TunnelResponse:
        while (response := await self._silence.over(self._exchange.next_head())).interim:
            headers = translate.visitor_headers(response, self._visit.ray)
            await self._visitor.send_interim(response.status, headers)
        return response

    def _why_no_answer(self) -> error_pages.Page:
        if self._malformed:
            return error_pages.BAD_REQUEST
        if self._too_large:
            return error_pages.TOO_LARGE
        return error_pages.TIMED_OUT if self._silence.broken else error_pages.GATEWAY_GONE

    async def _respond(self, response: TunnelResponse) -> error_pages.Page | None:
        visit, limit = self._visit, self._limits.response_head
        if limit is not None and sum(len(name) + len(value) for name, value in response.headers) > limit:
            return error_pages.TOO_LARGE_ANSWER
        bodiless = translate.is_bodiless(visit.asked.method, response.status)
        decoder = decoder_for(visit.asked.values.get(b"accept-encoding"), response.status, response.headers)
        headers = translate.visitor_headers(response, visit.ray)
        visit.status = response.status
        await self._visitor.send_head(response.status, [*(unpacked(headers) if decoder else headers), *self._added])
        async for data in self._parts(response, None if bodiless else decoder):
            if not bodiless:
                await self._visitor.send_data(data)
                visit.sent += len(data)
        await self._visitor.finish([] if bodiless else self._exchange.trailers or [])
        visit.complete = True
        return None

    async def _parts(self, response: TunnelResponse, decoder: Decoder | None) -> AsyncIterator[bytes]:
        """Yield the body as it comes, unpacked; server-sent events on a quick tunnel wait for more of them, or their end."""
        hold = self._limits.holds_events if self._quick and translate.is_event_stream(response) else None
        held = bytearray()
        try:
            while data := await self._silence.over(self._exchange.read()):
                for part in (data,) if decoder is None else decoder.feed(data):
                    held += part
                    if hold is None or len(held) >= hold:
                        yield bytes(held)
                        held.clear()
        except StreamError:
            if held:
                yield bytes(held)
            raise
        if decoder is not None:
            decoder.finish()
        if held:
            yield bytes(held)

    # -- after an upgrade ----------------------------------------------------------------------------------------

    async def _switch(self, response: TunnelResponse) -> None:
        """Answer 101 and carry raw bytes from now on."""
        visit = self._visit
        if self._uploading is not None:
            self._uploading.cancel()
            await asyncio.wait((self._uploading,))  # a stream has one reader at a time
        self._visitor.watch(None)  # the visitor's end is one of the bytes' now
        self._silence.stop()
        visit.status = HTTPStatus.SWITCHING_PROTOCOLS
        early = await self._visitor.switch([*translate.upgrade_headers(response, visit.ray), *self._added])
        async with asyncio.TaskGroup() as group:
            upload = group.create_task(self._upload_raw(early), name="upload-raw")
            try:
                visit.complete = await self._download_raw()
            finally:
                upload.cancel()

    async def _download_raw(self) -> bool:
        """Carry raw bytes to the visitor; whether they came to their end."""
        try:
            while data := await self._exchange.read():
                await self._visitor.send_raw(data)
                self._visit.sent += len(data)
        except (StreamError, VisitorLeftError):
            self._broken = True
            return False
        return True

    async def _upload_raw(self, early: bytes) -> None:
        try:
            if early:
                await self._exchange.send(early)
            while data := await self._visitor.receive_raw():
                await self._exchange.send(data)
            await self._exchange.send(b"", end=True)
        except VisitorLeftError:
            self._leave()
        except StreamError:
            pass  # the other direction meets the same
