"""Take a set-up back: the plan (pure), and what carries it out. Everything tolerates "already gone".

The record goes first, then what guarded the name, the tunnel last: nothing is public unprotected in between. Only what is
marked as prx's goes; what the user let prx overwrite is given back. If no zone is seen that holds the name (it has left the
account, or the token does not cover it) the rest goes all the same, the tunnel first, and the plan says what stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prx.cloudflare_api.apply import MovedError, writable
from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.errors import LostAnswerError, TakenError
from prx.cloudflare_api.guards import entries_of, gone_with, token_ids
from prx.cloudflare_api.ingress import serves_others, without
from prx.cloudflare_api.journal import Journal, Memory
from prx.cloudflare_api.plan import FileState, Plan, leading_record, our_app, our_record
from prx.cloudflare_api.ports import Ports
from prx.cloudflare_api.steps import Step
from prx.cloudflare_api.things import Provider, Record, Tunnel
from prx.cloudflare_api.world import World


def plan_removal(world: World, hostname: str, memory: Memory, file: FileState) -> Plan:
    """Return the plan that takes away what prx made for a host name."""
    guards, tunnels = [*_access_steps(world, hostname, memory)], [*_tunnel_steps(world, hostname)]
    # a record that could not be looked for may still lead to the tunnel: then that goes before what guards it
    steps = [*tunnels, *guards] if world.no_zone else [*_dns_steps(world, hostname, memory), *guards, *tunnels]
    if world.local.secret_tunnel in _ends(world, hostname, memory):
        steps.append(Step("delete", "secret", f"secret:{world.local.secret}", "holds the tunnel's token", "gone"))
    if file.changes:
        steps.append(Step("change", "file", file.path, "says all this", "; ".join(file.changes)))
    left = tuple(_left(world, hostname, memory))
    return Plan(hostname, world.fingerprint, tuple(steps), (*left, *_notes(world, hostname, memory)), left=left)


def _dns_steps(world: World, hostname: str, memory: Memory) -> Iterator[Step]:
    ours, former = our_record(world), to_give_back(world, memory)
    before = "; ".join(str(Record.read(item)) for item in former)
    if former:
        now = str(ours) if ours is not None else "no record"
        yield Step("change" if ours else "create", "dns", hostname, now, f"as before: {before}")
    elif ours is not None:
        yield Step("delete", "dns", hostname, str(ours), "no record")


def to_give_back(world: World, memory: Memory) -> list[dict[str, Any]]:
    """Return the records that the user let us overwrite and that are not there; none if records of others are there by now."""
    there = {(item.type, item.content) for item in world.records}
    former = {(item["type"], str(item["content"]).lower()): item for item in memory.former_records}
    ours = our_record(world)
    if ours is None and not there <= former.keys():
        return []
    return [item for key, item in former.items() if key not in there]


def _access_steps(world: World, hostname: str, memory: Memory) -> Iterator[Step]:
    if (app := our_app(world, hostname)) is not None:
        yield Step("delete", "application", app.name, "guards the name", "gone")
    for name in token_ids(world, hostname):
        yield Step("delete", "service_token", name, "is there", f"gone{gone_with(name, world, hostname, memory)}")
    if not world.other_apps and our_pins(world, memory):
        yield Step("delete", "pin", "One-time PIN", "was switched on by prx, and nothing else needs it", "off")


def our_pins(world: World, memory: Memory) -> list[Provider]:
    """Return the one-time PIN that prx switched on, if it is there: by its id, or any of them if no answer came with the id."""
    pins = [item for item in world.providers or () if item.type == "onetimepin"] if memory.pin else []
    return [item for item in pins if memory.pin_id in {"", item.id}]


def _tunnel_steps(world: World, hostname: str) -> Iterator[Step]:
    for tunnel in world.tunnels:
        if _serves_on(tunnel, world, hostname):
            others = serves_others(world.configuration.document if world.configuration else {}, hostname)
            yield Step("change", "ingress", hostname, f"it serves {', '.join(others)}, too", "without the rules of this name")
        else:
            yield Step("delete", "tunnel", tunnel.name, f"id {tunnel.id}", "gone")


def _ends(world: World, hostname: str, memory: Memory) -> set[str]:
    """Return the ids of the tunnels that there are no more after the removal; the token of any other is still of use."""
    lives = {tunnel.id for tunnel in world.tunnels}
    goes = {tunnel.id for tunnel in world.tunnels if not _serves_on(tunnel, world, hostname)}
    return goes | ({memory.tunnel_id} - lives - {""})


def _serves_on(tunnel: Tunnel, world: World, hostname: str) -> bool:
    """Return whether a tunnel stays, as its rules speak of other names, too."""
    rules = world.configuration.document if world.configuration and tunnel == world.tunnel else {}
    return bool(serves_others(rules, hostname))


def _left(world: World, hostname: str, memory: Memory) -> Iterator[str]:
    """Yield what is prx's and cannot be taken away."""
    if world.no_zone:
        stays = any(_serves_on(tunnel, world, hostname) for tunnel in world.tunnels)
        then = (
            "The tunnel, which serves other names, has no rule for it then"
            if stays
            else "It leads nowhere once the tunnel is gone"
        )
        yield f"the DNS record of {hostname} stays if there is one, as it cannot be looked for: {world.no_zone}. {then}"
        if memory.former_records:
            former = "; ".join(str(Record.read(item)) for item in memory.former_records)
            yield f"what was there before cannot be given back: {former}. The same command does it once a zone is seen"
    tokens = token_ids(world, hostname)
    for short, token in memory.service_tokens.items():
        kept = token.kept_as
        if kept in world.local.entries and not (short in tokens and entries_of(short, world, hostname, memory)):
            why = "the file names it" if kept in world.local.in_use else "it may hold something else by now"
            yield f"secret:{kept}, where the service token {short} was kept, stays: {why}"


def _notes(world: World, hostname: str, memory: Memory) -> Iterator[str]:
    held = world.local.secret_tunnel
    if held and held not in _ends(world, hostname, memory):
        yield f"secret:{world.local.secret} holds the token of a tunnel that lives on (id {held}): it stays"
    if world.records and our_record(world) is None:
        record = leading_record(world, world.tunnel.id) if world.tunnel else None
        shown = record or world.records[0]
        yield f"the DNS record {shown} is not prx's: it stays" + (", and will lead nowhere" if record else "")
    for app in world.apps or ():
        if app != our_app(world, hostname) and app.guards(hostname):
            yield f"the Access application {app.name!r} is not prx's: it stays"
    if world.unseen:
        yield f"Access could not be read: {world.unseen}"


class Removal:
    """Carry out the plan of a removal, made from `world`."""

    def __init__(self, api: Api, world: World, hostname: str, *, memory: Memory, journal: Journal, ports: Ports) -> None:
        self._api, self._world, self._hostname = api, world, hostname
        self._memory, self._journal, self._ports = memory, journal, ports
        self._account = world.zone.account_id

    def run(self, plan: Plan) -> None:
        """Do what the plan says, and forget the host name; MovedError if it was made of another world."""
        if plan.fingerprint != self._world.fingerprint:
            raise MovedError(plan.hostname)
        for step in plan.changes:
            self._ports.begun(step)
            self._perform(step)
        self._forget()

    def _forget(self) -> None:
        """Drop the host name, but for records that can be given back only once the token sees their zone."""
        memory = self._memory
        if not (self._world.no_zone and memory.former_records):
            self._journal.forget(memory)
            return
        kept = Memory(memory.hostname, memory.api, memory.account_id, memory.zone_id)
        kept.record_id, kept.former_records = memory.record_id, memory.former_records
        self._journal.keep(kept)

    def _perform(self, step: Step) -> None:
        match step.what:
            case "dns":
                self._dns()
            case "application":
                app = our_app(self._world, self._hostname)
                assert app is not None, "the plan saw it"
                self._api.delete_application(self._account, app.id)
            case "service_token":
                for entry in entries_of(step.name, self._world, self._hostname, self._memory):
                    self._ports.drop_secret(entry)
                self._api.delete_service_token(self._account, token_ids(self._world, self._hostname)[step.name])
            case "pin":
                for provider in our_pins(self._world, self._memory):
                    self._api.delete_provider(self._account, provider.id)
            case "ingress":
                assert self._world.tunnel is not None, "the plan saw it"
                current = self._world.configuration.document if self._world.configuration else {}
                self._api.put_configuration(self._account, self._world.tunnel.id, without(current, self._hostname))
            case "tunnel":
                tunnel = next(item for item in self._world.tunnels if item.name == step.name)
                self._api.delete_tunnel(self._account, tunnel.id)
            case "secret":
                self._ports.drop_secret(self._world.local.secret)
            case "file":
                self._ports.clean_file()

    def _dns(self) -> None:
        zone, ours = self._world.zone.id, our_record(self._world)
        former = to_give_back(self._world, self._memory)
        if ours is not None and former:
            self._api.put_record(zone, ours.id, writable(former.pop(0)))
        elif ours is not None:
            self._api.delete_record(zone, ours.id)
        for document in former:
            self._give_back(zone, Record.read(document))
        self._memory.former_records = []
        self._memory.record_id = ""
        self._journal.keep(self._memory)

    def _give_back(self, zone: str, record: Record) -> None:
        try:
            self._api.create_record(zone, writable(record.document))
        except (LostAnswerError, TakenError):
            there = self._api.records(zone, self._hostname)
            if not any((item.type, item.content) == (record.type, record.content) for item in there):
                raise
