"""Run all checks at once, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator

from prx.core.errors import short_of
from prx.doctor import host, reach
from prx.doctor.client import check_program, check_token
from prx.doctor.context import Context
from prx.doctor.finding import Finding, Mark
from prx.doctor.service import check_public_url, check_service

API_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
LIMIT = 14.0  # seconds for every check; start and printing take the rest of fifteen

_Check = tuple[str, str, Awaitable[list[Finding]]]


async def examine(context: Context, *, limit: float = LIMIT) -> list[Finding]:
    """Return the findings of all checks, the machine's first, then tunnel by tunnel; takes at most `limit` seconds."""
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(_bounded(name, tunnel, check, limit), name=f"check {name} {tunnel}")
            for name, tunnel, check in _checks(context)
        ]
    return [finding for task in tasks for finding in task.result()]


def _checks(context: Context) -> Iterator[_Check]:
    """Yield every check with its name and the tunnel that it concerns."""
    if context.lab:
        yield from _checks_of_the_lab(context)
        return
    yield "network", "", host.check_network(context)
    yield "public-dns", "", reach.check_public_dns(context)
    yield "edge", "", reach.check_edge(context)
    yield "proxy", "", host.check_proxy(context)
    yield "environment", "", host.check_environment(context)
    yield "stray-config", "", host.check_stray_config(context)
    for tunnel, settings in context.config.tunnels.items():
        yield "program", tunnel, check_program(tunnel, settings)
        yield "token", tunnel, check_token(tunnel, settings)
        yield "service", tunnel, check_service(tunnel, settings)
        yield "public-url", tunnel, check_public_url(context, tunnel, settings)
        if context.environ.get(API_TOKEN):
            from prx.doctor.account import check_account  # noqa: PLC0415 - an HTTP client, which few examinations need

            yield "account", tunnel, check_account(context, tunnel, settings)


def _checks_of_the_lab(context: Context) -> Iterator[_Check]:
    """Yield what concerns a tunnel of the local edge: this machine, the connector and the service."""
    yield "environment", "", host.check_environment(context)
    yield "stray-config", "", host.check_stray_config(context)
    for tunnel, settings in context.config.tunnels.items():
        yield "program", tunnel, check_program(tunnel, settings, or_builtin=True)
        yield "service", tunnel, check_service(tunnel, settings)


async def _bounded(name: str, tunnel: str, check: Awaitable[list[Finding]], limit: float) -> list[Finding]:
    try:
        async with asyncio.timeout(limit):
            return await check
    except TimeoutError:
        return [Finding(name, Mark.SKIP, f"this check did not end within {limit:g} s", tunnel=tunnel)]
    except Exception as error:  # noqa: BLE001 - one check that meets something odd must not hide the findings of the others
        if short := short_of(error):
            return [Finding(name, Mark.SKIP, f"not checked: {short.message}", short.hint, tunnel)]
        words = f"this check met something unexpected: {type(error).__name__}: {error}"
        return [Finding(name, Mark.SKIP, words, tunnel=tunnel)]
