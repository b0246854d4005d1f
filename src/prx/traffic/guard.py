"""A relay with a gate: each request's head is held until it is judged, and only then forwarded, byte for byte.

The connector speaks HTTP/1 that Go has written, one request after the other on a connection that it uses for many visitors.
So every head is judged, not the first one alone. A request whose end is not clear is refused, and a connection that changes
to another protocol is let go only once the service has agreed (101); until then nothing more of the visitor's is read.
"""

from __future__ import annotations

import asyncio
import enum
from typing import Final, Protocol

from prx.traffic.framing import FRAMING_HEADERS, Data, End, Framing, Head, Piece, Raw
from prx.traffic.gate import UNCLEAR, Gate, Refusal
from prx.traffic.pair import Pair, Side
from prx.traffic.relay import Relay
from prx.traffic.tee import SERVICE, VISITOR

LINGER_SECONDS: Final = 2.0  # for what a refused visitor still sends: closing at once would be a reset, and lose the answer


CATCH_LIMIT: Final = 16 * 1024 * 1024  # bytes of a body that is kept for a service that is down
HELD_LIMIT: Final = 64 * 1024 * 1024  # of all that are on their way to the disk
_SAFE: Final = {b"GET", b"HEAD", b"OPTIONS", b"TRACE"}
_DOWN: Final = Refusal(503, "Service Unavailable", "the service is down", (("Retry-After", "10"),))
_TOO_LARGE: Final = Refusal(413, "Content Too Large", "the service is down, and this is too large to be kept")


def _is_passing(head: Head) -> bool:
    """Return whether a request is not kept: the service answers it now, or it is refused."""
    return head.method in _SAFE or head.upgrades


def request_of(head: Head, body: bytes) -> bytes:
    """Return a request with a length, whatever its framing was."""
    kept = [name + b": " + value for name, value in head.headers if name.lower() not in FRAMING_HEADERS]
    lines = [b"%b %b HTTP/1.1" % (head.method, head.target), *kept, b"Content-Length: %d" % len(body), b"Connection: close"]
    return b"\r\n".join([*lines, b"", b""]) + body


class _State(enum.Enum):
    """What is done with a connection's bytes."""

    JUDGING = enum.auto()  # forwarded, except heads, which are held until they are judged
    THROUGH = enum.auto()  # forwarded: the service speaks another protocol now
    UNTRIED = enum.auto()  # caught, as others wait for the service, which may be up: one that is not kept is taken to it
    CATCHING = enum.auto()  # caught, as the service is down
    STORING = enum.auto()  # ignored: what was caught is on its way to the disk
    REFUSED = enum.auto()  # ignored: the answer was given


class GuardedSide(Side):
    """The connector's side of a guarded pair."""

    __slots__ = ("_caught", "_early", "_framing", "_guard", "_held", "_holds", "_state")

    def __init__(self, pair: GuardedPair) -> None:
        super().__init__(pair, VISITOR)
        self._guard = pair.guard
        self._framing = Framing(of_requests=True)
        self._held = self._early = b""
        self._state = _State.JUDGING
        self._caught: tuple[Head, bytearray] | None = None
        self._holds = 0  # bytes of it

    def data_received(self, data: bytes) -> None:
        """Judge every head that is whole; forward what is let through."""
        match self._state:
            case _State.JUDGING:
                self._judge(data)
            case _State.THROUGH:
                super().data_received(data)
            case _State.UNTRIED | _State.CATCHING:
                self._early += data if self._state is _State.UNTRIED else b""
                self._catch(list(self._framing.feed(data)))
            case _State.STORING | _State.REFUSED:  # one request each: a sender that did not wait has to send the next again
                return

    def _judge(self, data: bytes) -> None:
        data = self._held + data
        pieces = list(self._framing.feed(data[len(self._held) :]))
        heads = [piece for piece in pieces if isinstance(piece, Head)]
        if any(isinstance(piece, Raw) for piece in pieces):
            self._refuse(UNCLEAR, behind=bool(heads))
            return
        gate = self._guard.gate
        for number, head in enumerate(heads):
            if gate is not None and (refusal := gate.judge(head)):
                self._refuse(refusal, behind=number > 0)
                return
        if len(heads) == 1 and pieces[0] is heads[0] and self._waits_behind(heads[0]):
            self.peer.detach()
            self._state, self._held = _State.CATCHING, b""
            self._catch(pieces)
            return
        self._held = self._framing.held_head
        super().data_received(data[: len(data) - len(self._held)])
        self._await_upgrade(pieces)

    def _waits_behind(self, head: Head) -> bool:
        """Return whether a request must not overtake those that wait for the service."""
        catch = self._guard.catch
        return catch is not None and catch.waiting > 0 and not _is_passing(head)

    def _await_upgrade(self, pieces: list[Piece]) -> None:
        """Read nothing more of a request for another protocol until the service has answered it."""
        head = next((piece for piece in reversed(pieces) if isinstance(piece, Head)), None)
        if head is not None and head.upgrades and isinstance(pieces[-1], End) and self.transport is not None:
            assert isinstance(self.pair, GuardedPair)
            self.pair.awaits_upgrade = Framing(of_requests=False)
            self.transport.pause_reading()

    def begin_catching(self, *, untried: bool) -> None:
        """Keep what comes for later, in place of a service that is down. `untried`: it may be up, others only wait for it."""
        if self._early:  # it was asked in vain for one that need not wait
            self._refuse(_DOWN, behind=False)
            return
        self._state = _State.UNTRIED if untried else _State.CATCHING
        self.pair.read_on()

    def _ask_service(self) -> None:
        """Take a request to the service that is not to be kept: those that wait are no reason not to answer it."""
        self._state = _State.JUDGING
        if self.transport is not None:
            self.transport.pause_reading()
        assert isinstance(self.pair, GuardedPair)
        self.pair.dial()

    def forward_early(self) -> None:
        """Send what was read before the service was asked."""
        early, self._early = self._early, b""
        if early:
            super().data_received(early)
            self._await_upgrade(list(Framing(of_requests=True).feed(early)))

    def _catch(self, pieces: list[Piece]) -> None:
        gate = self._guard.gate
        for piece in pieces:
            match piece:
                case Raw():
                    self._refuse(UNCLEAR, behind=False)
                case Head():
                    refusal = gate.judge(piece) if gate is not None else UNCLEAR if piece.doubts else None
                    if refusal is None and _is_passing(piece):
                        if self._state is _State.UNTRIED:
                            self._ask_service()
                            return
                        refusal = _DOWN
                    self._state, self._early = _State.CATCHING, b""
                    if refusal is not None:
                        self._refuse(refusal, behind=self._caught is not None)
                    elif b"100-continue" in piece.words(b"expect") and self.transport is not None:
                        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    self._caught = (piece, bytearray())
                case Data() if self._caught is not None:
                    self._catch_body(self._caught[1], piece.data)
                case End() if self._caught is not None:
                    self._keep(*self._caught)
                    self._caught = None
                    return
            if self._state is _State.REFUSED:
                return

    def _catch_body(self, body: bytearray, data: bytes) -> None:
        body.extend(data)
        self._hold(len(data))
        if len(body) > CATCH_LIMIT:
            self._refuse(_TOO_LARGE, behind=False)
        elif self.pair.relay.held > HELD_LIMIT:
            self._refuse(_DOWN, behind=False)

    def _hold(self, size: int) -> None:
        self._holds += size
        self.pair.relay.held += size

    def _release(self) -> None:
        self._caught = None
        self._hold(-self._holds)

    @property
    def is_between(self) -> bool:
        """Return whether nothing of a request is held here."""
        return self._state is _State.JUDGING and not self._held and self._framing.between

    def connection_lost(self, error: Exception | None) -> None:
        """Release what was caught, unless it is on its way to the disk."""
        if self._state is not _State.STORING:
            self._release()
        super().connection_lost(error)

    def _keep(self, head: Head, body: bytearray) -> None:
        self._state = _State.STORING
        if self.transport is not None:
            self.transport.pause_reading()
        self.pair.relay.spawn(self._store(request_of(head, bytes(body))))

    async def _store(self, raw: bytes) -> None:
        catch = self._guard.catch
        try:
            if catch is None:
                raise OSError("requests are not kept any more")  # noqa: TRY301 - as any other reason why not
            await catch.take(raw)
        except Exception:  # noqa: BLE001 - whatever the reason, it was not kept, and the sender must know
            self._refuse(_DOWN, behind=False)
            return
        finally:
            self._release()
        if self.transport is not None:
            self.transport.write(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.pair.close()  # one request each: the next connection finds out whether the service is back

    def let_through(self) -> None:
        """Judge nothing more: the service speaks another protocol now."""
        self._state = _State.THROUGH
        held, self._held = self._held, b""
        if held:
            super().data_received(held)

    def eof_received(self) -> bool:
        """Pass the end on, but not that of a refused visitor."""
        if self._state is _State.REFUSED:
            self.pair.close()
            return False
        return super().eof_received()

    def _refuse(self, refusal: Refusal, *, behind: bool) -> None:
        """Answer in place of the service. `behind`: another request is under way, whose answer comes first: break off."""
        self._state = _State.REFUSED
        self._release()
        self.pair.copier.put(self.pair.tee, VISITOR, None)
        if behind or self.transport is None:
            self.pair.reset(self)
            return
        self.peer.detach()
        self.transport.write(refusal.answer())
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(LINGER_SECONDS, self.pair.close)


class GuardedService(Side):
    """The service's side of a guarded pair."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Allow the visitor to go on if the service has answered an upgrade."""
        pair = self.pair
        assert isinstance(pair, GuardedPair)
        super().data_received(data)
        if pair.awaits_upgrade is None:
            return
        answer = next((piece for piece in pair.awaits_upgrade.feed(data) if _is_final(piece)), None)
        if answer is not None:  # else more of it comes
            pair.awaits_upgrade = None
            if isinstance(answer, Head) and answer.raw.startswith(b"HTTP/1.1 101") and isinstance(pair.visitor, GuardedSide):
                pair.visitor.let_through()
            if pair.visitor.transport is not None:
                pair.visitor.transport.resume_reading()


def _is_final(piece: Piece) -> bool:
    """Return whether a piece of an answer says what it is: no interim answer, or something that is no HTTP at all."""
    return isinstance(piece, Raw) or (isinstance(piece, Head) and (piece.status == 101 or piece.status >= 200))


class GuardedPair(Pair):
    """A connection whose requests are judged.

    awaits_upgrade: reads the service's answer to a request for another protocol; None if there is none under way.
    """

    def __init__(self, relay: GuardedRelay) -> None:
        self.awaits_upgrade: Framing | None = None
        self.guard = relay
        super().__init__(relay)

    def made(self, side: Side) -> None:
        """Take in that a side stands."""
        super().made(side)
        if side is not self.visitor and isinstance(self.visitor, GuardedSide):
            self.visitor.forward_early()

    def connect(self) -> None:
        """Open the connection to the service, unless others wait for it already."""
        catch = self.guard.catch
        if catch is not None and catch.waiting and isinstance(self.visitor, GuardedSide):
            self.visitor.begin_catching(untried=True)
        else:
            self.dial()

    def begins_request(self) -> bool:
        """Return whether what the visitor sends now begins a request.

        If no copy is read the heads alone are known; a connector sends a request once the one before was answered.
        """
        if self.copier.off and self.service.transport is not None:
            return self.visitor.is_between
        return super().begins_request()

    def failed(self, error: Exception) -> None:
        """Keep what comes if that is wanted."""
        if self.guard.catch is not None and isinstance(self.visitor, GuardedSide):
            self._connecting = None
            self.visitor.begin_catching(untried=False)
        else:
            super().failed(error)

    def _visitor(self) -> Side:
        return GuardedSide(self)

    def _service(self) -> Side:
        return GuardedService(self, SERVICE)


class Catching(Protocol):
    """What keeps requests for a service that is down (`prx.traffic.catch`)."""

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""

    async def take(self, raw: bytes) -> None:
        """Keep a request; raise an exception if that cannot be."""


class GuardedRelay(Relay):
    """A relay that may judge and keep requests. gate: who may pass; catch: keeps what a service that is down cannot take.

    Both may be changed. While there is neither, bytes pass as in a plain one. A connection of that time is judged from its next
    request on once there is one of them, as the connector uses it for every visitor.
    """

    _gate: Gate | None = None
    _catch: Catching | None = None

    @property
    def gate(self) -> Gate | None:
        """Return who may pass; None: everyone."""
        return self._gate

    @gate.setter
    def gate(self, gate: Gate | None) -> None:
        self._gate = gate
        self._expire_plain()

    @property
    def catch(self) -> Catching | None:
        """Return what keeps requests; None: nothing does."""
        return self._catch

    @catch.setter
    def catch(self, catch: Catching | None) -> None:
        self._catch = catch
        self._expire_plain()

    def _expire_plain(self) -> None:
        for pair in list(self.pairs):
            if self.has_expired(pair):
                pair.expire()

    def has_expired(self, pair: Pair) -> bool:
        """Return whether a pair judges nothing although there is something to judge."""
        return not isinstance(pair, GuardedPair) and (self._gate is not None or self._catch is not None)

    def pair(self) -> Pair:
        """Return what carries the next connection."""
        return super().pair() if self.gate is None and self.catch is None else GuardedPair(self)
