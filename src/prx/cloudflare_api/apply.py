"""Carry out the plan of a set-up, step by step, so that whatever stops it is finished by the next run.

Before each request that creates something its intent is in the journal (`prx.cloudflare_api.journal`). If the answer of one
is lost, or something of that name is there already, it is looked for by its name, and taken over if it is ours. Nothing is
rolled back: the next run of the same command looks, plans what is left, and does that; `prx teardown` takes everything back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.errors import ApiError, LostAnswerError, TakenError
from prx.cloudflare_api.guards import end_of, entries_of, has_reached_its_owner, token_ids
from prx.cloudflare_api.ingress import wanted_document
from prx.cloudflare_api.journal import Journal, Memory, TokenMemory
from prx.cloudflare_api.plan import Plan, is_marked, leading_record, our_app
from prx.cloudflare_api.ports import Ports
from prx.cloudflare_api.steps import Step
from prx.cloudflare_api.things import Application, Provider, Record, ServiceToken, Tunnel
from prx.cloudflare_api.wishes import TokenWish, Wish, app_name, app_of, record_of, target, token_name, tunnel_name
from prx.cloudflare_api.world import World
from prx.core.errors import PrxError
from prx.secrets.value import Secret

_Thing = TypeVar("_Thing")
_READ_ONLY = frozenset({"id", "aud", "uid", "created_at", "updated_at", "self_hosted_domains"})


class MovedError(PrxError):
    """What there is has changed since the plan was made."""

    def __init__(self, hostname: str) -> None:
        super().__init__(
            f"what there is at Cloudflare for {hostname} has changed since this plan was made; nothing was done",
            hint="run the same command again, and read the new plan",
        )


class Setup:
    """Carry out one plan, made from `world`."""

    def __init__(
        self,
        api: Api,
        world: World,
        wish: Wish,
        *,
        memory: Memory,
        journal: Journal,
        ports: Ports,
        tail: Callable[[], str] = lambda: secrets.token_hex(2),
    ) -> None:
        self._api, self._world, self._wish = api, world, wish
        self._memory, self._journal, self._ports = memory, journal, ports
        self._tail = tail
        self._account = world.zone.account_id
        self._tunnel = world.tunnel
        self._app = our_app(world, wish.hostname)
        self._token_ids = token_ids(world, wish.hostname)

    def run(self, plan: Plan) -> None:
        """Do what the plan says; MovedError if it was made of another world."""
        if plan.fingerprint != self._world.fingerprint:
            raise MovedError(plan.hostname)
        self._note_what_is_there()
        for step in plan.changes:
            self._ports.begun(step)
            self._perform(step)

    def _note_what_is_there(self) -> None:
        memory, tunnel = self._memory, self._tunnel
        memory.account_id, memory.zone_id = self._account, self._world.zone.id
        memory.secret = self._world.local.secret
        if tunnel is not None:
            memory.tunnel_id, memory.tunnel_name = tunnel.id, tunnel.name
            if (record := leading_record(self._world, tunnel.id)) is not None:
                memory.record_id = record.id
        if self._app is not None:
            memory.app_name, memory.app_id, memory.aud = self._app.name, self._app.id, self._app.aud
        self._journal.keep(memory)

    def _perform(self, step: Step) -> None:
        match step.what, step.action:
            case "pin", _:
                self._pin()
            case "tunnel", _:
                self._create_tunnel()
            case "service_token", "create" | "change":
                self._service_token(step)
            case "service_token", "delete":
                self._delete_service_token(step.name)
            case "application", "delete":
                self._delete_application()
            case "application", _:
                self._application()
            case "ingress", _:
                self._ingress()
            case "secret", _:
                self._ports.keep_secret(self._world.local.secret, self._api.tunnel_token(self._account, self._tunnel_now.id))
            case "file", _:
                self._ports.write_file(self._world.team.name if self._world.team else "", self._app.aud if self._app else "")
            case "dns", _:
                self._dns()

    # -- what is created -----------------------------------------------------------------------------------------

    @property
    def _tunnel_now(self) -> Tunnel:
        assert self._tunnel is not None, "a plan begins with the tunnel"
        return self._tunnel

    def _create_tunnel(self) -> None:
        memory = self._memory
        memory.tunnel_name, memory.tunnel_id = memory.tunnel_name or tunnel_name(self._wish.hostname, self._tail()), ""
        self._journal.keep(memory)
        self._tunnel = self._made(
            lambda: self._api.create_tunnel(self._account, memory.tunnel_name),
            lambda: self._api.tunnels(self._account, name=memory.tunnel_name),
            lambda tunnel: tunnel.name == memory.tunnel_name,
        )
        memory.tunnel_id = self._tunnel.id
        self._journal.keep(memory)

    def _pin(self) -> None:
        """Switch the one-time PIN on. Its name is not prx's own, so one that another hand made in the meantime is not ours."""
        self._memory.pin = True
        self._journal.keep(self._memory)
        try:
            provider = self._api.create_pin(self._account)
        except LostAnswerError:
            there = self._pins()
            if len(there) != 1:
                raise
            (provider,) = there
        except ApiError as error:
            self._memory.pin = False
            self._journal.keep(self._memory)
            if isinstance(error, TakenError) and self._pins():
                return
            raise
        self._memory.pin_id = provider.id
        self._journal.keep(self._memory)

    def _pins(self) -> list[Provider]:
        return [item for item in self._api.providers(self._account) if item.type == "onetimepin"]

    def _service_token(self, step: Step) -> None:
        wish = next(item for item in self._wish.service_tokens if item.name == step.name)
        name = token_name(self._wish.hostname, wish.name)
        if end_of(self._token_ids.get(wish.name, ""), self._world):
            self._refresh(self._token_ids[wish.name])
            if has_reached_its_owner(wish, self._world, self._memory):
                return
        self._remember_token(wish, TokenMemory(self._token_ids.get(wish.name, ""), kept_as=wish.kept_as))
        if step.action == "create":
            token, secret = self._fresh_token(name)
        else:
            known = next(item for item in self._world.tokens or () if item.name == name)
            token, secret = self._rotated(known)
        self._token_ids[wish.name] = token.id
        arrived = self._ports.deliver(wish.name, token.client_id, secret, wish.kept_as)
        self._remember_token(wish, TokenMemory(token.id, delivered=arrived, kept_as=wish.kept_as))

    def _fresh_token(self, name: str) -> tuple[ServiceToken, Secret]:
        try:
            return self._api.create_service_token(self._account, name)
        except (LostAnswerError, TakenError):
            found = [item for item in self._api.service_tokens(self._account) if item.name == name]
            if len(found) != 1:
                raise
        return self._rotated(found[0])  # the secret of the one that was made is lost with the answer

    def _rotated(self, token: ServiceToken) -> tuple[ServiceToken, Secret]:
        try:
            return self._api.rotate_service_token(self._account, token)
        except LostAnswerError:  # it had an effect or not: another one does no harm, as the secret has reached no owner
            return self._api.rotate_service_token(self._account, token)

    def _refresh(self, token_id: str) -> None:
        try:
            self._api.refresh_service_token(self._account, token_id)
        except LostAnswerError:  # a year from now, whether it is the first time or the second
            self._api.refresh_service_token(self._account, token_id)

    def _remember_token(self, wish: TokenWish, memory: TokenMemory) -> None:
        self._memory.service_tokens[wish.name] = memory
        self._journal.keep(self._memory)

    def _application(self) -> None:
        wanted = app_of(self._wish, self._token_ids)
        name = app_name(self._wish.hostname)
        self._memory.app_name = name
        self._journal.keep(self._memory)
        old = self._app
        if old is not None:
            kept = {key: value for key, value in old.document.items() if key not in _READ_ONLY}
            self._app = self._api.put_application(self._account, old.id, {**kept, **_with_other_keys(old, wanted)})
        else:
            self._app = self._made(
                lambda: self._api.create_application(self._account, wanted),
                lambda: self._api.applications(self._account),
                lambda app: app.name == name and app.guards(self._wish.hostname),
            )
        self._memory.app_id, self._memory.aud = self._app.id, self._app.aud
        self._journal.keep(self._memory)

    def _ingress(self) -> None:
        memory, wish = self._memory, self._wish
        former = list(dict.fromkeys((*memory.public_paths, *wish.public_paths)))
        memory.public_paths = former
        self._journal.keep(memory)
        current = self._world.configuration.document if self._world.configuration else {}
        team, aud = "", ""
        if wish.is_protected:
            assert self._world.team is not None, "Access was read"
            assert self._app is not None, "the application comes first"
            team, aud = self._world.team.name, self._app.aud
        document = wanted_document(current, wish, team, aud, former_paths=former)
        self._api.put_configuration(self._account, self._tunnel_now.id, document)
        memory.public_paths = list(wish.public_paths)
        self._journal.keep(memory)

    # -- the record ----------------------------------------------------------------------------------------------

    def _dns(self) -> None:
        zone, tunnel = self._world.zone.id, self._tunnel_now.id
        wanted = record_of(self._wish.hostname, tunnel)
        right = leading_record(self._world, tunnel)
        if right is not None:
            record = self._api.put_record(zone, right.id, {**writable(right.document), **wanted, "comment": right.comment})
        elif self._world.records:
            record = self._overwrite(zone, wanted)
        else:
            record = self._made(
                lambda: self._api.create_record(zone, wanted),
                lambda: self._api.records(zone, self._wish.hostname),
                lambda record: record.content == target(tunnel),
            )
        self._require_name(zone, record)
        self._memory.record_id = record.id
        self._journal.keep(self._memory)

    def _overwrite(self, zone: str, wanted: Mapping[str, Any]) -> Record:
        first, *others = self._world.records
        known = {item.get("id") for item in self._memory.former_records}
        foreign = [item for item in self._world.records if not is_marked(item)]
        self._memory.former_records += [dict(item.document) for item in foreign if item.id not in known]
        self._journal.keep(self._memory)
        there = {item.id for item in self._world.records} - known
        try:
            for other in others:
                self._api.delete_record(zone, other.id)
                there.discard(other.id)
            return self._api.put_record(zone, first.id, wanted)
        except LostAnswerError:
            raise
        except ApiError:  # what is there still was not overwritten, and must not come back once its owner has removed it
            self._memory.former_records = [item for item in self._memory.former_records if item.get("id") not in there]
            self._journal.keep(self._memory)
            raise

    def _require_name(self, zone: str, record: Record) -> None:
        """Take a record back that was made under another name, as happens in a zone that the name is not of."""
        if record.name and record.name != self._wish.hostname:
            self._api.delete_record(zone, record.id)
            raise PrxError(
                f"Cloudflare made {record.name} of {self._wish.hostname}: the name is not of this zone; it is gone again"
            )

    # -- what goes -----------------------------------------------------------------------------------------------

    def _delete_service_token(self, short: str) -> None:
        for entry in entries_of(short, self._world, self._wish.hostname, self._memory, self._wish):
            self._ports.drop_secret(entry)
        token_id = self._token_ids.get(short, "")
        if token_id:
            self._api.delete_service_token(self._account, token_id)
        self._memory.service_tokens.pop(short, None)
        self._journal.keep(self._memory)

    def _delete_application(self) -> None:
        if self._app is not None:
            self._api.delete_application(self._account, self._app.id)
        self._memory.app_name = self._memory.app_id = self._memory.aud = ""
        self._journal.keep(self._memory)

    def _made(self, create: Callable[[], _Thing], look: Callable[[], list[_Thing]], is_it: Callable[[_Thing], bool]) -> _Thing:
        """Create something; if the answer is lost, or it is there already, return what was made, provided that it is ours."""
        try:
            return create()
        except (LostAnswerError, TakenError) as error:
            found = [item for item in look() if is_it(item)]
            if len(found) != 1:
                raise _not_found_again(error) from error
            return found[0]


def _not_found_again(error: ApiError) -> ApiError:
    if isinstance(error, TakenError):
        error.hint = error.hint or "it was made by another in this moment; run the same command again, and read the new plan"
    return error


def _with_other_keys(old: Application, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return the application as wanted, with what its destination says beside that."""
    former = next((item for item in old.document.get("destinations") or () if isinstance(item, Mapping)), {})
    (destination,) = wanted["destinations"]
    kept = {key: value for key, value in former.items() if key not in {"overrides", *destination}}
    return {
        **wanted,
        "destinations": [{**kept, **destination}],
        "app_launcher_visible": old.document.get("app_launcher_visible", False),
    }


def writable(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a DNS record that can be written."""
    keys = ("type", "name", "content", "proxied", "ttl", "comment", "tags", "settings", "data", "priority")
    return {key: document[key] for key in keys if key in document}
