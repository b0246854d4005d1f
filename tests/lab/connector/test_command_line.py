"""The command line: one table for this connector and for the real one."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.lab.connector.bench import BUILTIN_ONLY
from tests.lab.connector.child import run, token

from prx.lab.connector.command_line import Action, FlagError, parse

BAD_TOKEN = "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.\n"
NO_TUNNEL = '"cloudflared tunnel run" requires the ID or name of the tunnel to run'
OFFLINE = ["--no-prechecks", "--no-autoupdate", "--protocol", "http2", "--edge", "127.0.0.1:1", "--edge", "127.0.0.1:1"]


class Case(NamedTuple):
    """A command line; its exit code, the beginning of its stdout and a part of its stderr (empty: nothing there)."""

    words: list[str]
    code: int
    out: str
    err: str


TABLE = [
    Case(["--version"], 0, "cloudflared version 2026.", ""),
    Case(["version"], 0, "cloudflared version 2026.", ""),
    Case(["version", "--short"], 0, "2026.", ""),
    Case(["tunnel", "--help"], 0, "NAME:\n   cloudflared tunnel - ", ""),
    Case(["tunnel", "run", "-h"], 0, "NAME:\n  cloudflared tunnel run - ", ""),
    Case(["tunnel"], 1, "", "You did not specify any valid additional argument"),
    Case(["tunnel", "bogus"], 1, "", "You did not specify any valid additional argument"),
    Case(["--bogus", "tunnel"], 0, "Incorrect Usage. flag provided but not defined: -bogus", ""),
    Case(["tunnel", "--bogus", "run"], 0, "Incorrect Usage. flag provided but not defined: -bogus", ""),
    Case(["tunnel", "run", "--bogus"], 0, "Incorrect Usage: flag provided but not defined: -bogus", ""),
    Case(["tunnel", "run", "--edge", "a:1"], 0, "Incorrect Usage: flag provided but not defined: -edge", ""),
    Case(["tunnel", "run", "--grace-period", "5s"], 0, "Incorrect Usage: flag provided but not defined: -grace-period", ""),
    Case(["tunnel", "run", "--loglevel", "info"], 0, "Incorrect Usage: flag provided but not defined: -loglevel", ""),
    Case(["tunnel", "run", "--metrics", "a:1"], 0, "Incorrect Usage: flag provided but not defined: -metrics", ""),
    Case(["tunnel", "run", "--no-autoupdate"], 0, "Incorrect Usage: flag provided but not defined: -no-autoupdate", ""),
    Case(["tunnel", "run", "--output", "json"], 0, "Incorrect Usage: flag provided but not defined: -output", ""),
    Case(["tunnel", "--token", "x", "run"], 0, "Incorrect Usage. flag provided but not defined: -token", ""),
    Case(
        ["tunnel", "--grace-period", "abc", "run"],
        0,
        'Incorrect Usage. invalid value "abc" for flag -grace-period: parse error',
        "",
    ),
    Case(["tunnel", "--retries", "abc", "run"], 0, 'Incorrect Usage. invalid value "abc" for flag -retries: parse error', ""),
    Case(
        ["tunnel", "--no-autoupdate=maybe", "run"],
        0,
        'Incorrect Usage. invalid boolean value "maybe" for -no-autoupdate: parse',
        "",
    ),
    Case(["tunnel", "--grace-period"], 0, "Incorrect Usage. flag needs an argument: -grace-period", ""),
    Case(["tunnel", "run", "--token"], 0, "Incorrect Usage: flag needs an argument: -token", ""),
    Case(["tunnel", "run"], 255, "", NO_TUNNEL),
    Case(["tunnel", "--url", "http://x", "run"], 255, "", NO_TUNNEL),
    Case(["tunnel", "run", "--token", ""], 255, "", NO_TUNNEL),
    Case(["tunnel", "run", "--token", "abc"], 255, "", BAD_TOKEN),
    Case(["tunnel", "run", "--token", "YWJj"], 255, "", BAD_TOKEN),
    Case(["tunnel", "run", "--token", token(t="not a uuid")], 255, "", BAD_TOKEN),
    Case(["tunnel", "run", "--token", token().rstrip("=") + "_"], 255, "", BAD_TOKEN),
    Case(["tunnel", "run", "--token-file", "/dev/null/x"], 255, "", "Failed to read token file: open /dev/null/x: not a dir"),
    Case(["tunnel", "run", "--token-file", "/dev/null/x", "--token", "abc"], 255, "", BAD_TOKEN),
    Case(["tunnel", "run", "--token", "abc", "one", "two"], 255, "", '"cloudflared tunnel run" accepts only one argument'),
    Case(["tunnel", "--config", "/dev/null/x", "run", "--token", "abc"], 1, "", "open /dev/null/x: not a directory"),
    Case(
        ["tunnel", *OFFLINE, "--cacert", "/dev/null/x", "run", "--token", token()],
        1,
        "",
        "unable to create TLS config to connect with edge: Error loading root CAs: Error reading certificate /dev/null/x",
    ),
    Case(
        ["tunnel", *OFFLINE, "--grace-period", "4m", "run", "--token", token()],
        1,
        "",
        "\ngrace-period must be equal or less than 3m0s\n",
    ),
    Case(
        ["tunnel", *OFFLINE, "--edge-ip-version", "5", "run", "--token", token()],
        1,
        "",
        "\ninvalid value for edge-ip-version: 5\n",
    ),
    Case(
        ["tunnel", *OFFLINE, "run", "--token", token(), "--protocol", "h3"],
        1,
        "",
        "ERR Couldn't start tunnel error=\"unknown protocol h3,",
    ),
    Case(["tunnel", *OFFLINE, "run", "--token", token(), "--url", "::bad::"], 1, "", "URL ::bad:: has invalid format\n"),
    Case(
        [
            "tunnel",
            "--no-prechecks",
            "--protocol",
            "http2",
            "--edge",
            "nonsense",
            "--metrics",
            "127.0.0.1:0",
            "run",
            "--token",
            token(),
        ],
        1,
        "",
        "\nfailed to resolve any edge address\n",
    ),
    Case(
        [
            "tunnel",
            "--no-prechecks",
            "--protocol",
            "http2",
            "--edge",
            "127.0.0.1:1,127.0.0.1:2",
            "--metrics",
            "127.0.0.1:0",
            "run",
            "--token",
            token(),
        ],
        1,
        "",
        "\nfailed to resolve any edge address\n",
    ),
    Case(
        ["tunnel", "--url", "http://127.0.0.1:1", "--quick-service", "http://127.0.0.1:9"],
        1,
        "",
        'failed to request quick Tunnel: Post "http://127.0.0.1:9/tunnel": dial tcp 127.0.0.1:9: connect: connection refused\n',
    ),
    Case(
        ["tunnel", "--no-autoupdate", "true", "--url", "http://127.0.0.1:1"],
        1,
        "",
        "You did not specify any valid additional argument",
    ),
]


@pytest.mark.parametrize("case", TABLE, ids=[f"{number}" for number in range(len(TABLE))])
async def test_table(case: Case, command: Sequence[str], tmp_path: Path) -> None:
    """Exit code, stream and words are the same for both connectors."""
    code, out, err = await run(case.words, tmp_path, command=command)
    assert code == case.code, (out, err)
    assert out.startswith(case.out)
    assert (out == "") == (case.out == "")
    assert case.err in err
    assert (err == "") == (case.err == "")


async def test_environment(command: Sequence[str], tmp_path: Path) -> None:
    """Settings and token come from the environment too."""
    code, _, err = await run(["tunnel", "run"], tmp_path, command=command, TUNNEL_TOKEN="garbage")
    assert (code, err) == (255, BAD_TOKEN)
    env = {
        "TUNNEL_TOKEN": token(),
        "TUNNEL_EDGE": "nonsense",
        "TUNNEL_TRANSPORT_PROTOCOL": "http2",
        "TUNNEL_METRICS": "127.0.0.1:0",
    }
    code, _, err = await run(["tunnel", "run"], tmp_path, command=command, TUNNEL_NO_PRECHECKS="true", **env)
    assert code == 1
    assert "Environmental variables map[TUNNEL_EDGE:nonsense TUNNEL_METRICS:127.0.0.1:0" in err
    assert token() not in err


async def test_settings_line(command: Sequence[str], tmp_path: Path) -> None:
    """The log shows what was set, and masks the token."""
    words = [
        "tunnel",
        "--edge",
        "x",
        "--edge",
        "y",
        "--grace-period",
        "90s",
        "--protocol",
        "http2",
        "--no-prechecks",
        "--metrics",
        "127.0.0.1:0",
    ]
    _, _, err = await run([*words, "run", "--token", token()], tmp_path, command=command)
    expected = (
        "Settings: map[edge:[x y] grace-period:1m30s metrics:127.0.0.1:0 no-prechecks:true p:http2 protocol:http2 token:*****]"
    )
    assert expected in err
    assert token() not in err


@BUILTIN_ONLY
async def test_bad_environment(command: Sequence[str], tmp_path: Path) -> None:
    """A bad value in the environment is a usage error as well."""
    code, out, _ = await run(["tunnel", "run"], tmp_path, command=command, TUNNEL_RETRIES="many")
    assert code == 0
    assert 'invalid value "many" for flag -retries: parse error (from the environment)' in out


def test_placement() -> None:
    """Flags of the tunnel command may stand before it; what follows wins; a list grows by each mention."""
    invocation = parse(
        ["--edge", "a:1", "tunnel", "--url=u", "--edge", "b:2", "-p", "quic", "run", "-p", "http2"], {"TUNNEL_EDGE": "c:3"}
    )
    assert invocation.action is Action.NAMED
    assert invocation.values.text("protocol") == "http2"
    assert invocation.values.text("url") == "u"
    assert invocation.values.texts("edge") == ("b:2",)
    assert parse(["tunnel", "run"], {"TUNNEL_EDGE": "a:1,b:2"}).values.texts("edge") == ("a:1", "b:2")


def test_usage_errors_name_the_side() -> None:
    """An error says on which side of `run` it is."""
    with pytest.raises(FlagError) as caught:
        parse(["tunnel", "run", "--edge", "a:1"], {})
    assert caught.value.after_run
