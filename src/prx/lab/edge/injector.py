"""Lets faults act: on the edge's addresses, on live connections and on their wires."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol, assert_never

from prx.lab import faults
from prx.lab.edge.carrier import TunnelConnection
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.lanes import Spawn
from prx.lab.edge.names import full_name
from prx.lab.edge.registry import Connection, Registry, Tunnel
from prx.lab.edge.tunnel.certificates import Authority
from prx.lab.edge.tunnel.tcp_listeners import Slots
from prx.lab.edge.tunnel.udp_listeners import QuicSlots
from prx.lab.events import FaultCleared, FaultInjected


class Breakable(Protocol):
    """What the injector asks of the wire of one connection."""

    def reset(self) -> None:
        """Break the connection."""

    def half_close(self) -> None:
        """End the edge's direction."""


class Injector:
    """Injects and clears faults; `wire_of` returns the wire below a carrier, `forget` deletes a tunnel."""

    def __init__(
        self,
        *,
        active: ActiveFaults,
        registry: Registry,
        slots: Slots,
        quic: QuicSlots,
        authority: Authority,
        hub: EventHub,
        chance: Random,
        spawn: Spawn,
        wire_of: Callable[[TunnelConnection], Breakable],
        forget: Callable[[Tunnel], None],
    ) -> None:
        self._active = active
        self._registry = registry
        self._slots = slots
        self._quic = quic
        self._authority = authority
        self._hub = hub
        self._chance = chance
        self._spawn = spawn
        self._wire_of = wire_of
        self._forget = forget

    def inject(self, fault: faults.Fault, lasts: float | None = None) -> None:
        """Set a fault; `lasts`: after how many seconds it will be cleared, which is only reported."""
        if isinstance(fault, faults.Drop | faults.GoAway | faults.Reset | faults.HalfClose):
            for connection in fault.select(self._connections(), self._chance):
                self._act_once(fault, connection)
        elif isinstance(fault, faults.Forget):
            if (tunnel := self._registry.find(full_name(fault.hostname))) is not None:
                self._forget(tunnel)
        else:
            self._active.add(fault, lasts)
            self._begin(fault)
        self._hub.emit(FaultInjected(self._hub.now(), type(fault).__name__))

    def clear(self, kind: type[faults.Fault] | None = None) -> None:
        """Clear the fault of a class; None: all of them."""
        for cleared in faults.KINDS.values() if kind is None else (kind,):
            if self._active.remove(cleared):
                self._end(cleared)
                self._hub.emit(FaultCleared(self._hub.now(), cleared.__name__))

    def _act_once(self, fault: faults.Select, connection: Connection) -> None:
        match fault:
            case faults.Drop():
                connection.carrier.abort("dropped by a fault")
            case faults.GoAway():
                connection.carrier.goaway()
                self._spawn(_close_once_idle(connection), "goaway")
            case faults.Reset():
                self._wire_of(connection.carrier).reset()
            case faults.HalfClose():
                self._wire_of(connection.carrier).half_close()
            case _:
                assert_never(fault)

    def _begin(self, fault: faults.Fault) -> None:
        match fault:
            case faults.Refuse():
                self._slots.refuse(refusing=True)
            case faults.UdpBlocked():
                self._quic.block("udp")
            case faults.BothBlocked():
                self._slots.swallow(swallowing=True)
                self._stall()
            case faults.ExpireCert():
                self._slots.show(self._authority.edge_context(expired=True))
                self._quic.show(self._authority.edge_identity(expired=True))
            case faults.Stall():
                self._slots.fall_silent()
                self._stall()
            case _ if isinstance(fault, faults.WIRE):
                self._slots.apply_to_wires()
                self._quic.apply_to_wires()
            case _:
                pass  # read by the parts that it concerns

    def _end(self, kind: type[faults.Fault]) -> None:
        if kind is faults.Refuse:
            self._slots.refuse(refusing=False)
        elif kind is faults.UdpBlocked:
            self._quic.unblock("udp")
        elif kind is faults.ExpireCert:
            self._slots.show(self._authority.edge_context())
            self._quic.show(self._authority.edge_identity())
        elif kind is faults.Stall:
            self._slots.speak()
            self._resume()
        elif kind is faults.BothBlocked:
            self._slots.swallow(swallowing=False)
            self._resume()
        elif kind in faults.WIRE:
            self._slots.apply_to_wires()
            self._quic.apply_to_wires()

    def _stall(self) -> None:
        for connection in self._connections():
            connection.carrier.stall()

    def _resume(self) -> None:
        if self._active.active(faults.Stall) is None and self._active.active(faults.BothBlocked) is None:
            for connection in self._connections():
                connection.carrier.resume()

    def _connections(self) -> Iterable[Connection]:
        live = (connection for tunnel in self._registry for connection in tunnel.connections)
        return sorted(live, key=lambda connection: connection.registered_at)


async def _close_once_idle(connection: Connection) -> None:
    connection.draining = True
    await connection.carrier.wait_idle()
    connection.carrier.close()
