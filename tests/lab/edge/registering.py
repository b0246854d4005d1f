"""What scripted connectors of both carriers share: one connection's registration, over whatever carries its control stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from prx.core.tunnel_token import TunnelToken
from prx.lab.protocol.rpc.registration import ClientEvent, Registered, RegisterRequest, RegistrationClient


class ControlStream(Protocol):
    """A byte stream to the edge."""

    async def read(self) -> bytes:
        """Wait for bytes; b"" at the end."""

    async def send_data(self, data: bytes, *, end: bool = False) -> None:
        """Send bytes."""


_S = TypeVar("_S", bound=ControlStream)


class Registering(Generic[_S]):
    """Registers one connection; a carrier says how its control stream comes to be."""

    features: tuple[str, ...] = ()

    def __init__(self, token: str, index: int, connector: UUID) -> None:
        self._token = TunnelToken.decode(token)
        self._index = index
        self._connector = connector
        self._client = RegistrationClient()
        self.control: _S | None = None

    async def open_control(self) -> _S:
        """Return the control stream, once."""
        raise NotImplementedError

    async def register(self) -> ClientEvent:
        """Register and give the edge's answer."""
        self.control = self.control or await self.open_control()
        request = RegisterRequest(
            account_tag=self._token.account_tag,
            tunnel_secret=self._token.secret,
            tunnel_id=self._token.tunnel_id,
            conn_index=self._index,
            client_id=self._connector,
            features=self.features,
            version="scripted",
        )
        return await self._exchange(self._client.register(request))

    async def unregister(self) -> ClientEvent:
        """Unregister and give the edge's answer."""
        return await self._exchange(self._client.unregister())

    async def update_local_configuration(self, config: bytes) -> ClientEvent:
        """Tell a configuration and give the edge's answer."""
        return await self._exchange(self._client.update_local_configuration(config))

    async def _exchange(self, data: bytes) -> ClientEvent:
        """Send RPC bytes and wait for the event that they lead to."""
        assert self.control is not None, "register first"
        await self.control.send_data(data)
        while answer := await self.control.read():
            events = self._client.feed(answer)
            await self.control.send_data(self._client.data_to_send())
            if events:
                return events[0]
        raise ConnectionError("the control stream has ended")


_R = TypeVar("_R", bound=Registering[Any])


@asynccontextmanager
async def and_registered(dialled: AbstractAsyncContextManager[_R]) -> AsyncIterator[_R]:
    """Register what is dialled, for the length of a block; a rejection fails the test."""
    async with dialled as scripted:
        result = await scripted.register()
        assert isinstance(result, Registered), result
        yield scripted
