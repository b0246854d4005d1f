"""Every key of the configuration, declared once: name, type, default, allowed values, unit, variable, description.

The loader, `prx config show`, the messages about mistakes, the JSON Schema and the reference page all read these models. All
models are frozen, refuse unknown keys, and convert nothing (`"30"` is not a number). Durations are seconds, as float.

A ValueError raised here holds what is *expected*; the reporter (`prx.config.problems`) adds the place and what was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.config import JsonDict

from prx.config import checks, hostname
from prx.config.local_addr import LocalAddr
from prx.core.expect import StatusSet
from prx.secrets.value import Secret

DEFAULT_TUNNEL: Final = "default"
"""The name of the tunnel that `[tunnel]` declares."""


def _secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise ValueError("a string")  # noqa: TRY004  # pydantic reports ValueError as a mistake in the value, TypeError not
    try:
        return Secret(value)
    except ValueError:
        raise ValueError("UTF-8 text") from None


def _key(
    default: Any,
    description: str,
    *,
    unit: str = "",
    env: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
) -> Any:
    """Declare a key. `env` is the variable that overrides it; `unit` and the range go into messages and the reference."""
    return Field(default, description=description, ge=minimum, le=maximum, json_schema_extra=_extra(unit=unit, env=env))


def _secret_key(description: str, *, env: str) -> Any:
    """Declare a key that holds a secret or a reference to one; its default is an empty secret."""
    return Field(
        default_factory=lambda: Secret(""), description=description, json_schema_extra={"default": "", **_extra(env=env)}
    )


def _list_key(description: str) -> Any:
    """Declare a key that holds a list, by default an empty one."""
    return Field((), description=description, strict=False)  # TOML has lists, and a frozen model holds tuples


def _extra(**facts: str) -> JsonDict:
    return {name: text for name, text in facts.items() if text}


SecretText = Annotated[
    Secret,
    PlainValidator(_secret),
    PlainSerializer(lambda _: "***", return_type=str),
    WithJsonSchema({"type": "string"}),
]
Seconds = Annotated[float, Field(allow_inf_nan=False)]
IpVersion = Annotated[
    Literal["auto", "4", "6"],
    BeforeValidator(lambda value: str(value) if type(value) is int else value),  # 4 without quotes is what everybody writes
]
LogLevel = Literal["debug", "info", "warn", "error"]

LocalAddrText = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value, json_schema_input_type=str | int),
    AfterValidator(checks.local_addr),
]
StatusText = Annotated[str, AfterValidator(checks.status_codes)]
PathText = Annotated[str, AfterValidator(checks.url_path)]
HostnameText = Annotated[str, AfterValidator(hostname.hostname)]
OriginNameText = Annotated[str, AfterValidator(checks.origin_name)]
TlsVerify = Annotated[
    Literal["auto", "true", "false"],
    BeforeValidator(
        lambda value: str(value).lower() if type(value) is bool else value,
        json_schema_input_type=Literal["auto", "true", "false"] | bool,
    ),
]
PublicUrlText = Annotated[str, AfterValidator(checks.public_url)]
HookText = Annotated[str, AfterValidator(checks.hook)]
DohText = Annotated[str, AfterValidator(checks.doh_url)]
HeaderText = Annotated[str, AfterValidator(checks.header_value)]
FileText = Annotated[str, AfterValidator(checks.file_path)]
ProgramText = Annotated[str, AfterValidator(checks.program_path)]
TeamText = Annotated[str, AfterValidator(checks.access_team)]
MailRuleText = Annotated[str, AfterValidator(checks.mail_rule)]
AudienceText = Annotated[str, AfterValidator(checks.access_audience)]
TunnelName = Annotated[str, AfterValidator(checks.tunnel_name)]


class Table(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_default=True, arbitrary_types_allowed=True)


class CloudflareSettings(Table):
    """How `cloudflared` is run for this tunnel."""

    mode: Literal["quick", "named"] = _key(
        "quick",
        "`quick`: a throw-away URL on trycloudflare.com, no account. `named`: your own tunnel; needs `token` and `hostname`.",
    )
    token: SecretText = _secret_key(
        "The tunnel token; required for `named`. Best kept out of the file: `secret:NAME`, `file:PATH`, `env:NAME`, "
        "`cmd:PROGRAM ARG …` or `credential:NAME`.",
        env="CLOUDFLARE_TUNNEL_TOKEN",
    )
    hostname: HostnameText = _key(
        "",
        "The public host name that the tunnel serves; required for `named`. One name, no wildcard; `bücher.example` works.",
    )
    allowed_mail: tuple[MailRuleText, ...] = _list_key(
        "Who may visit a quick tunnel, after a one-time PIN by mail: `you@example.com`, or `*@example.com` for everybody of "
        "that domain; empty: everybody. Machines cannot pass, webhooks neither. Needs cloudflared 2026.9.3 or later."
    )
    cloudflared_path: ProgramText = _key(
        "cloudflared",
        "The program: a name in PATH, a path (`~` is the home folder), or `builtin` for the connector that comes with prx.",
    )
    protocol: Literal["auto", "quic", "http2"] = _key(
        "auto", "How to reach the edge. `auto` begins with QUIC and changes to HTTP/2 where UDP is blocked."
    )
    edge_ip_version: IpVersion = _key("auto", "The IP version towards the edge.")
    retries: int = _key(
        5,
        "How many times cloudflared may double its own wait between reconnects. It does not limit the attempts.",
        minimum=0,
        maximum=20,
    )
    grace_period_secs: Seconds = _key(
        30,
        "How long requests in flight may go on after a stop. cloudflared refuses more than three minutes.",
        unit="seconds",
        minimum=0,
        maximum=180,
    )
    metrics_port: int = _key(
        0, "The loopback port of cloudflared's own metrics; 0: prx picks a free one.", minimum=0, maximum=65535
    )
    log_level: LogLevel = _key(
        "info", "What cloudflared logs. With `debug` the headers of every visitor's request are in its log."
    )


class TunnelSettings(Table):
    """One local service, and how it is made public and watched."""

    backend: Literal["cloudflare", "none"] = _key(
        "cloudflare",
        "Who makes the service public. `none`: somebody else does; prx only watches `public_url`.",
        env="PRX_TUNNEL_BACKEND",
    )
    local_addr: LocalAddrText = _key(
        "127.0.0.1:8080",
        "The local service: PORT, HOST:PORT, [IPV6]:PORT or http(s)://HOST:PORT; `:8080` and `localhost` (port 80) too.",
        env="PRX_TUNNEL_LOCAL_ADDR",
    )
    origin_tls_verify: TlsVerify = _key(
        "auto",
        "Whether the certificate of an https service is checked. `auto`: yes, unless the service is on this machine and no "
        "`origin_ca` is given; a certificate proves nothing there.",
    )
    origin_ca: FileText = _key(
        "",
        "A PEM file of the certificate authority, or of the very certificate, that an https service is trusted for, beside "
        "those that the system trusts; a relative path starts at the folder of the configuration.",
    )
    origin_server_name: OriginNameText = _key(
        "", "The name that an https service is asked for and that its certificate must carry; empty: the host in `local_addr`."
    )
    health_check_interval_secs: Seconds = _key(
        30, "How often the public URL is asked while all is well.", unit="seconds", minimum=0.1, maximum=86400
    )
    max_failures: int = _key(
        3, "How many failed checks in a row lead to a restart, where a restart can help.", minimum=1, maximum=1000
    )
    health_check_path: PathText = _key("/", "The path that is asked.")
    health_check_timeout_secs: Seconds = _key(
        10,
        "How long one answer may take, on the public URL and on the local service; for a path that is slow.",
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    health_check_expect: StatusText = _key(
        "auto",
        "The HTTP status codes that count as healthy: `2xx`, `204`, `200-399`, or several separated by commas. `auto`: 2xx, or "
        "the very answer below 500 that the service gives on this machine.",
    )
    health_check_restart: Literal["cause", "any"] = _key(
        "cause", "`cause`: restart only where that can help. `any`: every answer that is not expected counts."
    )
    startup_timeout_secs: Seconds = _key(
        60,
        "How long a start may take before it is called a fault: until then the verdict is `starting`. A connector that has no "
        "connection by then although the edge answers prx is replaced.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    public_url: PublicUrlText = _key(
        "",
        'The URL that somebody else keeps up, for `backend = "none"`. PRX_TUNNEL_URL also chooses that backend.',
        env="PRX_TUNNEL_URL",
    )
    on_url: tuple[HookText, ...] = _list_key(
        "Commands to run and URLs to POST to, each time a new public URL has been verified."
    )
    url_env_file: FileText = _key("", "A dotenv file that is kept up to date with the verified URL; empty: none.")
    host_header: HeaderText = _key(
        "",
        "The Host header that the local service sees, for servers that refuse names they do not know; empty: the public name.",
    )
    require_access: bool = _key(False, "Refuse to stay up when strangers reach the service without Cloudflare Access.")
    doh: tuple[DohText, ...] = _list_key(
        "DNS-over-HTTPS resolvers to ask for the public name; empty: those of Cloudflare, Google and Quad9."
    )
    cloudflare: CloudflareSettings = CloudflareSettings()

    @cached_property
    def origin(self) -> LocalAddr:
        """The local service, understood: scheme, host, port, url."""
        return LocalAddr.parse(self.local_addr)

    @property
    def origin_host(self) -> str:
        """The host of the local service, an IPv6 address without brackets."""
        return self.origin.host

    @property
    def origin_port(self) -> int:
        """The port of the local service."""
        return self.origin.port

    @property
    def origin_url(self) -> str:
        """SCHEME://HOST:PORT of the local service, without a trailing slash."""
        return self.origin.url

    @property
    def origin_is_verified(self) -> bool:
        """Whether the certificate of an https service is checked: `origin_tls_verify`, understood."""
        if self.origin_tls_verify == "auto":
            return bool(self.origin_ca) or not self.origin.is_local
        return self.origin_tls_verify == "true"

    @property
    def expected_status(self) -> StatusSet:
        """`health_check_expect`, understood."""
        return StatusSet.parse(self.health_check_expect)


class AccessSettings(Table):
    """Cloudflare Access in front of the public name."""

    team: TeamText = _key("", "The team's name: TEAM in https://TEAM.cloudflareaccess.com.")
    aud: AudienceText = _key("", "The application audience (AUD) tag that a request's JWT must carry.")
    client_id: str = _key("", "The client ID of the service token that prx probes with.", env="CF_ACCESS_CLIENT_ID")
    client_secret: SecretText = _secret_key(
        "The client secret of that service token; written like `token`.", env="CF_ACCESS_CLIENT_SECRET"
    )


class _Shared(Table):
    log_level: LogLevel = _key("info", "What prx logs.", env="PRX_LOG")
    access: AccessSettings = AccessSettings()


class ConfigFile(_Shared):
    """The tables as they stand in a file."""

    tunnel: TunnelSettings | None = None
    tunnels: dict[TunnelName, TunnelSettings] = {}


class Config(_Shared):
    """The configuration as the rest of prx sees it: `[tunnel]` is the tunnel named "default"."""

    tunnels: Mapping[str, TunnelSettings] = {DEFAULT_TUNNEL: TunnelSettings()}
