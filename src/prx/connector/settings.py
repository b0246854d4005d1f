"""Turn flags into checked settings, and say what is wrong with them in cloudflared's words."""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from prx.connector.command_line import Invocation, Value, Values
from prx.connector.durations import format_duration
from prx.connector.flags import FLAGS, Kind
from prx.connector.go_errors import errno_text
from prx.connector.guests import GuestList
from prx.connector.ingress import (
    HelloService,
    IngressError,
    OriginOptions,
    Rule,
    UnixService,
    parse_options,
    parse_rules,
    parse_url_flag,
)
from prx.connector.log import Level, Log
from prx.connector.version import NOTICE
from prx.protocol.errors import TokenError
from prx.protocol.tokens import TunnelToken

MAX_GRACE: Final = 180.0  # seconds
_NO_ID: Final = (
    '"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument or in '
    "the configuration file."
)


class StartError(Exception):
    """End the process before or at the start; `code` is its exit code, the text is its last line on stderr."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class CredentialsError(StartError):
    """Report a token that is missing or cannot be used: exit code 255, and a pointer to the help."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text}\nSee 'cloudflared tunnel run --help'.", 255)


@dataclass(frozen=True, slots=True)
class Credentials:
    """Say which tunnel this is and prove it.

    quick_hostname: the public name of a quick tunnel. login: the login service of a protected one, without a trailing slash.
    """

    account_tag: str
    tunnel_id: uuid.UUID
    secret: bytes = field(repr=False)
    quick_hostname: str = ""
    login: str = ""


@dataclass(frozen=True, slots=True)
class Settings:
    """Hold what a running connector needs to know; times in seconds."""

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


def load_config_file(values: Values) -> dict[str, Any] | None:
    """Return the content of `--config`, None for a file that holds nothing; empty where the flag is not given.

    Files are JSON, which is also YAML; other YAML is refused. The places where cloudflared looks for a stray
    configuration on its own are not read. Raises StartError.
    """
    if "config" not in values:
        return {}
    path = values.text("config")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise StartError(f"open {path}: {errno_text(error)}") from None
    except UnicodeDecodeError:
        raise StartError(f"error parsing YAML in config file at {path}: yaml: not UTF-8") from None
    if not text.strip():
        return None
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise StartError(
            f"error parsing YAML in config file at {path}: the builtin connector reads a JSON object only, "
            'such as {} or {"ingress": […]}'
        )
    return config


def make_log(values: Values) -> Log:
    """Return the log that the flags describe; its first line says what this program is."""
    wanted = values.text("loglevel")
    level = next((each for each in Level if each.word == wanted), None)
    logfile = values.text("logfile")
    log = Log(
        level=Level.INFO if level is None else level,
        as_json=values.text("output") == "json",
        file=Path(logfile) if logfile else None,
    )
    log.info(NOTICE)
    if level is None:
        log.error(f'Failed to parse log level "{wanted}", using "info" instead')
    return log


def read_credentials(invocation: Invocation) -> Credentials:
    """Return what `--token` or `--token-file` holds; the token itself wins. Raises CredentialsError."""
    values = invocation.values
    if len(invocation.arguments) > 1:
        raise CredentialsError('"cloudflared tunnel run" accepts only one argument, the ID or name of the tunnel to run.')
    token = values.text("token")
    if not token and "token-file" in values:
        path = values.text("token-file")
        try:
            token = Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError as error:
            raise CredentialsError(f"Failed to read token file: open {path}: {errno_text(error)}") from None
    if not token:
        raise CredentialsError(_NO_ID)
    try:
        parts = TunnelToken.decode(token)
    except TokenError:
        raise CredentialsError("Provided Tunnel token is not valid.") from None
    return Credentials(parts.account_tag, parts.tunnel_id, parts.secret)


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
    """Return the flags that the edge is told, as text."""
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
