"""One `prx setup` or `prx teardown` of one host name: read, plan, show, ask, read again, do."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import click

from prx.app.cloudflare.file import SetupFile, tunnel_of
from prx.app.cloudflare.keeping import Keeping, entry_of
from prx.app.cloudflare.signing_in import interactive
from prx.cloudflare_api.apply import MovedError, Setup
from prx.cloudflare_api.calls import Api
from prx.cloudflare_api.cert import CANNOT
from prx.cloudflare_api.credentials import Credentials
from prx.cloudflare_api.journal import Journal, Memory
from prx.cloudflare_api.plan import FileState, Plan, our_app, plan_setup
from prx.cloudflare_api.ports import Ports
from prx.cloudflare_api.removal import Removal, plan_removal
from prx.cloudflare_api.rights import how_to_get
from prx.cloudflare_api.steps import TITLES, Step
from prx.cloudflare_api.things import Zone
from prx.cloudflare_api.wishes import TokenWish, Wish
from prx.cloudflare_api.world import Local, World, find_zone, observe, zone_to_leave
from prx.config.paths import data_dir, ensure_private_dir, private_dir
from prx.config.this_machine import is_this_machine
from prx.core.errors import PrxError, UsageError
from prx.logs.text import printable
from prx.runtime.host.clock import SystemClock
from prx.runtime.host.lock import InstanceLock, LockHeld
from prx.secrets.value import Secret
from prx.ui.errors import hide, print_note, without_secrets
from prx.ui.say import complain


@dataclass(frozen=True, slots=True)
class Manner:
    """How a plan is carried out. only_plan: it is not. expect: the only fingerprint that may be (empty: any)."""

    only_plan: bool = False
    yes: bool = False
    as_json: bool = False
    overwrite_dns: bool = False
    expect: str = ""


@dataclass
class Outcome:
    """What there is to say at the end, for `--json`."""

    document: dict[str, Any]
    code: int = 0
    service_tokens: list[dict[str, str]] = field(default_factory=list)

    shown: Callable[[], None] = lambda: None

    def to_json(self) -> dict[str, Any]:
        """Return the public form; call `shown` once it is printed, for it may hold what is shown only once."""
        return {**self.document, "service_tokens": self.service_tokens}


class Session:
    """Set up, or take back, host names with one token."""

    def __init__(
        self,
        api: Api,
        credentials: Credentials,
        *,
        keeping: Keeping,
        file: SetupFile,
        environ: Mapping[str, str],
        manner: Manner,
    ) -> None:
        self._api, self._credentials, self._keeping = api, credentials, keeping
        self._file, self._manner = file, manner
        self._journal = Journal(private_dir(data_dir(environ)))
        self._has_begun = False

    def set_up(self, wish: Wish, local_addr: str) -> Outcome:
        """Carry out what is wished. local_addr: what the file is to say, empty if it says it already."""
        if wish.is_protected and self._credentials.limits:
            raise UsageError(CANNOT, hint=f"use {how_to_get()}")
        zone = find_zone(self._api, wish.hostname, cert_zone=self._cert_zone())
        memory = self._memory(wish.hostname)
        entry = self._file.entry(wish.hostname) or memory.secret or entry_of(wish.hostname)

        def read_plan() -> tuple[World, Plan]:
            local, now = self._local(entry, memory, wish.service_tokens), SystemClock().wall()
            world = observe(self._api, zone, wish.hostname, memory, local, access=wish.is_protected, now=now)
            state = self._file.state(self._tunnel(wish, local_addr, entry, world, memory))
            return world, plan_setup(world, wish, memory, state, overwrite_dns=self._manner.overwrite_dns)

        def act(world: World, plan: Plan, ports: Ports) -> None:
            memory.file = str(self._file.path.absolute())
            Setup(self._api, world, wish, memory=memory, journal=self._journal, ports=ports).run(plan)

        def require_own(plan: Plan) -> None:
            kinds = {step.what for step in plan.changes}
            if "secret" in kinds or ("service_token" in kinds and any(token.kept_as for token in wish.service_tokens)):
                self._keeping.prepare()
            if "file" in kinds:
                self._file.require_writable()

        def write_file(team: str, aud: str) -> None:
            tunnel = tunnel_of(wish, local_addr=local_addr, entry=entry, team=team, aud=aud, former_aud=memory.aud)
            self._file.write(tunnel)

        outcome = Outcome({}, shown=lambda: self._have_arrived(memory, outcome))
        start = "prx start --lab" if is_this_machine(urlsplit(self._credentials.base).hostname or "") else "prx start"
        written = Written(write_file, lambda: None, f"done: `{start}` makes {wish.hostname} public", require_own)
        return self._run(read_plan, act, written, outcome)

    def take_back(self, hostname: str) -> Outcome:
        """Take away what prx made for a host name."""
        memory = self._memory(hostname)
        zone, no_zone = zone_to_leave(self._api, hostname, memory, cert_zone=self._cert_zone())
        entry = self._file.entry(hostname) or memory.secret or entry_of(hostname)

        def read_plan() -> tuple[World, Plan]:
            local = self._local(entry, memory)
            world = observe(self._api, zone, hostname, memory, local, access=False, no_zone=no_zone)
            state = self._file.state_without(hostname, self._aud(world, memory)) if self._file.exists else self._nothing()
            return world, plan_removal(world, hostname, memory, state)

        def act(world: World, plan: Plan, ports: Ports) -> None:
            memory.aud = self._aud(world, memory)
            Removal(self._api, world, hostname, memory=memory, journal=self._journal, ports=ports).run(plan)

        written = Written(lambda _team, _aud: None, lambda: self._file.clean(hostname, memory.aud), "done")
        return self._run(read_plan, act, written, Outcome({}))

    # -- looking -------------------------------------------------------------------------------------------------

    def _memory(self, hostname: str) -> Memory:
        return self._journal.find(hostname, self._credentials.base)

    def _local(self, entry: str, memory: Memory, tokens: Sequence[TokenWish] = ()) -> Local:
        """Return what is kept here, of what this host name is about alone: another entry is no reason for another plan."""
        concerned = {entry, *(name for token in tokens for name in (token.kept_as, f"{token.kept_as}-id"))}
        put = {token.kept_as for token in memory.service_tokens.values() if token.kept_as}
        client_ids = tuple((name, self._keeping.text_of(f"{name}-id")) for name in sorted(put))
        names = self._keeping.names() & (concerned | put)
        return Local(entry, self._keeping.tunnel_of(entry), names, client_ids, self._file.entries_of_access() & put)

    def _cert_zone(self) -> Zone | None:
        held = self._credentials
        return Zone(held.zone_id, "", held.account_id) if held.zone_id else None

    def _tunnel(self, wish: Wish, local_addr: str, entry: str, world: World, memory: Memory) -> Any:
        app = our_app(world, wish.hostname)
        team = world.team.name if world.team else ""
        aud = app.aud if app else ""
        return tunnel_of(wish, local_addr=local_addr, entry=entry, team=team, aud=aud, former_aud=memory.aud)

    def _aud(self, world: World, memory: Memory) -> str:
        app = our_app(world, memory.hostname)
        return app.aud if app else memory.aud

    def _nothing(self) -> FileState:
        return FileState(str(self._file.path), exists=False)

    def _have_arrived(self, memory: Memory, outcome: Outcome) -> None:
        for token in outcome.service_tokens:
            memory.service_tokens[token["name"]].delivered = True
        if outcome.service_tokens:
            self._journal.keep(memory)

    # -- the common way ------------------------------------------------------------------------------------------

    def _run(
        self,
        read_plan: Callable[[], tuple[World, Plan]],
        act: Callable[[World, Plan, Ports], None],
        written: Written,
        outcome: Outcome,
    ) -> Outcome:
        world, plan = read_plan()
        # words of Cloudflare are in it, which may hold anything
        outcome.document = {**json.loads(without_secrets(json.dumps(plan.to_json()))), "applied": False}
        show(plan, self._manner)
        if plan.refused:
            outcome.code = 1
            if not self._manner.only_plan:
                things = "one thing is" if len(plan.refused) == 1 else f"{len(plan.refused)} things are"
                complain(f"error: nothing was done: {things} in the way")
            return outcome
        if self._manner.expect and self._manner.expect != plan.fingerprint:
            raise MovedError(plan.hostname)
        if self._manner.only_plan or not plan.changes:
            return outcome
        if not self._agreed(plan):
            outcome.code = 1
            return outcome
        if not self._manner.yes:
            world, again = read_plan()
            if again.fingerprint != plan.fingerprint:
                raise MovedError(plan.hostname)
        written.require(plan)
        with self._hint_on_failure(outcome, plan):
            act(world, plan, self._ports(written, outcome))
            outcome.document["applied"] = True
            print_note("done" if self._manner.as_json else _done(written, plan))
        return outcome

    def _agreed(self, plan: Plan) -> bool:
        if self._manner.yes:
            return True
        if not interactive():
            raise UsageError(
                "there is no terminal to ask whether this is to be done", hint="--yes does it, --plan only shows it"
            )
        words = "Strangers will reach the service. Do it all the same?" if plan.open else "Do it?"
        if click.confirm(words, err=True, default=False):
            return True
        print_note("nothing was done")
        return False

    @contextmanager
    def _hint_on_failure(self, outcome: Outcome, plan: Plan) -> Iterator[None]:
        """Deliver what was handed out, and say how to go on, if a step fails or the user interrupts.

        A lost token gets a new secret then.
        """
        again = f"what was done so far stays: the same command goes on, `prx teardown {plan.hostname}` takes it back"
        try:
            yield
        except PrxError as error:
            self._hand_out(outcome, error.message)
            if self._has_begun:
                error.hint = f"{error.hint}\n  {again}" if error.hint else again
            raise
        except KeyboardInterrupt:
            self._hand_out(outcome, "interrupted")
            if self._has_begun:
                print_note(f"interrupted: {again}")
            raise

    def _hand_out(self, outcome: Outcome, error: str) -> None:
        if self._manner.as_json and outcome.service_tokens:
            click.echo(json.dumps({**outcome.to_json(), "error": error}))
            outcome.shown()

    def _begin(self, step: Step) -> None:
        self._has_begun = True
        print_note(printable(f"… {step.action} {TITLES[step.what]} {step.name}"))

    def _ports(self, written: Written, outcome: Outcome) -> Ports:
        def deliver(name: str, client_id: str, secret: Secret, kept_as: str) -> bool:
            hide([secret.reveal()])
            if kept_as:
                self._keeping.keep(f"{kept_as}-id", Secret(client_id))
                self._keeping.keep(kept_as, secret)
                outcome.service_tokens.append({"name": name, "client_id": client_id, "kept_as": f"secret:{kept_as}"})
            elif self._manner.as_json:
                token = {"name": name, "client_id": client_id, "client_secret": secret.reveal()}
                outcome.service_tokens.append(token)
                return False  # nothing is printed before the end
            else:
                print_note(f"the service token {name}, shown this once:")
                click.echo(f"CF_ACCESS_CLIENT_ID={client_id}\nCF_ACCESS_CLIENT_SECRET={secret.reveal()}")
            return True

        def keep(name: str, value: Secret) -> None:
            hide([value.reveal()])
            self._keeping.keep(name, value)

        return Ports(keep, self._keeping.drop, written.write, written.clean, deliver, self._begin)


@dataclass(frozen=True, slots=True)
class Written:
    """What is done to the configuration file, by a set-up and by a removal; `require` fails if this machine is not ready."""

    write: Callable[[str, str], None]
    clean: Callable[[], None]
    done: str
    require: Callable[[Plan], None] = lambda _: None


def _done(written: Written, plan: Plan) -> str:
    """Return the last line: what makes it public, or why nothing does yet; of a removal, what could not be removed."""
    if plan.left:
        return without_secrets(printable(f"{written.done}, but not all: {'; '.join(plan.left)}"))
    if not plan.obstacles:
        return written.done
    return without_secrets(printable(f"done, but {plan.hostname} will not work yet: {'; '.join(plan.obstacles)}"))


def show(plan: Plan, manner: Manner) -> None:
    """Show a plan: on stdout if it is all that was asked for, else on stderr.

    As JSON it is shown at the end; before that in words only to a person who is asked about it.
    """
    if manner.as_json and (manner.yes or manner.only_plan or not interactive()):
        return
    lines = [step.words for step in plan.steps]
    lines += [f"note: {text}" for text in plan.notes]
    lines += [f"refused: {text}" for text in plan.refused]
    if not plan.changes and not plan.refused:
        lines.append("nothing to change")
    for line in lines:
        click.echo(without_secrets(printable(line)), err=not manner.only_plan)


@contextmanager
def alone(environ: Mapping[str, str], since: str) -> Iterator[None]:
    """Hold the lock that keeps set-ups on this machine one after the other."""
    path = ensure_private_dir(data_dir(environ)) / "setups.lock"
    try:
        lock = InstanceLock.acquire(path, what="a set-up", since=since)
    except LockHeld as held:
        who = f" (pid {held.pid})" if held.pid else ""
        raise PrxError(f"another prx{who} is setting something up", hint="wait until it has ended") from held
    with lock:
        yield
