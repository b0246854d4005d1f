"""Pure: the steps about Access, and what a person should know before saying yes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prx.cloudflare_api.journal import Memory
from prx.cloudflare_api.steps import Step
from prx.cloudflare_api.things import Application, Record, Zone
from prx.cloudflare_api.wishes import TokenWish, Wish, app_name, app_of, token_name
from prx.cloudflare_api.world import World
from prx.config.access_wishes import EVERYONE


def token_ids(world: World, hostname: str) -> dict[str, str]:
    """Return the id at Cloudflare of each service token, by its short name."""
    begins = token_name(hostname, "")
    return {token.name.removeprefix(begins): token.id for token in world.tokens or () if token.name.startswith(begins)}


def token_steps(world: World, wish: Wish, memory: Memory) -> Iterator[Step]:
    """Yield the step of each service token that is wanted."""
    known = token_ids(world, wish.hostname)
    for token in wish.service_tokens:
        place = f"its two values are kept as secret:{token.kept_as}" if token.kept_as else "its two values are printed once"
        end = end_of(known.get(token.name, ""), world)
        if token.name not in known:
            yield Step("create", "service_token", token.name, "no such token", f"for a machine; {place}")
        elif not has_reached_its_owner(token, world, memory):
            now = f"its values are not in secret:{token.kept_as}" if token.kept_as else "its secret never arrived"
            yield Step("change", "service_token", token.name, now, f"a new secret, and the one before ends; {place}")
        elif end:
            yield Step("change", "service_token", token.name, end, "good for another year, its two values stay")
        else:
            yield Step("keep", "service_token", token.name, "is there", "stays")


def end_of(token_id: str, world: World) -> str:
    """Return in words when a service token ends, or has ended; empty if it is good for more than a month."""
    ending = next((item for item in world.tokens or () if item.id == token_id and item.id in world.ending), None)
    return f"is good until {ending.expires_at[:10]}" if ending else ""


def has_reached_its_owner(token: TokenWish, world: World, memory: Memory) -> bool:
    """Return whether the secret of a service token that exists is where it should be; one that prx knows nothing of is.

    What stands in the secrets manager may be left from an earlier token: it counts once this one was put there.
    """
    remembered = memory.service_tokens.get(token.name)
    if remembered is not None and not remembered.delivered:
        return False
    if not token.kept_as:
        return True
    both = {token.kept_as, f"{token.kept_as}-id"} <= world.local.entries
    return both and (remembered is None or remembered.kept_as == token.kept_as)


def entries_of(short: str, world: World, hostname: str, memory: Memory, wish: Wish | None = None) -> tuple[str, ...]:
    """Return the entries of the secrets manager that hold a service token of ours: prx put it there, and it is that one still.

    None if the file names them for itself, as `[access]` does: without them `prx start` would refuse it; or if another token
    that is wished for is kept there.
    """
    remembered = memory.service_tokens.get(short)
    kept = remembered.kept_as if remembered is not None else ""
    wanted = {token.kept_as for token in wish.service_tokens if token.name != short} if wish is not None else set()
    if not kept or kept in world.local.in_use or kept in wanted:
        return ()
    client_id = dict(world.local.client_ids).get(kept, "")
    is_there = any(item.name == token_name(hostname, short) and item.client_id == client_id for item in world.tokens or ())
    return (kept, f"{kept}-id") if client_id and is_there else ()


def gone_with(short: str, world: World, hostname: str, memory: Memory, wish: Wish | None = None) -> str:
    """Return in words what of the secrets manager goes with a service token; empty if nothing does."""
    entries = entries_of(short, world, hostname, memory, wish)
    return (
        f"; {' and '.join(f'secret:{name}' for name in entries)} {'go' if len(entries) > 1 else 'goes'} with it"
        if entries
        else ""
    )


def application_steps(world: World, wish: Wish, app: Application | None) -> Iterator[Step]:
    """Yield the step of the application, if one is wanted."""
    if not wish.is_protected:
        return
    name, then = app_name(wish.hostname), f"lets in {who(wish)}"
    if app is None:
        yield Step("create", "application", name, "nothing guards the name", then)
    elif is_as_wanted(app, app_of(wish, token_ids(world, wish.hostname))):
        yield Step("keep", "application", name, f"lets in {who(wish)}", "stays")
    else:
        yield Step("change", "application", name, f"lets in {_who_now(app)}", then)


def who(wish: Wish) -> str:
    """Return who may visit, in words."""
    people = [
        "everyone who logs in" if rule == EVERYONE else f"all of {rule}" if rule[0] == "@" else rule for rule in wish.allow
    ]
    machines = [f"the machine {token.name}" for token in wish.service_tokens]
    open_paths = f"; {', '.join(wish.public_paths)} open to all" if wish.public_paths else ""
    return ", ".join([*people, *machines]) + open_paths


def is_as_wanted(app: Application, wanted: Mapping[str, Any]) -> bool:
    """Return whether an application does what is wanted; what else it says does not count."""
    return bool(_essence(app.document) == _essence(wanted))


def _essence(document: Mapping[str, Any]) -> Any:
    destinations = [
        (item.get("type", "public"), item.get("uri"), _overrides(item))
        for item in document.get("destinations") or ()
        if isinstance(item, Mapping)
    ]
    policies = sorted(
        (item for item in document.get("policies") or () if isinstance(item, Mapping)),
        key=lambda item: int(item.get("precedence") or 0),
    )
    return (
        document.get("type"),
        document.get("domain"),
        destinations,
        [
            (item.get("decision"), _rules(item, "include"), _rules(item, "exclude"), _rules(item, "require"))
            for item in policies
        ],
    )


def _overrides(destination: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    found = destination.get("overrides") or ()
    return [(item.get("behavior"), item.get("path_pattern")) for item in found if isinstance(item, Mapping)]


def _rules(policy: Mapping[str, Any], key: str) -> list[str]:
    return sorted(repr(sorted(rule.items())) for rule in policy.get(key) or () if isinstance(rule, Mapping))


def _who_now(app: Application) -> str:
    """Return who is let in now, as far as the rules are of the kinds that prx makes."""
    found: list[str] = []
    for policy in app.document.get("policies") or ():
        for rule in policy.get("include") or () if isinstance(policy, Mapping) else ():
            (kind, value), *_ = rule.items() or [("nothing", {})]
            inner = next(iter(value.values()), "") if isinstance(value, Mapping) else ""
            found.append({"email": f"{inner}", "email_domain": f"all of @{inner}"}.get(kind, kind.replace("_", " ")))
    return ", ".join(found) or "no visitor"


def notes(world: World, wish: Wish, foreign: Sequence[Application]) -> Iterator[str]:
    """Yield what a person should know, one line each."""
    yield from obstacles(world, wish.hostname)
    yield from _zone_notes(world, wish)
    if wish.is_protected:
        yield from _access_notes(world, wish)
    elif foreign:
        yield f"the Access application {foreign[0].name!r} guards this name already; prx leaves it as it is"
    else:
        yield "strangers will reach the service: everybody who knows the name, and every scanner (--allow protects it)"
        if world.unseen:
            yield f"whether Access guards the name could not be seen: {world.unseen}"
    if world.team is not None and world.team.denies_unmatched and not wish.is_protected:
        yield "this team denies host names without an application: visitors will see a page of Access, though all works"


def obstacles(world: World, hostname: str) -> Iterator[str]:
    """Yield why the name will not work though all is set up; each says what would help."""
    yield from obstacles_of(world.zone, world.delegations, hostname)
    if not world.delegations and any(record.shadowed for record in world.records):
        yield f"a delegation (NS record) above {hostname} hides its record: resolvers ask other servers than Cloudflare's"


def obstacles_of(zone: Zone, delegations: Sequence[Record], hostname: str) -> Iterator[str]:
    """Yield what of a zone keeps a name in it from working."""
    if zone.status != "active":
        servers = f"; set its name servers to {' and '.join(zone.name_servers)}" if zone.name_servers else ""
        why = "the name servers of the domain are not Cloudflare's"
        yield f"the zone {zone.name} is {zone.status}, as {why}: the name will not resolve before it is active{servers}"
    if zone.paused:
        yield f"the zone {zone.name} is paused at Cloudflare: the name does not lead through it, nor through Access; unpause it"
    if zone.kind == "partial":
        yield (
            f"the zone {zone.name} is a partial one (CNAME setup): the name will not resolve before your own DNS provider "
            f"has a record for it, a CNAME to {hostname}.cdn.cloudflare.net"
        )
    for name in dict.fromkeys(record.name for record in delegations):
        servers = ", ".join(record.content for record in delegations if record.name == name)
        yield (
            f"{name} is delegated to {servers} (NS record): resolvers ask those servers for {hostname}, and never see the "
            "record that is made here; remove the delegation, or choose a name outside of it"
        )


def _zone_notes(world: World, wish: Wish) -> Iterator[str]:
    zone = world.zone
    if zone.name and wish.hostname.removesuffix(zone.name).count(".") > 1:
        words = f"{wish.hostname} lies more than one level below {zone.name}"
        yield f"{words}, and Cloudflare's free certificate covers one (SSL/TLS › Edge Certificates)"


def _access_notes(world: World, wish: Wish) -> Iterator[str]:
    if EVERYONE in wish.allow:
        yield "everyone means strangers, too: each who proves a mail address is let in"
    if not wish.allow:
        yield "people cannot log in: only machines with a service token are let in"
    providers = [provider for provider in world.providers or () if provider.type not in {"cloudflare", ""}]
    if wish.wants_log_in and providers and not any(provider.type == "onetimepin" for provider in providers):
        names = ", ".join(provider.name or provider.type for provider in providers)
        yield f"people log in with {names}; there is no one-time PIN by mail for others (Zero Trust › Integrations)"
