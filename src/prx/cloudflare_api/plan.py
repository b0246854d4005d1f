"""Pure: what there is at Cloudflare and what the user wants → the steps between the two, for a person to read beforehand.

The order holds one promise: nothing is public before it is protected and served. So the tunnel, then what guards it, then the
rules that lead to the service (they carry the application's tag), then this machine's own files, and the DNS record, which
makes it all reachable, as the last of what is made. What is in the way any more goes after that; a guard goes last of all.

What is not ours is shown and left alone: a plan that would have to touch it is `refused`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from prx.cloudflare_api.guards import application_steps, gone_with, notes, obstacles, token_steps
from prx.cloudflare_api.ingress import same, wanted_document, words
from prx.cloudflare_api.journal import Memory
from prx.cloudflare_api.steps import Action, Step
from prx.cloudflare_api.things import Application, Record
from prx.cloudflare_api.wishes import MARK, Wish, app_name, target
from prx.cloudflare_api.world import World


@dataclass(frozen=True, slots=True)
class FileState:
    """The configuration file: its path, whether it is there, and in words what would be written into it."""

    path: str
    exists: bool
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in their order, what else is to be known (`notes`), and why it cannot be carried out (`refused`).

    open: strangers will reach the service. obstacles: those notes that say why the name will not work all the same. left: those
    that say what a removal leaves though it is prx's.
    """

    hostname: str
    fingerprint: str
    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    open: bool = False
    obstacles: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def changes(self) -> tuple[Step, ...]:
        """The steps that change something."""
        return tuple(step for step in self.steps if step.action != "keep")

    def to_json(self) -> dict[str, Any]:
        """Return the public form."""
        return {
            "hostname": self.hostname,
            "fingerprint": self.fingerprint,
            "open": self.open,
            "steps": [asdict(step) for step in self.steps],
            "notes": list(self.notes),
            "refused": list(self.refused),
            "obstacles": list(self.obstacles),
        }


def plan_setup(world: World, wish: Wish, memory: Memory, file: FileState, *, overwrite_dns: bool = False) -> Plan:
    """Return the plan that makes the world as it is wished."""
    app = our_app(world, wish.hostname)
    steps = [
        *_pin_steps(world, wish),
        _tunnel_step(world, wish),
        *token_steps(world, wish, memory),
        *application_steps(world, wish, app),
        _ingress_step(world, wish, memory, app),
        *_local_steps(world, file),
        *_dns_steps(world, wish, overwrite=overwrite_dns),
        *_left_over(world, wish, memory, app),
    ]
    foreign = _foreign_apps(world, wish.hostname)
    is_open = not wish.is_protected and not foreign
    refused = tuple(_refusals(world, wish, foreign, overwrite_dns=overwrite_dns))
    told, in_the_way = tuple(notes(world, wish, foreign)), tuple(obstacles(world, wish.hostname))
    return Plan(wish.hostname, world.fingerprint, tuple(steps), told, refused, is_open, in_the_way)


def our_app(world: World, hostname: str) -> Application | None:
    """Return prx's own application of a host name."""
    return next((app for app in world.apps or () if app.name == app_name(hostname)), None)


def our_record(world: World) -> Record | None:
    """Return the DNS record that prx made: it has prx's mark, and leads where the mark says; the tunnel may be gone."""
    return next((item for item in world.records if is_marked(item)), None)


def needs_pin(world: World, wish: Wish) -> bool:
    """Return whether guests would find no way to log in: a new team knows Cloudflare's own log-in alone."""
    return wish.wants_log_in and not any(provider.type not in {"cloudflare", ""} for provider in world.providers or ())


# -- one thing each ----------------------------------------------------------------------------------------------------


def _pin_steps(world: World, wish: Wish) -> Iterator[Step]:
    if needs_pin(world, wish):
        now = ", ".join(provider.name or provider.type for provider in world.providers or ()) or "nothing"
        yield Step("create", "pin", "One-time PIN", f"people can log in with: {now}", "people log in with a code sent by mail")


def _tunnel_step(world: World, wish: Wish) -> Step:
    if world.tunnel is None:
        return Step("create", "tunnel", f"{MARK}-{wish.hostname}-…", "no tunnel of prx for this name", "a tunnel of its own")
    return Step("keep", "tunnel", world.tunnel.name, f"id {world.tunnel.id}", "stays")


def _ingress_step(world: World, wish: Wish, memory: Memory, app: Application | None) -> Step:
    then = f"{wish.hostname} → {wish.service}" + (
        ", and cloudflared refuses what comes around Access" if wish.is_protected else ""
    )
    current = world.configuration.document if world.configuration else {}
    if world.tunnel is None or (wish.is_protected and app is None):
        return Step("change" if current else "create", "ingress", wish.hostname, words(current, wish.hostname), then)
    team, aud = (world.team.name if world.team else "", app.aud if app else "") if wish.is_protected else ("", "")
    wanted = wanted_document(current, wish, team, aud, former_paths=memory.public_paths)
    action: Action = "keep" if same(wanted, current) else "change" if current else "create"
    return Step(action, "ingress", wish.hostname, words(current, wish.hostname), "stays" if action == "keep" else then)


def _local_steps(world: World, file: FileState) -> Iterator[Step]:
    local = world.local
    kept = world.tunnel is not None and local.secret_tunnel == world.tunnel.id
    name = f"secret:{local.secret}"
    if kept:
        yield Step("keep", "secret", name, "holds the tunnel's token", "stays")
    elif local.secret_tunnel:
        yield Step("change", "secret", name, "holds the token of another tunnel", "the tunnel's token in its place")
    elif local.secret not in local.entries:
        yield Step("create", "secret", name, "is not there", "the tunnel's token, in the secrets manager")
    if file.changes:
        action: Action = "change" if file.exists else "create"
        yield Step(action, "file", file.path, "is there" if file.exists else "is not there", "; ".join(file.changes))
    else:
        yield Step("keep", "file", file.path, "says all this", "stays")


def _dns_steps(world: World, wish: Wish, *, overwrite: bool) -> Iterator[Step]:
    then = f"CNAME {wish.hostname} → the tunnel, proxied"
    tunnel = world.tunnel.id if world.tunnel else ""
    right = leading_record(world, tunnel)
    if right is not None:
        action: Action = "keep" if right.proxied else "change"
        yield Step(action, "dns", wish.hostname, str(right), "stays" if right.proxied else then)
    elif not world.records:
        yield Step("create", "dns", wish.hostname, "no record", then)
    elif all(is_marked(record) for record in world.records):
        yield Step("change", "dns", wish.hostname, "; ".join(map(str, world.records)), then)
    elif overwrite:
        yield Step("change", "dns", wish.hostname, "; ".join(map(str, world.records)), f"{then}; teardown gives it back")


def leading_record(world: World, tunnel_id: str) -> Record | None:
    """Return the record that leads to the tunnel already, if another made it, too."""
    if not tunnel_id:
        return None
    return next((item for item in world.records if item.type == "CNAME" and item.content == target(tunnel_id)), None)


def is_marked(record: Record) -> bool:
    """Return whether a record is prx's, of a tunnel that may be gone."""
    return record.type == "CNAME" and record.content == target(record.comment.removeprefix(f"{MARK} "))


def _left_over(world: World, wish: Wish, memory: Memory, app: Application | None) -> Iterator[Step]:
    """Yield what an earlier wish made and this one does not want: the guard last, and then the tokens that it named."""
    if app is not None and not wish.is_protected:
        yield Step("delete", "application", app.name, "guards the name", "strangers reach the service")
    wanted = {token.name for token in wish.service_tokens}
    for token in world.tokens or ():
        short = token.name.rpartition(": ")[2]
        if short not in wanted and short in memory.service_tokens:
            then = f"is not wanted any more{gone_with(short, world, wish.hostname, memory, wish)}"
            yield Step("delete", "service_token", short, f"client id {token.client_id}", then)


def _foreign_apps(world: World, hostname: str) -> tuple[Application, ...]:
    return tuple(app for app in world.apps or () if app.name != app_name(hostname) and app.guards(hostname))


def _refusals(world: World, wish: Wish, foreign: Sequence[Application], *, overwrite_dns: bool) -> Iterator[str]:
    if wish.is_protected:
        for app in foreign:
            yield (
                f"the Access application {app.name!r} ({', '.join(app.hosts)}) guards this name and is not prx's: it stays as "
                "it is. Remove it first (Zero Trust › Access controls › Applications), or leave out --allow and keep its rules"
            )
    ours = [app for app in world.apps or () if app.name == app_name(wish.hostname)]
    if len(ours) > 1:
        yield f"{len(ours)} Access applications are named {ours[0].name!r}: remove all but one in Zero Trust › Access controls"
    if world.configuration is not None and world.configuration.local:
        yield (
            "the tunnel's configuration is a file of its connector (config_src local): what Cloudflare holds would not be "
            "used. Remove the tunnel, then run the same command again"
        )
    if not world.local.secret_tunnel and world.local.secret in world.local.entries:
        yield (
            f"secret:{world.local.secret} holds something else than a tunnel's token: it stays as it is. Let the file name "
            f'another entry (token = "secret:NAME"), or remove this one: prx secret delete {world.local.secret}'
        )
    led = world.tunnel is not None and leading_record(world, world.tunnel.id) is not None
    if world.records and not led and not overwrite_dns and not all(is_marked(record) for record in world.records):
        listed = "; ".join(map(str, world.records))
        yield (
            f"the name has a DNS record that is not prx's: {listed}. It stays as it is; --overwrite-dns replaces it, and "
            "teardown gives it back"
        )
