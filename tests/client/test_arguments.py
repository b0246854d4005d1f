"""Arguments that cannot be: refused before anything is started, with the argument, what was found and what is expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.client.program import Home
from tests.support.origin import HostedOrigin

import prx
from prx.app.options import WISHES
from prx.client.wish import understand

WRONG: list[tuple[str, Any]] = [
    ("health_path", "/\0"), ("health_path", 5), ("health_path", None), ("expect", 200), ("expect", "2\0xx"), ("expect", b"2xx"),
    ("host_header", "a\0b"), ("host_header", ["a"]), ("allow", 5), ("allow", [5]), ("allow", "x\0@y.z"), ("allow", [None]),
    ("config", ""), ("config", "/"), ("config", "a\0b"), ("config", 5), ("config", b"x.toml"), ("config", Path()),
    ("name", 5), ("name", "a\0"), ("lab", 5), ("lab", "http://127.0.0.1:1\0"), ("lab", ["x"]), ("hello", 1), ("inspect", "yes"),
    ("keep", "3"), ("keep", True), ("keep", float("nan")), ("keep", float("inf")), ("keep", -1), ("keep", None),
]  # fmt: skip


@pytest.mark.parametrize(("argument", "value"), WRONG)
def test_a_wrong_argument_is_named(argument: str, value: Any) -> None:
    """`prx.tunnel`, `prx.open_tunnel` and `prx.asgi.lifespan` refuse it at once, with the same words."""
    said = set()
    for opener in (prx.tunnel, prx.open_tunnel, prx.asgi.lifespan):
        with pytest.raises(prx.UsageError) as refused:
            opener(None, **{argument: value})
        said.add(refused.value.message)
    (words,) = said
    assert words.startswith(f"{argument}: found ")
    assert "expected" in words


@pytest.mark.parametrize(
    ("runs", "asked", "words"),
    [
        ({}, {"allow": "me@example.com"}, "serves this without allow, expected with allow='me@example.com'"),
        (
            {"allow": ["a@b.example", "c@d.example"]},
            {"allow": "a@b.example"},
            "with allow=['a@b.example', 'c@d.example'], expected",
        ),
        ({"expect": "2xx"}, {"expect": "204"}, "serves this with expect='2xx', expected with expect='204'"),
        ({}, {"inspect": True}, "serves this without inspect, expected with inspect=True"),
    ],
)
def test_settings_that_differ_are_named_as_arguments(runs: dict[str, Any], asked: dict[str, Any], words: str) -> None:
    """A prx that runs with other settings is refused in the words of the call, on both sides."""
    about = {"pid": 7, "tunnels": [{"name": "8080"}], "asked": {WISHES[flag]: value for flag, value in runs.items()}}
    with pytest.raises(prx.UsageError) as refused:
        understand(8080, **asked).check(about)
    assert words in refused.value.message


def test_questions_with_wrong_arguments(home: Home, origin: HostedOrigin) -> None:
    """A time-out, a filter and a callback that cannot be are refused, here and on a loop; an endless time to open is none."""
    source = f"""
    import asyncio, os, prx
    TIMES = (float("nan"), float("inf"), -1, "x", None, True, 1e9)

    def said(error, beginning):
        assert isinstance(error, prx.UsageError) and error.message.startswith(beginning + ": found"), repr(error)

    async def on_a_loop():
        async with prx.open_tunnel({origin.port}, lab=os.environ["LAB"], timeout=float("inf")) as t:
            for seconds in TIMES:
                for call in (t.wait_until_verified(seconds), t.wait_for_request("", seconds)):
                    said((await asyncio.gather(call, return_exceptions=True))[0], "timeout")
            for words in (None, 5, "a\\0b"):
                for call in (t.requests(words), t.wait_for_request(words)):
                    said((await asyncio.gather(call, return_exceptions=True))[0], "words")

    def caught(call, *arguments):
        try:
            call(*arguments)
        except Exception as error:
            return error

    with prx.tunnel({origin.port}, lab=os.environ["LAB"], timeout=1e30) as t:
        for seconds in TIMES:
            said(caught(t.wait_until_verified, seconds), "timeout")
            said(caught(t.wait_for_request, "", seconds), "timeout")
        for words in (None, 5, "a\\0b"):
            said(caught(t.requests, words), "words")
            said(caught(t.wait_for_request, words), "words")
        said(caught(t.on_change, None), "callback")
        asyncio.run(on_a_loop())
    print("well")
    """
    with home.python(source) as program:
        program.line("well")
        program.succeed()
