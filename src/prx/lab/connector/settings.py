"""Turn flags into checked settings, and report what is wrong with them in cloudflared's words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prx.core.durations import format_duration
from prx.lab.connector.command_line import Value, Values
from prx.lab.connector.errors import StartError
from prx.lab.connector.flags import FLAGS, Kind
from prx.lab.connector.go_errors import errno_text
from prx.lab.connector.log import Level, Log
from prx.lab.connector.origin.ingress import (
    HelloService,
    IngressError,
    OriginOptions,
    Rule,
    UnixService,
    parse_options,
    parse_rules,
    parse_url_flag,
)
from prx.lab.connector.protected.guests import GuestList
from prx.lab.connector.version import NOTICE

MAX_GRACE: Final = 180.0  # seconds


@dataclass(frozen=True, slots=True)
class Settings:
    """What a running connector needs to know; times in seconds."""

    edge: tuple[str, ...]
    cacert: str
    ha_connections: int
    retries: int
    grace_period: float
    rpc_timeout: float
    metrics: str
    pidfile: str
    tags: tuple[tuple[str, str], ...]
    reported: Mapping[str, str]


def make_log(values: Values) -> Log:
    """Return the log that the flags describe; its first line says what this program is. Raises StartError."""
    wanted = values.text("loglevel")
    level = next((each for each in Level if each.word == wanted), None)
    logfile, folder = values.text("logfile"), values.text("log-directory")
    try:
        log = Log(
            level=Level.INFO if level is None else level,
            as_json=values.text("output") == "json",
            file=Path(logfile) if logfile else None,
            folder=Path(folder) if folder else None,
        )
    except OSError as error:
        raise StartError(f"open {error.filename or logfile or folder}: {errno_text(error)}") from None
    log.info(NOTICE)
    if level is None:
        log.error(f'Failed to parse log level "{wanted}", using "info" instead')
    return log


def read_guests(values: Values, *, quick: bool) -> GuestList | None:
    """Return who may pass a protected quick tunnel; None for a tunnel that is not protected. Raises StartError."""
    if "allowed-mail" not in values:
        return None
    if not quick:
        raise StartError("--allowed-mail is only supported for Quick Tunnels")
    try:
        return GuestList.read(values.texts("allowed-mail"))
    except ValueError as error:
        raise StartError(f"validate Quick Tunnel recipient policy: validate allowed mail rules: {error}") from None


def read_settings(values: Values, *, quick: bool) -> Settings:
    """Return the checked settings; raise StartError for the first that cannot be used."""
    version = values.text("edge-ip-version")
    if version not in {"auto", "4", "6"}:
        raise StartError(f"invalid value for edge-ip-version: {version}")
    grace_period = values.number("grace-period")
    if grace_period > MAX_GRACE:
        raise StartError("grace-period must be equal or less than 3m0s")
    return Settings(
        edge=values.texts("edge"),
        cacert=values.text("cacert"),
        ha_connections=1 if quick else max(1, int(values.number("ha-connections"))),
        retries=max(0, int(values.number("retries"))),
        grace_period=max(0.0, grace_period),
        rpc_timeout=values.number("rpc-timeout"),
        metrics=values.text("metrics") if "metrics" in values else "",
        pidfile=values.text("pidfile"),
        tags=_tags(values.texts("tag")),
        reported=_reported(values),
    )


def read_rules(values: Values, config: Mapping[str, Any]) -> tuple[tuple[Rule, ...], OriginOptions]:
    """Return the rules of the start (empty: none) and the default options; the file's rules beat the flags.

    Raises StartError.
    """
    options = OriginOptions(
        host_header=values.text("http-host-header"),
        server_name=values.text("origin-server-name"),
        ca_pool=values.text("origin-ca-pool"),
        no_tls_verify=bool(values.get("no-tls-verify")),
        http2_origin=bool(values.get("http2-origin")),
    )
    try:
        if rules := parse_rules(config):
            return rules, parse_options(config.get("originRequest") or {}, OriginOptions())
        if values.get("hello-world"):
            return (Rule(HelloService(), options=options),), options
        if "url" in values:
            return (Rule(parse_url_flag(values.text("url")), options=options),), options
        if "unix-socket" in values:
            return (Rule(UnixService(values.text("unix-socket")), options=options),), options
    except IngressError as error:
        prefix = "" if config.get("ingress") else "Error validating origin URL: "
        raise StartError(f"{prefix}{error}") from None
    return (), options


def settings_line(values: Values) -> str:
    """Return the log's `Settings: map[…]`: what the command line gave, secrets masked."""
    shown: dict[str, str] = {}
    for flag in FLAGS:
        if flag.name in values.from_command_line:
            value = "*****" if flag.secret else show(values.get(flag.name), flag.kind)
            shown.update(dict.fromkeys((flag.name, *flag.aliases), value))
    return f"map[{' '.join(f'{name}:{shown[name]}' for name in sorted(shown))}]"


def environment_line(environment: Mapping[str, str] = os.environ) -> str:
    """Return the log's `map[…]` of the environment that flags read; empty when there is none. No secrets."""
    names = {name for flag in FLAGS if not flag.secret for name in flag.env if name.startswith("TUNNEL_")}
    found = sorted(name for name in names if environment.get(name))
    return f"map[{' '.join(f'{name}:{environment[name]}' for name in found)}]" if found else ""


def show(value: Value, kind: Kind) -> str:
    """Return a value the way Go prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{' '.join(value)}]"
    if kind is Kind.DURATION and isinstance(value, int | float):
        return format_duration(value)
    return str(value)


def _reported(values: Values) -> dict[str, str]:
    """Return the flags that are sent to the edge, as text."""
    given = (flag for flag in FLAGS if flag.reported and flag.name in values)
    return {flag.name: show(values.get(flag.name), flag.kind) for flag in given}


def _tags(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise StartError(f"Tag parse failure: expected KEY=VALUE, found {text!r}")
        pairs.append((name, value))
    return tuple(pairs)
