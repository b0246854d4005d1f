"""`prx stop`, `prx restart`, `prx reload`: they act on a running prx."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from prx.cli.find_running import Running, Target, all_option, complete_names, config_option, targets
from prx.core.errors import NotReadyError, PrxError
from prx.core.states import State
from prx.ui.errors import print_note

STOP_SECONDS = 200.0  # the longest grace period that cloudflared takes is 180 s; the rest is margin
PATIENCE_SECONDS = 1.5  # for a stop without a word
_SLOW_SECRETS = 60.0  # seconds; a keyring has 30 and each program 10, and people rarely keep more than a few

name_argument = click.argument("name", required=False, shell_complete=complete_names)


@click.command()
@name_argument
@all_option
@config_option
def stop(name: str | None, config: Path | None, *, everything: bool) -> None:
    """Stop a tunnel, or a running prx with all its tunnels.

    It returns when that is down. NAME is a tunnel, or the local address that it serves; needed only if several
    prx are running, and then --all stops them all.
    """
    with targets(config, name, everything=everything) as found:
        for target in found:
            if _is_everything(target):
                target.running.client.ask("stop")
            else:
                target.running.client.ask("stop", wait=STOP_SECONDS, tunnel=target.tunnel)
        for target in found:
            if _is_everything(target) and not _ends(target.running):
                raise NotReadyError(f"prx (pid {target.running.about['pid']}) has not ended after {STOP_SECONDS:.0f} s")
            print_note(f"stopped {_named(target)}")


@click.command()
@name_argument
@all_option
@config_option
def restart(name: str | None, config: Path | None, *, everything: bool) -> None:
    """Restart a tunnel, or all of them.

    A quick tunnel gets a new URL: `prx url --wait 60` prints it once it is verified. A named tunnel loses no request: each new
    connector is connected before the old one ends.
    """
    with targets(config, name, everything=everything) as found:
        for target in found:
            target.running.client.ask("restart", tunnel=target.tunnel)
            print_note(f"restarting {_named(target)}")


@click.command()
@name_argument
@all_option
@config_option
def reload(name: str | None, config: Path | None, *, everything: bool) -> None:
    """Read the configuration again.

    What it does not change runs on. A configuration with problems changes nothing: they are shown, and the exit code is 2.
    """
    refused: PrxError | None = None
    with targets(config, name, everything=everything) as found:
        for target in found:
            try:
                answer = target.running.client.ask("reload", wait=_SLOW_SECRETS)
            except PrxError as error:  # the others are read all the same
                refused = refused or error
                continue
            print_note(f"reloaded {target.running.about['config'] or 'the environment'}")
            for line in answer.get("changes") or ["nothing has changed"]:
                print_note(f"  {line}")
    if refused is not None:
        raise refused


def _ends(running: Running) -> bool:
    """Return whether it ends in time; one that takes longer is asked what it waits for."""
    if running.client.wait_for_end(PATIENCE_SECONDS):
        return True
    with suppress(PrxError):
        for tunnel in running.client.ask("status")["tunnels"]:
            if tunnel["state"] == State.STOPPING:
                print_note(f"{tunnel['name']}: {tunnel['reason']} …")
    return running.client.wait_for_end(STOP_SECONDS - PATIENCE_SECONDS)


def _is_everything(target: Target) -> bool:
    return target.tunnel is None or len(target.running.about["tunnels"]) == 1


def _named(target: Target) -> str:
    names = [target.tunnel] if target.tunnel else [str(item["name"]) for item in target.running.about["tunnels"]]
    return ", ".join(names) or "prx"
