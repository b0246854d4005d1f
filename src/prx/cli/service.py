"""`prx service`: have systemd start prx and keep it running."""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from prx.core.errors import UsageError
from prx.ui.errors import print_note

if TYPE_CHECKING:
    from prx.config.schema import Config
    from prx.systemd.unit import Scope, Unit

_SYSTEM_CONFIG: Final = Path("/etc/prx/config.toml")
_SYSTEM_CREDENTIALS: Final = Path("/etc/credstore")  # systemd's own place for them (systemd.exec(5))
_SYSTEM_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"  # systemd.exec(5)
_NOT_RUNNING, _UNKNOWN = 3, 4


def _scope_option(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--user", "scope", flag_value="user", help="Your own service. Default, except for root.")(command)
    return click.option("--system", "scope", flag_value="system", help="A service of the machine. Default for root.")(command)


@click.group()
def service() -> None:
    """Have systemd start prx and keep it running."""


@service.command()
@_scope_option
@click.option("-c", "--config", type=click.Path(path_type=Path, dir_okay=False), help="The configuration file.")
@click.option("--print", "only_print", is_flag=True, help="Print the unit file to stdout and change nothing.")
def install(scope: str | None, config: Path | None, only_print: bool) -> None:
    """Write a hardened unit file for `prx start -c FILE`.

    Nothing is started: what to run next is said. The configuration is checked first; each `credential:NAME` in it becomes a
    LoadCredential= line.
    """
    from prx.systemd import place
    from prx.systemd.unit import render

    unit = _unit(_scope(scope), config)
    if only_print:
        click.echo(render(unit), nl=False)
        return
    place.require_systemd()
    path = place.unit_path(unit.scope, os.environ)
    changed = place.put(path, render(unit))
    print_note(f"wrote {path}" if changed else f"{path} is up to date")
    _print_check(path)
    _print_next(unit)


@service.command()
@_scope_option
def uninstall(scope: str | None) -> None:
    """Remove the unit file, once the service is stopped. Configuration and state stay."""
    from prx.systemd import place
    from prx.systemd.tools import ask_systemctl

    whose = _scope(scope)
    path = place.unit_path(whose, os.environ)
    if ask_systemctl(whose, "is-active", place.NAME) in {"active", "activating", "reloading"}:
        raise UsageError("the service is running", hint=f"systemctl --{whose} disable --now prx")
    if place.take_away(path):
        print_note(f"removed {path}")
        print_note(f"next: systemctl --{whose} daemon-reload")
    else:
        print_note(f"{path} is not there, so nothing was removed")


@service.command()
@_scope_option
def status(scope: str | None) -> int:
    """Return whether the unit file is there, and what systemd makes of it. Exit codes: 0 active · 3 not running · 4 unknown."""
    from prx.systemd import place
    from prx.systemd.tools import ask_systemctl

    whose = _scope(scope)
    path = place.unit_path(whose, os.environ)
    if place.read_ours(path) is None:
        click.echo(f"not installed: there is no {path}")
        return _NOT_RUNNING
    active = ask_systemctl(whose, "is-active", place.NAME)
    enabled = ask_systemctl(whose, "is-enabled", place.NAME)
    click.echo(f"{path}: {active or 'systemd does not answer'}{f', {enabled}' if enabled else ''}")
    said = ask_systemctl(whose, "show", "--property=StatusText", "--value", place.NAME)
    if said:
        click.echo(said)
    if not active:
        return _UNKNOWN
    return 0 if active in {"active", "reloading"} else _NOT_RUNNING


def _scope(given: str | None) -> Scope:
    from prx.systemd.unit import Scope

    return Scope(given or ("system" if os.geteuid() == 0 else "user"))


def _unit(scope: Scope, config: Path | None) -> Unit:
    """Describe the service, or say why it could not run."""
    from prx.config.load import load
    from prx.files.rule import Claim
    from prx.systemd.place import require_reachable
    from prx.systemd.tools import systemd_version
    from prx.systemd.unit import Scope, Unit

    file = _config_file(scope, config)
    loaded = load(file, os.environ, claim=Claim.FOUND if config is None else Claim.NAMED)
    program = _program()
    system = scope is Scope.SYSTEM
    if system:
        require_reachable(file, "the configuration")
        for part in {program[0], sys.executable}:
            require_reachable(Path(part), "prx itself:")
    credentials = _SYSTEM_CREDENTIALS if system else file.parent / "credstore"
    data = os.environ.get("PRX_DATA_DIR")
    return Unit(
        scope,
        program,
        file,
        credentials={name: credentials / name for name in _credentials(loaded.config)},
        environment={"PRX_DATA_DIR": str(Path(data).absolute())} if data and not system else {},
        systemd=systemd_version(),
    )


def _config_file(scope: Scope, given: Path | None) -> Path:
    from prx.config.paths import user_config_file

    if given is not None:
        return given.absolute()
    usual = _SYSTEM_CONFIG if scope == "system" else user_config_file().absolute()
    if not usual.exists():
        raise UsageError(f"there is no configuration at {usual}", hint="prx config init writes one; -c FILE names another")
    return usual


def _program() -> tuple[str, ...]:
    script = Path(sysconfig.get_path("scripts")) / "prx"
    return (str(script),) if script.is_file() else (sys.executable, "-m", "prx")


def _credentials(config: Config) -> list[str]:
    """Return the names of the systemd credentials that the configuration refers to."""
    from prx.secrets.sources import split_reference

    secrets = [tunnel.cloudflare.token for tunnel in config.tunnels.values()] + [config.access.client_secret]
    references = [split_reference(secret.reveal()) for secret in secrets]
    return sorted({name for prefix, name in references if prefix == "credential"})


def _print_check(path: Path) -> None:
    from prx.systemd.tools import complaints, exposure

    for line in complaints(path):
        print_note(f"systemd-analyze: {line}")
    if words := exposure(path):
        print_note(f"exposure as systemd-analyze sees it: {words}")


def _print_next(unit: Unit) -> None:
    from prx.systemd.unit import Scope

    for name, path in unit.credentials.items():
        if not path.exists():
            print_note(f"next: put the secret {name} into {path} (mode 0600)")
    if unit.scope is Scope.SYSTEM and shutil.which("cloudflared", path=_SYSTEM_PATH) is None:
        print_note(
            'next: the service finds no cloudflared: install -m 755 "$(prx install cloudflared)" /usr/local/bin/cloudflared'
        )
    print_note(f"next: systemctl --{unit.scope} daemon-reload && systemctl --{unit.scope} enable --now prx")
    if unit.scope is Scope.USER:
        print_note("      loginctl enable-linger keeps it running while you are not logged in")
