"""Whatever stops a set-up or a removal, at whatever request: the next run of the same command ends where a clean one ends."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cloudflare_api.bench import Machine
from tests.cloudflare_api.standin import KINDS, Breaking, Killed, Stand

from prx.cloudflare_api.wishes import TokenWish, Wish
from prx.core.errors import PrxError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def wish_of(hostname: str) -> Wish:
    """Return a wish with everything in it."""
    tokens = (TokenWish("ci"), TokenWish("github", "github-token"))
    return Wish(
        hostname, "http://127.0.0.1:8080", allow=("you@example.com",), public_paths=("/hooks/*",), service_tokens=tokens
    )


def essence(stand: Stand, machine: Machine, hostname: str) -> Any:
    """Return the final state without what differs from run to run: ids, times, random tails and secrets."""
    text = json.dumps(json.loads(stand.exported()), sort_keys=True).replace(hostname, "HOST")
    for pattern, word in (
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"\b[0-9a-f]{64}\b", "AUD"),
        (r"\b[0-9a-f]{32}\b", "ID"),
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"prx-HOST-[0-9a-f]{4}", "prx-HOST-TAIL"),
        (r'"(version|client_secret_version|config_version)": \d+', r'"\1": 0'),
    ):
        text = re.sub(pattern, word, text)
    things = {name: sorted(map(repr, items)) for name, items in json.loads(text).items()}  # the order is that of the ids
    file = re.sub(r"[0-9a-f]{64}", "AUD", machine.text.replace(hostname, "HOST"))
    return things, file, sorted(name.replace(hostname, "HOST") for name in machine.secrets)


def attempt(machine: Machine, act: Any, kind: str, at: int) -> Breaking:
    """Run once with one request broken; whatever comes of it is the next run's to repair."""
    machine.transport = breaking = Breaking(at, kind)
    with contextlib.suppress(PrxError, Killed):
        act()
    machine.transport = None
    return breaking


def secrets_fit(stand: Stand, machine: Machine) -> bool:
    """Return whether the secrets that have reached the operator are those that Cloudflare takes now."""
    store = stand.account.access
    tokens = {token.client_id: token for token in stand.do(lambda: list(store.service_tokens.values()))}
    _, printed_id, printed = machine.printed[-1]
    pairs = {printed_id: printed, machine.secrets["github-token-id"]: machine.secrets["github-token"]}
    return len(pairs) == 2 and all(tokens[name].fits(secret, store.wall()) for name, secret in pairs.items())


def clean_run(stand: Stand, folder: Path, hostname: str) -> tuple[int, int, Any, Any]:
    """Set up and tear down without faults; return how many requests each took, and the two final states."""
    folder.mkdir()
    machine = Machine(stand, folder)
    machine.transport = counting = Breaking()
    machine.set_up(wish_of(hostname))
    up = essence(stand, machine, hostname)
    machine.transport = down = Breaking()
    machine.tear_down(hostname)
    return len(counting.seen), len(down.seen), up, essence(stand, machine, hostname)


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_up_that_was_stopped_is_finished_by_the_next(stand: Stand, tmp_path: Path, kind: str) -> None:
    """At every request and in every way: the same final state, no twin, no orphan, and the secrets that arrived are right."""
    before = stand.exported()
    requests, _, wanted, _ = clean_run(stand, tmp_path / "clean", "a.prx.localhost")
    for at in range(requests):
        hostname = "a.prx.localhost"
        (tmp_path / f"{at}").mkdir()
        machine = Machine(stand, tmp_path / f"{at}")
        broken = attempt(machine, lambda m=machine, h=hostname: m.set_up(wish_of(h)), kind, at)
        machine.set_up(wish_of(hostname))
        where = f"{kind} at {at}: {broken.seen[at]}"
        assert essence(stand, machine, hostname) == wanted, where
        assert machine.plan(wish_of(hostname)).changes == (), where
        assert secrets_fit(stand, machine), where
        machine.tear_down(hostname)
        assert stand.exported() == before, where


@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_that_was_stopped_is_finished_by_the_next(stand: Stand, tmp_path: Path, kind: str) -> None:
    """At every request and in every way, the account is at last byte for byte as it was."""
    before = stand.exported()
    _, requests, _, _ = clean_run(stand, tmp_path / "clean", "b.prx.localhost")
    for at in range(requests):
        (tmp_path / f"{at}").mkdir()
        machine = Machine(stand, tmp_path / f"{at}")
        machine.set_up(wish_of("b.prx.localhost"))
        broken = attempt(machine, lambda m=machine: m.tear_down("b.prx.localhost"), kind, at)
        machine.tear_down("b.prx.localhost")
        assert stand.exported() == before, f"{kind} at {at}: {broken.seen[at]}"
        assert set(machine.secrets) <= {"github-token", "github-token-id"}
