"""What the real cloudflared carries between a visitor and an origin, over QUIC: the promises of HTTP/2, held again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.lab.edge.cloudflared import run_cloudflared
from tests.lab.edge.test_real_traffic import (  # noqa: F401 - the same tests, with this module's `hostname`
    test_answers_without_body,
    test_big_download,
    test_big_upload,
    test_expect_continue,
    test_head_arrives_as_behind_cloudflare,
    test_https_visitor,
    test_many_at_once,
    test_origin_breaks_half_way,
    test_repeated_response_headers,
    test_server_sent_events,
    test_sizes_around_limits,
    test_visitor_leaves,
    test_websocket,
)
from tests.support.origin import Origin

from prx.lab import Lab

pytestmark = pytest.mark.real


@pytest.fixture(params=["quick", "named"])
async def hostname(request: pytest.FixtureRequest, lab: Lab, origin: Origin, tmp_path: Path) -> AsyncIterator[str]:
    """The name of a tunnel that the real cloudflared serves over QUIC: a quick one and a named one."""
    flags: tuple[str, ...] = ("--url", f"http://127.0.0.1:{origin.port}", "--protocol", "quic")
    after_run: tuple[str, ...] = ()
    wanted = 1  # a quick tunnel has one connection
    if request.param == "named":
        token = tmp_path / "token"
        token.write_text(lab.token("web"))
        flags += ("--ha-connections", "2")  # the first two start at once, each further one a second later
        after_run = ("--token-file", str(token))
        wanted = 2
    async with run_cloudflared(lab, tmp_path, *flags, after_run=after_run):
        async with asyncio.timeout(30):
            await lab.wait_for(lambda lab: any(len(tunnel.connections) == wanted for tunnel in lab.tunnels()))
        tunnel = lab.tunnels()[0]
        assert {connection.protocol for connection in tunnel.connections} == {"quic"}
        yield tunnel.hostname
