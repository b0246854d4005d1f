"""The relays of one prx, what they have seen, and the answers to those who ask for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from prx.config.schema import Config, TunnelSettings
from prx.core.errors import PrxError, UsageError, refused
from prx.logs.redact import Redactor
from prx.runtime.bulkhead import contained, keep_running
from prx.runtime.host.clock import Clock
from prx.runtime.origin_trust import unusable
from prx.runtime.probes.connect import ProbeError
from prx.runtime.probes.origin import Trust
from prx.traffic.catch import Catcher
from prx.traffic.exchange import Exchange, exchange_json, summary_json
from prx.traffic.filters import parse_filter
from prx.traffic.gate import Gate
from prx.traffic.guard import GuardedRelay
from prx.traffic.live_tls import LiveTls
from prx.traffic.masks import Masks
from prx.traffic.relay import Target
from prx.traffic.replay import request_bytes, send
from prx.traffic.ring import Ring
from prx.traffic.room import lines_within, whole_within
from prx.traffic.search import Search
from prx.traffic.signatures import SENDERS, verdict
from prx.traffic.spool import Spool
from prx.traffic.tee import Copier

Message: TypeAlias = dict[str, Any]

WAIT_LIMIT: Final = 3600.0  # seconds
LIST_LIMIT: Final = 2000  # lines of one answer
_MB: Final = 1_000_000


class _Serving(NamedTuple):
    """A relay, and the task that has it serve."""

    relay: GuardedRelay
    starting: asyncio.Task[None]

    async def close(self, *, shares: bool = False) -> None:
        await self.starting
        await self.relay.close(shares=shares)


@dataclass(slots=True)
class _Inspected:
    """A tunnel. left: its relays of other ports, whose addresses connectors may still have."""

    settings: TunnelSettings
    ring: Ring
    serving: _Serving
    left: list[_Serving] = field(default_factory=list)
    catching: asyncio.Task[None] | None = None
    catcher: Catcher | None = None

    @property
    def relay(self) -> GuardedRelay:
        """The relay that the next connector is given."""
        return self.serving.relay

    @property
    def relays(self) -> list[GuardedRelay]:
        """All of them."""
        return [self.relay, *(left.relay for left in self.left)]

    def left_at(self, port: int) -> _Serving | None:
        """Return the relay that it had at a port before, if connectors may still use that."""
        return next((left for left in self.left if left.relay.port == port), None)

    def move_to(self, serving: _Serving) -> None:
        """Have the next connector given another relay; the one of now is left."""
        self.left = [left for left in self.left if left is not serving] + [self.serving]
        self.serving = serving


class Inspector:
    """Holds a relay for every tunnel that is to be inspected; made on a running loop. `log(level, text)` says something.

    `own` is the word that prx's own checks carry; `folder` is for requests that wait for a service that is down.
    """

    def __init__(self, clock: Clock, redactor: Redactor, log: Callable[[str, str], None], own: str, folder: Path) -> None:
        self._folder = folder
        self._own = own
        self._clock, self._log = clock, log
        self._masks = Masks(redactor)
        self._inspected: dict[str, _Inspected] = {}
        self._is_first = True  # nothing was fitted yet
        self._wanted: set[str] = set()  # the tunnels that are to have a relay
        self._ending: set[asyncio.Task[None]] = set()

    def take(self, config: Config) -> None:
        """Fit the relays to `config`. One that is no longer wanted serves its connector until that is replaced.

        PrxError, and everything is as it was, if a port, a certificate or a folder cannot be had.
        """
        with ExitStack() as undo:
            steps = [step for name, settings in config.tunnels.items() for step in self._steps(name, settings, undo)]
            undo.pop_all()
        self._is_first = False
        self._wanted = {name for name, settings in config.tunnels.items() if settings.is_relayed}
        for step in steps:
            step()

    def tidy(self, is_settled: Callable[[str], bool]) -> None:
        """End the relays that are not wanted any more, once their last connector has been replaced, or has ended.

        `is_settled(name)` returns whether all connectors of a tunnel are such as it has now. One whose caught requests wait for
        the service hands them over first.
        """
        for name in self._inspected.keys() - self._wanted:
            known = self._inspected[name]
            if is_settled(name) and not (known.catcher and known.catcher.waiting):
                del self._inspected[name]
                self._end(name, self._close(known))
        for name, known in self._inspected.items():
            if known.left and is_settled(name):
                for left in known.left:
                    self._end(name, left.close(shares=True))
                known.left = []

    def _end(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        say = partial(self._log, "error")
        task = asyncio.get_running_loop().create_task(
            contained(f"{name}: the end of its relay", work, say), name=f"{name}: relay"
        )
        self._ending.add(task)  # `close` awaits it
        task.add_done_callback(self._ending.discard)

    def _steps(self, name: str, settings: TunnelSettings, undo: ExitStack) -> list[Callable[[], None]]:
        """Get what can fail of fitting one tunnel, and return the steps that cannot."""
        known = self._inspected.get(name)
        if known is None and not settings.is_relayed:
            return []
        target, spool = self._target(name, settings, alone=self._is_first), self._spool(name, settings, known)
        port, copier = settings.inspect.port, self._copier(name, settings) if known is None else known.relay.copier
        relay = None
        if known is None or (port not in {0, known.relay.port} and known.left_at(port) is None):
            relay = self._relay(name, target, copier, port)
            undo.callback(relay.discard)
        return [lambda: self._fit(name, settings, target, spool, relay)]

    def _fit(
        self, name: str, settings: TunnelSettings, target: Target, spool: Spool | None, relay: GuardedRelay | None
    ) -> None:
        known = self._inspected.get(name)
        if relay is not None:
            # it listens already, so no connection is refused meanwhile; `close` awaits it
            serving = _Serving(relay, asyncio.get_running_loop().create_task(relay.start(), name=f"{name}: relay"))
            if known is None:
                known = self._inspected[name] = _Inspected(settings, relay.copier.ring, serving)
                if settings.inspect.enabled:
                    self._log("info", f"{name}: inspected; `prx requests -f` shows what passes")
            else:  # the connector still has the address of the old one
                known.move_to(serving)
        assert known is not None
        if relay is None and (left := known.left_at(settings.inspect.port)):  # the change of the port was taken back
            known.move_to(left)
        known.settings = settings
        known.relay.copier.off = not settings.inspect.enabled
        gate = self._gate(settings)
        for one in known.relays:
            one.gate = gate
            one.retarget(target)
        known.ring.bound(settings.inspect.keep, settings.inspect.keep_mb * _MB)
        self._catch(name, known, spool)

    def _target(self, name: str, settings: TunnelSettings, *, alone: bool) -> Target:
        """Return where the service is; PrxError (see `unusable`) if its certificates cannot be had, but not `alone`."""
        origin = settings.origin
        if origin.scheme != "https":
            return Target(origin.host, origin.port)
        ca_file = Path(settings.origin_ca) if settings.origin_ca else None
        trust = Trust(settings.origin_is_verified, ca_file, settings.origin_server_name)
        tls = LiveTls(trust, origin.host, lambda words: self._log("error", f"{name}: {words}"))
        try:
            tls.require()
        except ProbeError as error:
            if not alone:  # at a start the tunnel itself says so, and the others run
                raise unusable(error, f"{name}: {error.words}") from error
        return Target(origin.host, origin.port, tls.context, settings.origin_server_name or origin.host)

    def _copier(self, name: str, settings: TunnelSettings) -> Copier:
        ring = Ring(settings.inspect.keep, settings.inspect.keep_mb * _MB)
        return Copier(ring, name, self._clock.wall, self._clock.monotonic, own=self._own)

    def _relay(self, name: str, target: Target, copier: Copier, port: int) -> GuardedRelay:
        try:
            return GuardedRelay(target, copier, port=port)
        except OSError as error:
            raise refused(
                f"{name}: the relay cannot listen on 127.0.0.1:{port}: {os.strerror(error.errno or 0).lower()}",
                error,
                hint="choose another port in [tunnel.inspect], or 0 for a free one",
            ) from error

    def _spool(self, name: str, settings: TunnelSettings, known: _Inspected | None) -> Spool | None:
        """Return where requests are kept, if that is wanted and not known yet."""
        if not settings.inspect.catch or (known is not None and known.catcher is not None):
            return None
        try:
            return Spool(self._folder / name)
        except OSError as error:
            raise refused(f"requests cannot be kept in {self._folder / name}: {error.strerror}", error) from error

    def _catch(self, name: str, known: _Inspected, spool: Spool | None) -> None:
        """Begin to keep requests for a service that is down, if that is wanted; what waits is handed over in any case."""
        if spool is not None:
            # what is handed over is read to know the end of the answer, also if nothing is inspected
            copier = known.relay.copier if known.settings.inspect.enabled else self._copier(name, known.settings)
            known.catcher = Catcher(
                spool,
                copier,
                lambda: known.relay.target,
                lambda level, text: self._log(level, f"{name}: {text}"),
            )
            what = f"{name}: kept requests"
            work = keep_running(what, known.catcher.run, self._clock, lambda text: self._log("error", text))
            known.catching = asyncio.get_running_loop().create_task(work, name=what)  # ended in `close`
        for one in known.relays:
            one.catch = known.catcher if known.settings.inspect.catch else None

    def _gate(self, settings: TunnelSettings) -> Gate | None:
        wanted = settings.gate
        if not wanted.is_wanted:
            return None
        basic, bearer = wanted.basic_auth.reveal(), wanted.bearer.reveal()
        return Gate(
            basic=[basic] if basic else [],
            bearer=[bearer] if bearer else [],
            networks=wanted.allow_ip,
            own=self._own,
            now=self._clock.monotonic,
        )

    def child_settings(self, name: str, settings: TunnelSettings) -> TunnelSettings:
        """Return what the connector of a tunnel is given: the relay in place of the service, if it is inspected."""
        known = self._inspected.get(name)
        if known is None or not settings.is_relayed:
            return settings
        return replace(settings, local_addr=known.relay.url, origin_ca="", origin_tls_verify="auto", origin_server_name="")

    async def close(self) -> None:
        """End all relays."""
        for known in self._inspected.values():
            await self._close(known)
        await asyncio.gather(*self._ending)

    async def _close(self, known: _Inspected) -> None:
        if known.catching is not None:
            known.catching.cancel()
            await asyncio.gather(known.catching, return_exceptions=True)
        for left in known.left:
            await left.close(shares=True)
        await known.serving.close()

    # ------------------------------------------------------------------ what others ask

    async def answer(self, request: Message) -> Message:
        """Answer a request of the control socket; raise PrxError if it cannot be."""
        match request.get("do"):
            case "requests":
                return await self._list(request)
            case "request":
                found = await asyncio.to_thread(exchange_json, self._signed(self._one(request)), self._masks)
                return {"request": whole_within(found)}
            case "replay":
                return await self._replay(request)
            case unknown:
                raise UsageError(f"unknown request {str(unknown)[:40]!r}", hint="client and prx may differ in version")

    async def _replay(self, request: Message) -> Message:
        edit = request.get("edit")
        if edit is not None and not isinstance(edit, dict):
            raise UsageError("edit must be an object")
        exchange = self._one(request) if request.get("id") else None
        if exchange is not None and request.get("at") not in {None, exchange.at(exchange.began)}:
            raise PrxError(f"request {exchange.id} is another one now: prx was started again", hint="choose it again")
        known = self._inspected[exchange.tunnel if exchange else next(iter(self._rings(request)))]
        raw = await asyncio.to_thread(request_bytes, exchange, edit, self._masks)  # a body of 16 MiB is searched for secrets
        found = await send(raw, known.relay.target, known.relay.copier, replay_of=exchange.id if exchange else 0)
        found.note("" if exchange else "sent from an archive")
        return {"request": summary_json(found, self._masks)}

    def _lines(self, items: list[Exchange], *, first: bool) -> list[Message]:
        """Return the lines of a list; in a thread, for the bodies of 500 webhooks are 64 MB to be signed."""
        return lines_within([summary_json(self._signed(item), self._masks) for item in items], first=first)

    def _signed(self, item: Exchange) -> Exchange:
        """Return it with what is known of its signature."""
        known = self._inspected.get(item.tunnel)
        if known is None:  # its tunnel has gone meanwhile
            return item
        secrets = known.settings.inspect.webhooks
        if item.signed_with is not secrets or not item.ended:
            item.signature = verdict(item, {name: getattr(secrets, name).reveal() for name in SENDERS})
            item.signed_with = secrets
        return item

    def _rings(self, request: Message) -> dict[str, Ring]:
        name = request.get("tunnel")
        rings = {
            key: known.ring
            for key, known in self._inspected.items()
            if (name is None or name == key) and known.settings.inspect.enabled
        }
        if not rings:
            what = "what passes" if name is None else f"what passes {name!r}"
            raise UsageError(
                f"{what} is not inspected",
                hint="start it with --inspect, or set enabled in [tunnel.inspect]",
                code="inspection_off",
            )
        return rings

    async def _list(self, request: Message) -> Message:
        """Return what was answered after `positions`, in the order in which it began; wait for it if there is none yet.

        `oldest`: in the order in which it was answered, the first ones that fit, and the positions behind them. `after`: the
        same, behind the request with this id; `last` in the answer is the id to go on from.
        """
        rings, wanted = self._rings(request), parse_filter(str(request.get("filter", "")))
        own, limit = bool(request.get("own")), min(LIST_LIMIT, _int(request, "limit", 100))
        after, positions = _int(request, "after", 0), _positions(request)
        if after:
            positions |= _behind(after, rings)
        search = Search(wanted, lambda: self._answered(rings, positions, own=own), lambda: self._any_answer(rings))
        await search.once()
        wait = request.get("wait", 0)
        if wait and isinstance(wait, int | float):
            await search.until(min(WAIT_LIMIT, max(0.0, float(wait))))
        found, fitting = search.found, search.fitting
        in_turn = bool(request.get("oldest") or after)
        fitting = (
            sorted(fitting, key=lambda item: item.answered)[:limit] if in_turn else fitting[max(0, len(fitting) - limit) :]
        )
        lines = await asyncio.to_thread(self._lines, fitting, first=in_turn)
        if in_turn and lines:  # what had no room is for the next question
            found = fitting[: len(lines)]
        return {
            "requests": lines,
            "positions": positions
            | {name: max([positions.get(name, 0), *(i.answered for i in found if i.tunnel == name)]) for name in rings},
            "last": max(found, key=lambda item: item.answered).id if found and len(rings) == 1 else after or None,
            "dropped": sum(ring.dropped for ring in rings.values()),
        }

    def _answered(self, rings: dict[str, Ring], positions: dict[str, int], *, own: bool) -> list[Exchange]:
        for known in self._inspected.values():
            known.relay.copier.read_all()
        found = [
            item
            for name, ring in rings.items()
            for item in ring
            if item.answered > positions.get(name, 0) and (own or not item.own)
        ]
        return sorted(found, key=lambda item: item.began)

    async def _any_answer(self, rings: dict[str, Ring]) -> None:
        # not in tasks: an answer may come before a task begins to wait for it
        waits = [ring.next_answer() for ring in rings.values()]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _one(self, request: Message) -> Exchange:
        number = _int(request, "id", 0)
        found = [item for ring in self._rings(request).values() if (item := ring.get(number)) is not None]
        if len(found) == 1:
            return found[0]
        if not found:
            raise PrxError(
                f"there is no request {number}, or it is no longer kept",
                hint="prx requests lists those that are",
                code="no_such_request",
            )
        raise UsageError(f"{len(found)} tunnels have a request {number}", hint="name the tunnel")


def _behind(after: int, rings: dict[str, Ring]) -> dict[str, int]:
    """Return the position behind the request `after`; before all if it is not kept any more, or was an earlier prx's."""
    if len(rings) > 1:
        raise UsageError(f"{len(rings)} tunnels have a request {after}", hint="name the tunnel")
    return {name: 0 if (item := ring.get(after)) is None else item.answered for name, ring in rings.items()}


def _positions(request: Message) -> dict[str, int]:
    given = request.get("positions") or {}
    if not isinstance(given, dict) or not all(type(at) is int and at >= 0 for at in given.values()):
        raise UsageError("positions must be an object of whole numbers")
    return {str(name): at for name, at in given.items()}


def _int(request: Message, key: str, default: int) -> int:
    value = request.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{key} must be a whole number")
    return value
