"""`prx start`: the command line of it. What it does is in `prx.app.session`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from prx.app.lab_client import CONTROL_VARIABLE
from prx.app.options import WISHES, StartOptions
from prx.cli.held import reporting
from prx.core.errors import PrxError, UsageError
from prx.core.states import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prx.app.outcome import Outcome
    from prx.app.session import Session
    from prx.runtime.host.lock import LockHeld

_COMMAND = "prx.command"  # where the words behind `--` wait for the callback


class _WithCommand(click.Command):
    """A command that keeps the words behind `--` apart: they are the user's own command, options included."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Split the command line at the first `--`."""
        if "--" in args:
            at = args.index("--")
            args, command = args[:at], args[at + 1 :]
            if not command:
                ctx.fail("`--` stands before a command, and none follows\nprx start 8080 -- npm run dev")
            if not command[0].strip():  # an unset variable of a script
                ctx.fail(f"`--` stands before a command, and its program is {command[0]!r}\nprx start 8080 -- npm run dev")
            ctx.meta[_COMMAND] = tuple(command)
        return super().parse_args(ctx, [word for given in self._in_full(args) for word in _split_lab(given)])

    def _in_full(self, words: Iterable[str]) -> Iterator[str]:
        """Yield the words, with `--config` for `-c`: click seeks similar options first, with a library that stays loaded."""
        options = {name: option for option in self.params if isinstance(option, click.Option) for name in option.opts}
        is_value = False
        for word in words:
            option = None if is_value else options.get(word)
            is_value = option is not None and not option.is_flag
            yield word if option is None else option.opts[-1]

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Add what stands behind `--`."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND …]"]


def _split_lab(word: str) -> tuple[str, ...]:
    """Write `--lab=URL` as two options, for a flag may have no value: `--lab 8080` must not take the port for one."""
    name, equals, value = word.partition("=")
    return ("--lab", "--lab-control", value) if name == "--lab" and equals else (word,)


def _parse_duration(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    from prx.core.durations import LONGEST_SPAN, parse_duration
    from prx.core.numbers import whole

    if text is None:
        return None
    try:
        number = whole(text)
        seconds = parse_duration(text) if number is None else float(number)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"found {text!r}, expected a time such as 90s, 30m, 1h30m")
    return min(seconds, LONGEST_SPAN)


def _parse_reference(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    from prx.secrets.sources import is_reference
    from prx.secrets.value import Secret

    if text and not is_reference(Secret(text)):
        raise click.BadParameter(
            "other users see the command line: expected where the secret stands, as env:NAME, file:PATH or secret:NAME"
        )
    return text


@click.command(cls=_WithCommand)
@click.argument("targets", nargs=-1, metavar="[PORT|HOST:PORT|URL|NAME …]")
@click.option("-c", "--config", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file.")
@click.option("--hello", is_flag=True, help="Serve a small built-in page as the local service.")
@click.option("--health-path", metavar="PATH", help="The path that the health check asks for.")
@click.option("--expect", metavar="STATUS", help="What counts as healthy: auto, 2xx, 204, 200-399 …")
@click.option("--host-header", metavar="NAME", help="The Host header that the local service gets.")
@click.option("--inspect", is_flag=True, help="Keep the last requests in memory, and see them with `prx requests`.")
@click.option("--catch", is_flag=True, help="Keep webhooks on disk while the service is down, and hand them over later.")
@click.option(
    "--lab",
    is_flag=True,
    help=f"Use a local edge instead of Cloudflare: no account, no Internet. --lab=URL, or {CONTROL_VARIABLE}: one that runs.",
)
@click.option("--lab-control", envvar=CONTROL_VARIABLE, default="", hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print events to stdout, one JSON object per line.")
@click.option("--detach", is_flag=True, help="Go on in the background; return when the URL is verified.")
@click.option(
    "--allow",
    multiple=True,
    metavar="MAIL",
    help="Let only you@example.com (or *@example.com) visit the quick tunnel, after a one-time PIN; may be repeated.",
)
@click.option(
    "--basic-auth",
    callback=_parse_reference,
    metavar="REFERENCE",
    help="Ask visitors for USER:PASSWORD, as it stands in env:NAME, file:PATH or secret:NAME. For people, --allow is better.",
)
@click.option("--bearer", callback=_parse_reference, metavar="REFERENCE", help="Ask for this bearer token.")
@click.option("--allow-ip", multiple=True, metavar="CIDR", help="Let only visitors from this network in; may be repeated.")
@click.option("--ttl", callback=_parse_duration, metavar="DURATION", help="Stop after this time: 90s, 30m, 1h30m.")
@click.option("--name", default="", metavar="NAME", help="The name of the tunnel; without it, its port.")
@click.option("-q", "--quiet", "silent", is_flag=True, help="Show warnings and errors only, beside the URL.")
@click.option("-v", "--verbose", is_flag=True, help="Show everything, the connector's own log too.")
@click.option("--report-to", "report_fd", type=int, hidden=True)
@click.option("--held", is_flag=True, hidden=True)  # see prx.cli.held
@click.pass_context
def start(ctx: click.Context, /, targets: tuple[str, ...], detach: bool, report_fd: int | None, **flags: Any) -> int:
    """Put a local service on the Internet and keep it there.

    Without an address the one in the configuration is used (127.0.0.1:8080 if there is none); NAME starts that tunnel of it.
    Each verified public URL is printed to stdout, alone on a line; everything else goes to stderr. Ctrl-C stops gracefully, a
    second one at once.

    \b
      prx start 8080                      a service that runs already
      prx start 8080 -- npm run dev       start the service too, with PORT set
      prx start --hello --lab             try everything on this machine alone
      prx start 8080 --allow me@b.example let no one else visit

    \b
    Exit codes: 0 stopped as asked · 1 failed · 2 usage or configuration
                3 permanent: restarting will not help · 4 not ready in time
                128+n second signal n
    """  # noqa: D301 - \b tells click to keep the lines of a paragraph
    with reporting(held=flags["held"]):
        return _start(ctx, targets, report_fd, detach=detach, **flags)


def _start(ctx: click.Context, targets: tuple[str, ...], report_fd: int | None, *, detach: bool, **flags: Any) -> int:
    command = ctx.meta.get(_COMMAND, ())
    if flags["hello"] and (targets or command):
        raise UsageError("--hello is the local service itself", hint="leave out the address and the command, or --hello")
    if flags["as_json"] and detach:
        raise UsageError("--json shows events as they come, --detach does not stay", hint="leave out one of the two")
    wishes = {key: flags.pop(name) for name, key in WISHES.items()}
    wishes[WISHES["allow"]] = _guests(wishes[WISHES["allow"]])
    overrides = {key: value for key, value in wishes.items() if value}
    silent, verbose = flags.pop("silent"), flags.pop("verbose")
    if silent or verbose:
        overrides["log_level"] = _level(silent=silent, verbose=verbose)
    local_addr, only = _address_or_names(targets, flags["config"])
    if flags["name"] and only:
        raise UsageError("--name names a tunnel of no file, and NAME is one of a file", hint="leave out one of the two")
    flags["name"] = _name(flags["name"])
    options = StartOptions(
        overrides=overrides,
        local_addr=local_addr,
        only=only,
        command=command,
        quiet=report_fd is not None,
        plain=silent,
        **flags,
    )
    if detach:
        from prx.cli.detach import start_detached

        return start_detached(options)
    return _run(options, report_fd)


def _run(options: StartOptions, report_fd: int | None) -> int:
    import os

    from prx.app.memory import no_collection, use_one_arena

    with no_collection():
        from prx.app.hardening import forbid_dumps, guard_logging, guard_threads
        from prx.app.session import Session
        from prx.cli.install_prompt import offer_client
        from prx.runtime.host.clock import SystemClock
        from prx.runtime.host.lock import LockHeld

    use_one_arena()
    forbid_dumps()
    guard_logging()
    guard_threads()
    with _report(report_fd) as settled:
        try:
            return _to_the_end(Session(options, os.environ, offer_client=offer_client, on_settled=settled))
        except LockHeld as held:
            held.hint = _how_to_go_on(held, options.only)
            held.say_for_how_long(SystemClock().wall())
            raise


@contextmanager
def _report(report_fd: int | None) -> Iterator[Callable[[Outcome], None]]:
    """Yield what is called once every tunnel is verified or has failed: it reports to `report_fd` if a prx waits there."""
    if report_fd is None:
        yield lambda _: None
        return
    from prx.cli.detach import Report

    with Report(report_fd) as report:
        yield report.settled


def _how_to_go_on(held: LockHeld, wanted: Sequence[str]) -> str:
    """Return what the user of a prx that runs already may want: a stopped tunnel that was named, its URL, its log, its end."""
    from prx.cli.find_running import all_running

    tunnels: list[dict[str, Any]] = []
    with suppress(PrxError), all_running(None) as found:
        for running in found:
            if running.about["pid"] == held.pid:
                tunnels = running.client.ask("status")["tunnels"]
    if stopped := [item["name"] for item in tunnels if item["name"] in wanted and item["state"] == State.IDLE]:
        return f"{stopped[0]} was stopped: `prx restart {stopped[0]}` starts it again"
    if stopping := [item["reason"] for item in tunnels if item["state"] == State.STOPPING]:
        return f"it is stopping or restarting just now ({stopping[0]}): try again in a moment"
    urls = [item["url"] for item in tunnels if item["url"]]
    known = f"it serves {', '.join(urls)}; " if urls else ""
    return f"{known}`prx logs -f` follows it, {held.hint}"


def _to_the_end(session: Session) -> int:
    """Run a session and return its exit code, even if this machine has no thread left for the end of the event loop."""
    from prx.cli.ending import run

    codes: list[int] = []

    async def work() -> None:
        codes.append(await session.run())

    try:
        run(work())
    except RuntimeError:  # asyncio ends its threads in a thread
        if not codes:
            raise
    return codes[0]


def _guests(values: tuple[str, ...]) -> tuple[str, ...]:
    from prx.config.checks import mail_rule

    found: list[str] = []
    for rule in ",".join(values).split(",") if values else ():
        try:
            found.append(mail_rule(rule))
        except ValueError as error:
            raise UsageError(
                f"--allow: found {rule!r}, expected {error}", hint="prx start 8080 --allow you@example.com"
            ) from error
    return tuple(found)


def _level(*, silent: bool, verbose: bool) -> str:
    if silent and verbose:
        raise UsageError("-q shows less and -v shows more", hint="leave out one of the two")
    return "warn" if silent else "debug"


def _name(text: str) -> str:
    from prx.config.checks import tunnel_name

    try:
        return tunnel_name(text) if text else ""
    except ValueError as error:
        raise UsageError(f"--name: found {text!r}, expected {error}", hint="prx start 8080 --name shop") from error


def _address_or_names(targets: tuple[str, ...], config: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the local address that is meant, or the names of tunnels of the configuration; the other one is empty."""
    found = [_address_or_name(target, config) for target in targets]
    if len(found) > 1 and any(address for address, _ in found):
        raise UsageError(
            f"one local address is expected, or names of a file: found {' '.join(targets)}",
            hint="[tunnels.NAME] in a file declares several; or start prx once for each",
        )
    return "".join(address for address, _ in found), tuple(name for _, name in found if name)


def _address_or_name(target: str, config: Path | None) -> tuple[str, str]:
    """Return the local address that is meant, or the name of a tunnel of the configuration; the other one is empty."""
    from prx.config.checks import tunnel_name
    from prx.config.local_addr import LocalAddr

    try:
        return str(LocalAddr.parse(target)), ""
    except ValueError as error:
        problem = UsageError(f"{target!r} is not a local address: expected {error}", hint="prx start 8080")
    try:
        tunnel_name(target)
    except ValueError:
        raise problem from None
    if not _has_configuration(config):
        raise problem
    return "", target


def _has_configuration(config: Path | None) -> bool:
    import os

    from prx.config.paths import find_config

    return find_config(config, os.environ) is not None
