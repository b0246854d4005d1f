"""`prx setup` and `prx teardown`: a protected public name from nothing, and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from prx.app.lab_client import CONTROL_VARIABLE
from prx.core.errors import UsageError

if TYPE_CHECKING:
    from prx.app.cloudflare.file import SetupFile
    from prx.app.cloudflare.session import Outcome, Session
    from prx.app.cloudflare.signing_in import SignIn

_Command = TypeVar("_Command", bound=Callable[..., Any])


class SigningIn(click.Command):
    """A command whose `--cert` and `--lab` may stand alone, or have a value behind `=`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Write each as two options: a flag has no value, and must not take the next word for one."""
        words: list[str] = []
        for at, word in enumerate(args):
            name, equals, value = word.partition("=")
            if name == "--lab" and equals:
                words += ["--lab", "--lab-control", value]
            elif name == "--cert" and equals:
                words += ["--cert-file", value]
            elif word == "--cert" and at + 1 < len(args) and _is_file(args[at + 1]):
                words.append("--cert-file")
            else:
                words.append(word)
        return super().parse_args(ctx, words)


def _is_file(word: str) -> bool:
    """Return whether a word behind `--cert` is a file: no host name has a slash, or ends so."""
    return not word.startswith("-") and (word.endswith(".pem") or "/" in word)


def sign_in_options(command: _Command) -> _Command:
    """Add what says how to sign in."""
    for option in reversed(
        (
            click.option(
                "--token-from", metavar="REF", default="", help="The API token: secret:NAME, file:PATH, env:NAME, cmd:…"
            ),
            click.option("--cert", is_flag=True, help="Sign in with cert.pem of cloudflared; --cert FILE.pem names it."),
            click.option("--cert-file", type=click.Path(path_type=Path, dir_okay=False), hidden=True),
            click.option("--lab", is_flag=True, help="Work in the lab that runs (`prx lab`), not at Cloudflare."),
            click.option("--lab-control", envvar=CONTROL_VARIABLE, default="", hidden=True),
        )
    ):
        command = option(command)
    return command


def sign_in(flags: dict[str, Any]) -> SignIn:
    """Take these options out of `flags`."""
    from prx.app.cloudflare.signing_in import SignIn

    cert, file = flags.pop("cert"), flags.pop("cert_file")
    return SignIn(flags.pop("token_from"), file or cert, flags.pop("lab"), flags.pop("lab_control"))


_WRITE = click.option(
    "--write",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration file; default: the one that `prx start` reads here, else ./prx.toml.",
)
_PLAN = click.option("--plan", "only_plan", is_flag=True, help="Only show what would be done.")
_YES = click.option("--yes", is_flag=True, help="Do it without asking.")
_EXPECT = click.option("--expect", metavar="FINGERPRINT", default="", help="Do it only if the plan has this fingerprint.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


@click.command(cls=SigningIn)
@click.argument("hostname", required=False)
@click.option("--local", "local_addr", metavar="ADDR", default="", help="The local service: PORT, HOST:PORT or URL.")
@click.option("--allow", multiple=True, metavar="RULE", help="Who may log in: you@example.com, @example.com or everyone.")
@click.option("--public-path", "public_paths", multiple=True, metavar="PATTERN", help="Leave a path open, such as /hooks/*.")
@click.option(
    "--service-token",
    "service_tokens",
    multiple=True,
    metavar="NAME[=secret:ENTRY]",
    help="Let a machine in: its two values are printed once, or kept in the secrets manager.",
)
@_PLAN
@_YES
@_JSON
@_EXPECT
@click.option("--overwrite-dns", is_flag=True, help="Replace a DNS record that is not prx's; teardown gives it back.")
@_WRITE
@sign_in_options
def setup(*, hostname: str | None, **flags: Any) -> int:
    """Make a public name for a local service, protected from the first moment.

    It shows a plan and asks, then makes the tunnel, what guards it, and the DNS record, in this order. It can be run again:
    what is there stays. Without HOSTNAME it plans the difference between the configuration file and Cloudflare.

    \b
      prx setup agent.example.com --local 8080 --allow you@example.com
      prx setup hooks.example.com --allow @example.com --public-path "/hooks/*"
      prx setup agent.prx.localhost --allow you@example.com --lab

    \b
    Exit codes: 0 done, or nothing to change · 1 failed, or refused · 2 usage
                3 the token, or one of its permissions, is missing
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    wishes = {name: flags.pop(name) for name in ("local_addr", "allow", "public_paths", "service_tokens")}
    _check_wishes(wishes)
    if hostname is None and any(wishes.values()):
        raise UsageError("these options are about one host name, and none is given", hint="prx setup agent.example.com …")
    return _with_session(hostname, flags, lambda session, file, name: _set_up(session, file, name, wishes))


@click.command(cls=SigningIn)
@click.argument("hostname")
@_PLAN
@_YES
@_JSON
@_EXPECT
@_WRITE
@sign_in_options
def teardown(*, hostname: str, **flags: Any) -> int:
    """Take away what `prx setup` made for HOSTNAME, and nothing else.

    What it was let overwrite is given back. The configuration file keeps the tunnel and its wishes, without the token.
    """
    return _with_session(hostname, flags, lambda session, _, name: session.take_back(name))


def _set_up(session: Session, file: SetupFile, hostname: str, wishes: dict[str, Any]) -> Outcome:
    from prx.app.cloudflare.file import wish_of

    settings = file.settings(hostname)
    wish = wish_of(hostname, settings, **wishes)
    says = file.exists and wishes["local_addr"] in {"", settings.local_addr}
    return session.set_up(wish, "" if says else wishes["local_addr"] or settings.local_addr)


def _with_session(hostname: str | None, flags: dict[str, Any], work: Callable[[Session, SetupFile, str], Outcome]) -> int:
    from prx.app.cloudflare.file import open_file
    from prx.app.cloudflare.session import Manner, Session, alone
    from prx.app.cloudflare.signing_in import api_for, credentials_for, keeping_of
    from prx.core.events import timestamp
    from prx.runtime.host.clock import SystemClock

    how = sign_in(flags)
    file = open_file(flags.pop("write"), os.environ)
    names = [_hostname(hostname)] if hostname is not None else file.hostnames()
    if not names:
        raise UsageError(f"{file.path} names no tunnel with a host name", hint="prx setup agent.example.com --local 8080")
    manner = Manner(**flags)
    keeping = keeping_of(os.environ)
    with nullcontext() if manner.only_plan else alone(os.environ, timestamp(SystemClock().wall())):
        credentials = credentials_for(how, os.environ, keeping, file.path.parent)
        with api_for(credentials) as api:
            outcomes = []
            for name in names:
                session = Session(api, credentials, keeping=keeping, file=file, environ=os.environ, manner=manner)
                outcomes.append(work(session, file, name))
                file = open_file(file.path, os.environ) if outcomes[-1].document["applied"] else file
        if manner.as_json:  # still alone: that the tokens have been shown goes into the journal
            documents = [outcome.to_json() for outcome in outcomes]
            click.echo(json.dumps(documents[0] if len(documents) == 1 else {"setups": documents}))
            for outcome in outcomes:
                outcome.shown()
    return max(outcome.code for outcome in outcomes)


def _hostname(text: str) -> str:
    from prx.config.hostname import hostname

    try:
        name = hostname(text)
    except ValueError as error:
        raise UsageError(f"found {text!r}, expected {error}") from None
    if "." not in name:
        raise UsageError(f"found {text!r}, expected a host name in a zone of your account, such as agent.example.com")
    return name


def _check_wishes(wishes: dict[str, Any]) -> None:
    """Check every text and put it as it is used; UsageError names the option, what was found and what is expected."""
    from prx.config import access_wishes
    from prx.config.local_addr import LocalAddr

    for name, option, check in (
        ("allow", "--allow", access_wishes.allow_rule),
        ("public_paths", "--public-path", access_wishes.public_path),
        ("service_tokens", "--service-token", access_wishes.service_token),
    ):
        checked = []
        for text in wishes[name]:
            try:
                checked.append(check(text))
            except ValueError as error:
                raise UsageError(f"{option}: found {text!r}, expected {error}") from None
        wishes[name] = tuple(dict.fromkeys(checked))
    if wishes["local_addr"]:
        try:
            wishes["local_addr"] = str(LocalAddr.parse(wishes["local_addr"]))
        except ValueError as error:
            raise UsageError(f"--local: found {wishes['local_addr']!r}, expected {error}") from None
