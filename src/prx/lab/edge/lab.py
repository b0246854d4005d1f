"""The lab as a whole: its parts, put together, started, and closed again."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

from prx.lab import faults
from prx.lab.edge import address, names, registry
from prx.lab.edge.api.account import Account, Edge
from prx.lab.edge.api.cert_pem import CERT_PERMISSIONS, write_cert_pem
from prx.lab.edge.api.oauth.clients import LAB_CLIENT
from prx.lab.edge.api.server import BASE as API_BASE
from prx.lab.edge.api.server import ApiServer
from prx.lab.edge.api.zones import ZONE_ID, ZONE_NAME
from prx.lab.edge.config import LabConfig
from prx.lab.edge.event_hub import EventHub
from prx.lab.edge.faults import notation, script
from prx.lab.edge.faults.active import ActiveFaults
from prx.lab.edge.faults.lanes import LinkFaults
from prx.lab.edge.forgetting import Forgetting
from prx.lab.edge.injector import Injector
from prx.lab.edge.public.access import CERTS_PATH, AccessFront, Fronts
from prx.lab.edge.public.access_keys import AccessKeys
from prx.lab.edge.public.gateway import Gateway
from prx.lab.edge.public.http1_server import Http1Server
from prx.lab.edge.public.http2 import Http2Visitors
from prx.lab.edge.public.login import HOST as LOGIN_HOST
from prx.lab.edge.public.login import LoginService
from prx.lab.edge.public.management import Management
from prx.lab.edge.services import control, doh
from prx.lab.edge.services.endpoint import Endpoint, Handle
from prx.lab.edge.services.quick_tunnels import QuickTunnels
from prx.lab.edge.services.team_proxy import TeamProxy
from prx.lab.edge.state import Protected, PushResult, TunnelState
from prx.lab.edge.statedir import lab_directory
from prx.lab.edge.task_group import ServerTaskGroup
from prx.lab.edge.tunnel.arrivals import Arrivals
from prx.lab.edge.tunnel.certificates import Authority
from prx.lab.edge.tunnel.registrar import Registrar
from prx.lab.edge.tunnel.tcp_listeners import Slots
from prx.lab.edge.tunnel.udp_listeners import QuicSlots
from prx.lab.events import TunnelCreated

_HOST = "127.0.0.1"
QUICK_SERVICE_NAME = "api.trycloudflare.com"  # as a cloudflared without --quick-service calls it, through a TLS front


class Lab:
    """A running lab; `Lab.start` makes one. `prx.lab.edge` says what everything here is for."""

    protocols = ("quic", "http2")  # what connectors may speak at every edge address, the better one first
    edge_addrs: tuple[str, ...]
    quick_service: str
    public: str
    public_https: str
    control: str
    doh: str
    team_proxy: str
    api: str

    def __init__(self, config: LabConfig, group: asyncio.TaskGroup, directory: Path) -> None:
        self._config = config
        self._group = group
        self._hub = EventHub(config.clock, config.on_event)
        self._directory = directory
        self._registry = registry.Registry(config.wall)
        self._faults = ActiveFaults(config.clock)
        self._chance = Random(config.seed)  # noqa: S311 - for faults that can be repeated, not for secrets
        self._fronts = Fronts(AccessKeys(config.wall))
        self._authority = Authority(directory)
        self._forgetting = Forgetting(self._registry, self._hub, config, self._spawn)
        self._registrar = Registrar(self._registry, self._faults, self._hub, config, self._spawn, forgetting=self._forgetting)
        arrivals = Arrivals(self._registrar)
        conditions = LinkFaults(self._faults, config.clock, config.sleep, self._chance, self._spawn)
        identity = self._authority.edge_identity()
        self._quic = QuicSlots(group, identity, self._hub, arrivals.serve_quic, conditions=conditions)
        context = self._authority.edge_context()
        self._slots = Slots(group, context, self._hub, arrivals.serve_http2, quic=self._quic, conditions=conditions)
        self._injector = Injector(
            active=self._faults,
            registry=self._registry,
            slots=self._slots,
            quic=self._quic,
            authority=self._authority,
            hub=self._hub,
            chance=self._chance,
            spawn=self._spawn,
            wire_of=arrivals.wire_of,
            forget=self._forgetting.forget,
        )
        self._managed = Management(self._registry, config.wall)
        edge = Edge(
            created=self._announce,
            forget=self._forgetting.forget,
            push=self._registrar.push_soon,
            management_token=self._managed.token,
            wall=config.wall,
        )
        self.account = Account(self._registry, self._faults, edge)
        self._fronts.applications = self.account.fronts
        self.api_token = self.account.tokens.mint().value
        self._login = LoginService(self._registry, config.wall)
        self._gateway = Gateway(
            self._registry,
            self._faults,
            self._fronts,
            self._hub,
            config=config,
            managed=self._managed,
            login=self._login,
        )
        self._visitors = Http1Server(
            group, "public", self._gateway.serve_http1, Http2Visitors(group, self._gateway.serve).accept
        )
        self._endpoints: list[Endpoint] = []
        self._team_proxy: TeamProxy | None = None
        self._closing = False

    @staticmethod
    @asynccontextmanager
    async def start(config: LabConfig | None = None) -> AsyncIterator[Lab]:
        """Start a lab for the length of an `async with`; OSError if a port that was asked for is taken."""
        config = config or LabConfig()
        with lab_directory(config.state_dir) as directory:
            async with ServerTaskGroup() as group:
                lab = Lab(config, group, directory)
                try:
                    await lab._listen()
                    yield lab
                finally:
                    lab._close()

    # -- what the lab has ---------------------------------------------------------------------------------------

    @property
    def ca_file(self) -> Path:
        """The certificate of the lab's CA (PEM)."""
        return self._authority.ca_file

    @property
    def cert_pem(self) -> Path:
        """What `cloudflared tunnel login` would have written: an API token for the tunnels and the zone (PEM, mode 0600)."""
        return self._directory / "cert.pem"

    def url(self, hostname: str) -> str:
        """Return the public URL of a name."""
        return f"http://{self.full_name(hostname)}:{urlsplit(self.public).port}"

    def tunnels(self) -> tuple[TunnelState, ...]:
        """Return all tunnels, oldest first."""
        return tuple(tunnel.snapshot() for tunnel in self._registry)

    def tunnel(self, hostname: str) -> TunnelState:
        """Return the tunnel of a name; LookupError if there is none."""
        return self._find(hostname).snapshot()

    def state(self) -> dict[str, Any]:
        """Return everything as plain data, fit for JSON."""
        return {
            "edge": list(self.edge_addrs),
            "quick_service": self.quick_service,
            "public": self.public,
            "public_https": self.public_https,
            "control": self.control,
            "doh": self.doh,
            "team_proxy": self.team_proxy,
            **self.api_access(),
            "ca": str(self.ca_file),
            "tunnels": [asdict(tunnel) for tunnel in self.tunnels()],
            "protected": [asdict(self.protected(name)) for name in self._fronts.names()],
            "faults": [{**notation.describe(fault), **self._faults.times(fault)} for fault in self._faults],
        }

    def api_access(self) -> dict[str, Any]:
        """Return what a program needs to call the lab's API, fit for JSON."""
        return {
            "api": self.api,
            "dash": self.account.oauth.base,
            "oauth_client_id": LAB_CLIENT,
            "api_token": self.api_token,
            "account_id": registry.ACCOUNT_TAG,
            "zone_id": ZONE_ID,
            "zone": ZONE_NAME,
            "cert_pem": str(self.cert_pem),
        }

    async def wait_for(self, condition: Callable[[Lab], bool]) -> None:
        """Wait until `condition(lab)` holds; it is checked now and after every event."""
        await self._hub.wait_until(lambda: condition(self))

    # -- what one does with it -----------------------------------------------------------------------------------

    @staticmethod
    def full_name(name: str) -> str:
        """Complete a bare name with `.localhost`; ValueError if it is no host name."""
        return names.full_name(name)

    def token(self, hostname: str) -> str:
        """Return the token of the named tunnel of `hostname`, creating it if it does not exist."""
        name = self.full_name(hostname)
        if self.account.records.covers(name):
            return self.account.tunnel_of(name).token()
        tunnel, new = self._registry.named(name)
        if new:
            self._announce(tunnel)
        return tunnel.token()

    def management_token(self, hostname: str, resource: str = "logs") -> str:
        """Return a token for the management host, which lets its holder ask a tunnel's connectors about themselves.

        `resource`: logs, admin or host_details. LookupError if there is no such tunnel.
        """
        return self._managed.token(self._find(hostname), resource)

    async def push(self, hostname: str, config: Mapping[str, Any]) -> tuple[PushResult, ...]:
        """Push a remote configuration to a tunnel: to all live connections now, to later ones as they register."""
        tunnel = self._find(hostname)
        tunnel.config = json.dumps(config).encode()
        tunnel.config_version += 1
        live = [connection for connection in tunnel.connections if not connection.draining]
        return tuple(await asyncio.gather(*(self._registrar.push(connection) for connection in live)))

    def protect(self, hostname: str, front: AccessFront | None = None) -> Protected:
        """Put an Access front before a name, whether or not its tunnel exists yet; return what its app needs to know."""
        self._fronts.protect(self.full_name(hostname), front or AccessFront())
        return self.protected(hostname)

    def protected(self, hostname: str) -> Protected:
        """Return what an app behind an Access front needs to know; LookupError if there is none."""
        return self._fronts.describe(self.full_name(hostname), f"{self.control}{CERTS_PATH}")

    def unprotect(self, hostname: str) -> None:
        """Take the Access front away."""
        self._fronts.unprotect(self.full_name(hostname))

    def login(self, hostname: str, email: str) -> str:
        """Return the token of a person who has logged in at a protected name: the value of the cookie `CF_Authorization`.

        A visitor who sends that cookie passes; the app gets the same token. LookupError if the name is not protected.
        """
        return self._fronts.login(hostname, email)

    def quick_assertion(self, hostname: str, state: str, email: str) -> str:
        """Return what the login of a protected quick tunnel sends a visitor back with, for the state that the connector made.

        ValueError if there is no such tunnel, or the state or the address cannot be one.
        """
        return self._login.assertion(self.full_name(hostname), state, email)

    def access_keys(self) -> dict[str, Any]:
        """Return the public keys that Access signs with (JWKS)."""
        return self._fronts.keys()

    def rotate_keys(self) -> None:
        """Have Access sign with a new key; of the former ones only the last stays published."""
        self._fronts.rotate_keys()

    def inject(self, fault: faults.Fault, *, lasts: float | None = None) -> None:
        """Set a fault; see `prx.lab.faults`. `lasts`: what `state` reports of its end, which is up to the caller."""
        self._injector.inject(fault, lasts)

    def clear(self, kind: type[faults.Fault] | None = None) -> None:
        """Clear the fault of a class; None: all of them."""
        self._injector.clear(kind)

    async def play(self, text: str | script.Script) -> None:
        """Do what a script of faults says, to its end; see `prx.lab.edge.faults.script`. ValueError if it cannot be read."""
        parsed = script.Script.parse(text) if isinstance(text, str) else text
        if parsed.seed is not None:
            self._chance.seed(parsed.seed)
        await script.play(parsed, self, clock=self._config.clock, sleep=self._config.sleep, chance=self._chance)

    def begin(self, text: str | script.Script) -> None:
        """Play a script in the background, until it or the lab ends; ValueError if it cannot be read."""
        self._spawn(self.play(script.Script.parse(text) if isinstance(text, str) else text), "script")

    # -- inside --------------------------------------------------------------------------------------------------

    def _announce(self, tunnel: registry.Tunnel) -> None:
        self._hub.emit(TunnelCreated(self._hub.now(), tunnel.hostname, str(tunnel.id), quick=False))

    def _find(self, hostname: str) -> registry.Tunnel:
        tunnel = self._registry.find(self.full_name(hostname))
        if tunnel is None:
            raise LookupError(f"no tunnel has the name {self.full_name(hostname)}")
        return tunnel

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        if self._closing:  # nothing new starts, not even at the end of something else
            coroutine.close()
            return
        try:
            self._group.create_task(coroutine, name=name)
        except RuntimeError:  # the same, when a task has failed
            coroutine.close()

    async def _listen(self) -> None:
        config = self._config
        self._slots.open(tuple(address.parse(text) for text in config.edge_addrs))
        self.edge_addrs = self._slots.addresses
        port = await self._visitors.listen(_HOST, config.public_port)
        self.public = f"http://{_HOST}:{port}"
        self._login.base = f"http://{LOGIN_HOST}:{port}"
        ipv6 = await self._listen_ipv6(port)
        context = self._authority.public_context()
        secure = await self._visitors.listen(_HOST, config.public_https_port, context)
        self.public_https = f"https://{_HOST}:{secure}"
        await self._listen_ipv6(secure, context)
        self._team_proxy = TeamProxy(secure, self._spawn)
        self.team_proxy = f"http://{_HOST}:{await self._team_proxy.listen()}"
        quick = QuickTunnels(
            self._registry, self._faults, self._hub, config.sleep, forgetting=self._forgetting, login=self._login
        )
        self.quick_service = await self._serve_endpoint(
            "quick", quick.handle, config.quick_service_port, {}, names=(QUICK_SERVICE_NAME,)
        )
        api = ApiServer(self.account, self._faults, self._hub, config)
        base = await self._serve_endpoint("api", api.handle, config.api_port, {}, typed=False)
        self.api = f"{base}{API_BASE}"
        self.account.oauth.base = base
        write_cert_pem(self.cert_pem, self.account.tokens.mint(CERT_PERMISSIONS).value)
        resolver = doh.Resolver(self._registry, self._faults, config.sleep, self.account.records, ipv6=ipv6)
        handle = control.Control(self, resolver.handle).handle
        body_types = {doh.PATH: doh.MEDIA_TYPE}
        self.control = await self._serve_endpoint("control", handle, config.control_port, body_types)
        self.doh = f"{self.control}{doh.PATH}"

    async def _listen_ipv6(self, port: int, context: ssl.SSLContext | None = None) -> bool:
        """Listen for visitors on ::1 too: some programs ask for that first when they see `….localhost`."""
        try:
            await self._visitors.listen("::1", port, context)
        except OSError:
            return False
        return True

    async def _serve_endpoint(
        self,
        name: str,
        handle: Handle,
        port: int,
        body_types: Mapping[str, str],
        *,
        names: tuple[str, ...] = (),
        typed: bool = True,
    ) -> str:
        endpoint = Endpoint(self._group, name, handle, body_types, names, typed=typed)
        self._endpoints.append(endpoint)
        return await endpoint.listen(_HOST, port)

    def _close(self) -> None:
        self._closing = True
        self._slots.end()
        self._visitors.close()
        if self._team_proxy is not None:
            self._team_proxy.close()
        for endpoint in self._endpoints:
            endpoint.close()
