"""One operator's machine without its file system: secrets and the configuration file in memory, the journal on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from tests.cloudflare_api.standin import Stand

from prx.app.cloudflare.file import tunnel_of
from prx.app.cloudflare.keeping import entry_of
from prx.cloudflare_api.apply import Setup
from prx.cloudflare_api.journal import Journal
from prx.cloudflare_api.plan import FileState, Plan, our_app, plan_setup
from prx.cloudflare_api.ports import Ports
from prx.cloudflare_api.removal import Removal, plan_removal
from prx.cloudflare_api.wishes import Wish
from prx.cloudflare_api.world import Local, World, find_zone, observe, zone_to_leave
from prx.config.edit import with_tunnel, without_tunnel
from prx.core.tunnel_token import TunnelToken
from prx.secrets.value import Secret


@dataclass
class Machine:
    """Runs set-ups against a stand-in as one operator would, again and again."""

    stand: Stand
    folder: Path
    secrets: dict[str, str] = field(default_factory=dict)
    text: str = ""
    printed: list[tuple[str, str, str]] = field(default_factory=list)
    token: str = ""
    transport: httpx2.BaseTransport | None = None
    in_use: set[str] = field(default_factory=set)

    @property
    def journal(self) -> Journal:
        """The journal of this machine."""
        return Journal(self.folder)

    def plan(self, wish: Wish, *, overwrite_dns: bool = False) -> Plan:
        """Return the plan for a wish."""
        with self.stand.api(token=self.token, transport=self.transport) as api:
            return self._look(api, wish, overwrite_dns)[1]

    def set_up(self, wish: Wish, *, overwrite_dns: bool = False) -> Plan:
        """Look, plan and do."""
        with self.stand.api(token=self.token, transport=self.transport) as api:
            world, plan = self._look(api, wish, overwrite_dns)
            if plan.refused or not plan.changes:
                return plan
            memory = self.memory(wish.hostname)
            Setup(api, world, wish, memory=memory, journal=self.journal, ports=self._ports(wish)).run(plan)
            return plan

    def tear_down(self, hostname: str) -> Plan:
        """Take a set-up back."""
        with self.stand.api(token=self.token, transport=self.transport) as api:
            memory = self.memory(hostname)
            zone, no_zone = zone_to_leave(api, hostname, memory)
            world = observe(api, zone, hostname, memory, self._local(hostname), access=False, no_zone=no_zone)
            app = our_app(world, hostname)
            memory.aud = app.aud if app else memory.aud
            plan = plan_removal(world, hostname, memory, FileState("prx.toml", True, self._left(hostname, memory.aud)[1]))
            ports = self._ports(Wish(hostname, ""))
            Removal(api, world, hostname, memory=memory, journal=self.journal, ports=ports).run(plan)
            return plan

    def memory(self, hostname: str) -> Any:
        """Return what the journal knows."""
        return self.journal.find(hostname, self.stand.lab.api)

    def _look(self, api: Any, wish: Wish, overwrite_dns: bool) -> tuple[World, Plan]:
        zone, memory = find_zone(api, wish.hostname), self.memory(wish.hostname)
        now = self.stand.account.access.wall()
        world = observe(api, zone, wish.hostname, memory, self._local(wish.hostname), access=wish.is_protected, now=now)
        app = our_app(world, wish.hostname)
        wanted = self._tunnel(wish, world.team.name if world.team else "", app.aud if app else "", memory.aud)
        state = FileState("prx.toml", bool(self.text), with_tunnel(self.text, wanted)[1])
        return world, plan_setup(world, wish, memory, state, overwrite_dns=overwrite_dns)

    def _local(self, hostname: str) -> Local:
        entry = entry_of(hostname)
        held = self.secrets.get(entry, "")
        kept = {token.kept_as for token in self.memory(hostname).service_tokens.values() if token.kept_as}
        client_ids = tuple((name, self.secrets.get(f"{name}-id", "")) for name in sorted(kept))
        tunnel = str(TunnelToken.decode(held).tunnel_id) if held else ""
        return Local(entry, tunnel, frozenset(self.secrets), client_ids, frozenset(self.in_use))

    def _tunnel(self, wish: Wish, team: str, aud: str, former: str) -> Any:
        return tunnel_of(
            wish, local_addr="127.0.0.1:8080", entry=entry_of(wish.hostname), team=team, aud=aud, former_aud=former
        )

    def _left(self, hostname: str, aud: str) -> tuple[str, tuple[str, ...]]:
        return without_tunnel(self.text, hostname, aud)

    def _ports(self, wish: Wish) -> Ports:
        def keep(name: str, value: Secret) -> None:
            self.secrets[name] = value.reveal()

        def deliver(name: str, client_id: str, secret: Secret, kept_as: str) -> bool:
            if kept_as:
                self.secrets |= {kept_as: secret.reveal(), f"{kept_as}-id": client_id}
            else:
                self.printed.append((name, client_id, secret.reveal()))
            return True

        def write(team: str, aud: str) -> None:
            former = self.memory(wish.hostname).aud
            self.text = with_tunnel(self.text, self._tunnel(wish, team, aud, former))[0]

        def clean() -> None:
            self.text = self._left(wish.hostname, self.memory(wish.hostname).aud)[0]

        def drop(name: str) -> None:
            self.secrets.pop(name, None)

        return Ports(keep, drop, write, clean, deliver)
