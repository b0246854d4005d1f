"""How cloudflared is asked to trust an https service, and what it means when a wrapper cannot run it."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.backends.test_command import context, launch, settings

from prx.backends.base import LogLine
from prx.backends.cloudflare.exits import classify_exit
from prx.backends.cloudflare.version import require_supported
from prx.core.errors import PermanentError
from prx.core.evidence import ExitCause
from prx.core.exit_status import ExitStatus

OFF = ["--no-tls-verify"]


@pytest.mark.parametrize(
    ("keys", "flags"),
    [
        ({"local_addr": "https://127.0.0.1:8443"}, OFF),
        ({"local_addr": "https://0.0.0.0:8443"}, OFF),
        ({"local_addr": "https://[::]:8443"}, OFF),
        ({"local_addr": f"https://{socket.gethostname()}:8443"}, OFF),
        ({"local_addr": "https://192.0.2.7:8443"}, []),
        ({"local_addr": "https://192.0.2.7:8443", "origin_tls_verify": False}, OFF),
        ({"local_addr": "https://127.0.0.1:8443", "origin_tls_verify": True}, []),
        ({"local_addr": "https://127.0.0.1:8443", "origin_ca": "/ca.pem"}, ["--origin-ca-pool", "/ca.pem"]),
        ({"local_addr": "https://192.0.2.7", "origin_ca": "/ca.pem", "origin_tls_verify": "false"}, OFF),
        ({"local_addr": "https://192.0.2.7", "origin_server_name": "App.Test"}, ["--origin-server-name", "app.test"]),
        ({"local_addr": "https://127.0.0.1", "origin_server_name": "a.test"}, [*OFF, "--origin-server-name", "a.test"]),
        ({"local_addr": "127.0.0.1:8080", "origin_ca": "/ca.pem", "origin_server_name": "a.test"}, []),
    ],
)
@pytest.mark.parametrize("named", [False, True])
def test_trust_becomes_flags(keys: dict[str, Any], flags: list[str], named: bool) -> None:
    """The three keys reach cloudflared for an https service, quick and named, and do not for a plain one."""
    from tests.backends.test_command import TOKEN

    argv = list(launch(settings(top=keys, **({"token": TOKEN} if named else {}))).argv)
    asked = [word for word in argv if word in {"--no-tls-verify", "--origin-ca-pool", "--origin-server-name"}]
    assert asked == [flag for flag in flags if flag.startswith("--")]
    assert argv[len(argv) - len(flags) :] == flags


def test_what_a_program_needs_beats_the_private_home() -> None:
    """A wrapper keeps the HOME that it was given, and an ordinary program gets the private one."""
    assert launch(settings()).env["HOME"] == "/private/home"
    needs = {"HOME": "/home/me", "ASDF_DIR": "/opt/asdf"}
    env = launch(settings(), context(needs=needs)).env
    assert {name: env[name] for name in needs} == needs


@pytest.mark.parametrize(("code", "words"), [(126, "cannot be run"), (127, "is not there")])
def test_a_wrapper_that_runs_nothing_is_a_mistake(code: int, words: str) -> None:
    """A shim without the program behind it is misconfigured, with its own reason, and is not tried forever."""
    said = LogLine("info", "No version is set for command cloudflared", fields={"bare": True})
    found = classify_exit(ExitStatus(code=code), [said], age=0.1)
    assert found.cause is ExitCause.CONFIG
    assert words in found.detail
    assert "No version is set" in found.detail
    assert classify_exit(ExitStatus(code=code), [], age=0.1).cause is ExitCause.CONFIG


@pytest.mark.parametrize("reason", ["no such file or directory", "permission denied", "is a directory"])
def test_a_ca_file_that_cannot_be_read_is_a_mistake(reason: str) -> None:
    """Another try cannot make the file of origin_ca readable (the words of cloudflared 2026.8.2)."""
    text = (
        "failed to start origin: Error starting local service https://127.0.0.1:1: Error loading cert pool: "
        f"unable to read the file /x.pem for --origin-ca-pool: open /x.pem: {reason}"
    )
    found = classify_exit(ExitStatus(code=1), [LogLine("info", text, fields={"bare": True})], age=0.5)
    assert (found.cause, found.detail) == (ExitCause.CONFIG, f"cloudflared cannot read origin_ca: /x.pem: {reason}")


@pytest.mark.parametrize(
    "said", ["ls (GNU coreutils) 9.1", "Python 3.11.7", "v18.19.0", "dash: 0: Illegal option --", "x" * 500]
)
def test_another_program_is_no_cloudflared(said: str) -> None:
    """What answers --version with another name is not started, and the words say what it says."""
    with pytest.raises(PermanentError, match="this is no cloudflared") as caught:
        require_supported(said)
    assert said[:20] in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "said", ["", "2026.8.2", "cloudflared version DEV (built unknown)", "cloudflared version 2026.6.0 (x)"]
)
def test_what_may_be_cloudflared_is_run(said: str) -> None:
    """A program that says nothing, a bare version, or its own name is not refused."""
    require_supported(said)
