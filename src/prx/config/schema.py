"""Every key of the configuration, declared once: name, type, default, allowed values, unit, variable, description.

The loader, `prx config show`, the messages about mistakes, the JSON Schema and the reference page all read these tables. All
tables are frozen, refuse unknown keys, and convert nothing (`"30"` is not a number). Durations are seconds, as float.

The checks (`prx.config.checks`) say what is *expected*; the reporter (`prx.config.messages`) adds the place and what was found.
"""
# The types of the fields are read when prx runs, so they must not become texts: no `from __future__ import annotations` here.

from collections.abc import Mapping
from functools import cached_property
from typing import Final, Literal

from prx.config import access_wishes, checks, hostname
from prx.config.checker import Table
from prx.config.declare import key, list_key, named_tables, secret_key
from prx.config.local_addr import LocalAddr
from prx.core.status_codes import StatusSet
from prx.core.value import value_class
from prx.secrets.value import Secret

DEFAULT_TUNNEL: Final = "default"
"""The name of the tunnel that `[tunnel]` declares."""

LogLevel = Literal["debug", "info", "warn", "error"]


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class CloudflareSettings(Table):
    """How `cloudflared` is run for this tunnel."""

    mode: Literal["quick", "named"] = key(
        "quick",
        "`quick`: a throw-away URL on trycloudflare.com, no account. `named`: your own tunnel; needs `token` and `hostname`.",
    )
    token: Secret = secret_key(
        "The tunnel token; required for `named`. Best kept out of the file: `secret:NAME`, `file:PATH`, `env:NAME`, "
        "`cmd:PROGRAM ARG …` or `credential:NAME`.",
        env="CLOUDFLARE_TUNNEL_TOKEN",
    )
    hostname: str = key(
        "",
        "The public host name that the tunnel serves; required for `named`. One name, no wildcard; `bücher.example` works.",
        check=hostname.hostname,
    )
    allowed_mail: tuple[str, ...] = list_key(
        "Who may visit a quick tunnel, after a one-time PIN by mail: `you@example.com`, or `*@example.com` for every address "
        "of that domain; empty: all visitors. Machines cannot pass, webhooks neither. Needs cloudflared 2026.9.3 or later.",
        checks.mail_rule,
    )
    cloudflared_path: str = key(
        "cloudflared",
        "The program: a name in PATH, a path (`~` is the home folder), or `builtin` for the connector that comes with prx.",
        check=checks.program_path,
    )
    protocol: Literal["auto", "quic", "http2"] = key(
        "auto", "How to reach the edge. `auto` begins with QUIC and changes to HTTP/2 if UDP is blocked."
    )
    replicas: int = key(
        1,
        "How many connectors a `named` tunnel has here. With two, the URL stays up while one ends, freezes or is replaced; "
        "Cloudflare takes 25 of one tunnel, those on other machines included.",
        minimum=1,
        maximum=25,
    )
    replicas_min: int = key(1, "With fewer connectors the tunnel is `degraded`; not above `replicas`.", minimum=1, maximum=25)
    replica_protocols: tuple[str, ...] = list_key(
        'The protocol of each connector, in turn: with `["quic", "http2"]` the first speaks QUIC and the second HTTP/2, so '
        "that a network that blocks one of them does not take the URL down; empty: `protocol` is for all.",
        checks.replica_protocol,
    )
    edge_ip_version: Literal["auto", "4", "6"] = key("auto", "The IP version towards the edge.", also=int, also_in_schema=False)
    retries: int = key(
        5,
        "How many times cloudflared may double its own wait between reconnects, of 10 s at most. It does not limit the "
        "attempts. Left at 5, it is never doubled, so that the tunnel is back soon after the edge.",
        minimum=0,
        maximum=20,
    )
    grace_period_secs: float = key(
        30,
        "How long requests in flight may go on after a stop. cloudflared refuses more than three minutes.",
        unit="seconds",
        minimum=0,
        maximum=180,
    )
    metrics_port: int = key(
        0, "The loopback port of cloudflared's own metrics; 0: prx picks a free one.", minimum=0, maximum=65535
    )
    log_level: LogLevel = key(
        "info", "What cloudflared logs. With `debug` the headers of every visitor's request are in its log."
    )


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class TunnelAccess(Table):
    """Who may visit the public name of a named tunnel: what `prx setup` makes Cloudflare Access do."""

    allow: tuple[str, ...] = list_key(
        "Who may log in: `you@example.com`, `@example.com` for every address of that domain, or `everyone` who proves an "
        "address; with neither this nor `service_tokens` strangers reach the service.",
        access_wishes.allow_rule,
    )
    public_paths: tuple[str, ...] = list_key(
        "Paths that stay open to all while the rest is protected, such as `/hooks/*`; `*` stands for a part of one segment.",
        access_wishes.public_path,
    )
    service_tokens: tuple[str, ...] = list_key(
        "Machines that may pass: the NAME of a service token, or `NAME=secret:ENTRY` to keep it in the secrets manager.",
        access_wishes.service_token,
    )

    @property
    def is_promised(self) -> bool:
        """Return whether strangers are to be stopped at the root of the name."""
        return bool(self.allow or self.service_tokens) and "/*" not in self.public_paths


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class WebhookSecrets(Table):
    """What webhook senders sign with; `prx requests` then shows whether a signature is valid. Written like `token`."""

    github: Secret = key(Secret(""), "GitHub's webhook secret.")
    stripe: Secret = key(Secret(""), "Stripe's signing secret of the endpoint (`whsec_…`).")
    slack: Secret = key(Secret(""), "Slack's signing secret of the app.")
    telegram: Secret = key(Secret(""), "The `secret_token` that `setWebhook` was given.")
    twilio: Secret = key(Secret(""), "Twilio's auth token.")
    shopify: Secret = key(Secret(""), "Shopify's client secret of the app.")
    svix: Secret = key(Secret(""), "Svix's secret of the endpoint (`whsec_…`).")
    webhooks: Secret = key(Secret(""), "The secret of a sender that keeps to Standard Webhooks (`whsec_…`).")


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class InspectSettings(Table):
    """Seeing what passes: prx carries the bytes between connector and service, and keeps a copy in memory."""

    enabled: bool = key(
        False, "Whether `prx requests` shows what passes and `prx retarget` works; off, prx is not in the path."
    )
    keep: int = key(500, "How many requests are kept; the oldest go first.", minimum=1, maximum=100_000)
    keep_mb: int = key(64, "How much is kept of all of them together.", unit="megabytes", minimum=4, maximum=10_000)
    port: int = key(
        0,
        "The loopback port that the connector is sent to; 0: a free one. A named tunnel whose routes are set in the dashboard "
        "needs a fixed one: its route must lead to `http://127.0.0.1:PORT`.",
        minimum=0,
        maximum=65535,
    )
    catch: bool = key(
        False,
        "Whether webhooks (all but GET, HEAD and OPTIONS) are kept on disk while the service is down, answered 202, and handed "
        "over in order when it is back.",
    )
    webhooks: WebhookSecrets = WebhookSecrets()


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class GateSettings(Table):
    """Who may visit; prx answers all others, before the service sees a byte. For people, `allowed_mail` is better."""

    basic_auth: Secret = key(Secret(""), "USER:PASSWORD that a visitor must know; written like `token`.")
    bearer: Secret = key(Secret(""), "A token that a visitor must carry (`Authorization: Bearer …`); written like `token`.")
    allow_ip: tuple[str, ...] = list_key(
        "Addresses or networks (`203.0.113.0/24`) that visitors may come from, as Cloudflare sees them; empty: all.",
        checks.network,
    )

    @property
    def is_wanted(self) -> bool:
        """Return whether there is anything to check."""
        return bool(self.basic_auth or self.bearer or self.allow_ip)


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class TunnelSettings(Table):
    """One local service, and how it is made public and watched."""

    backend: Literal["cloudflare", "none"] = key(
        "cloudflare",
        "Who makes the service public. `none`: another program does; prx only watches `public_url`.",
        env="PRX_TUNNEL_BACKEND",
    )
    local_addr: str = key(
        "127.0.0.1:8080",
        "The local service: PORT, HOST:PORT, [IPV6]:PORT or http(s)://HOST:PORT; `:8080` and `localhost` (port 80) too.",
        env="PRX_TUNNEL_LOCAL_ADDR",
        check=checks.local_addr,
        also=int,
    )
    origin_tls_verify: Literal["auto", "true", "false"] = key(
        "auto",
        "Whether the certificate of an https service is checked. `auto`: yes, unless the service is on this machine and no "
        "`origin_ca` is given; a certificate proves nothing there.",
        also=bool,
    )
    origin_ca: str = key(
        "",
        "A PEM file of the certificate authority, or of the very certificate, that an https service is trusted for, beside "
        "those that the system trusts; a relative path starts at the folder of the configuration.",
        check=checks.file_path,
    )
    origin_server_name: str = key(
        "",
        "The name that an https service is asked for and that its certificate must carry; empty: the host in `local_addr`.",
        check=checks.origin_name,
    )
    health_check_interval_secs: float = key(
        30, "How often the public URL is asked while all is well.", unit="seconds", minimum=0.1, maximum=86400
    )
    max_failures: int = key(
        3, "How many failed checks in a row lead to a restart, if a restart can help.", minimum=1, maximum=1000
    )
    health_check_path: str = key("/", "The path that is asked.", check=checks.url_path)
    health_check_timeout_secs: float = key(
        10,
        "How long one answer may take, on the public URL and on the local service; for a path that is slow.",
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    health_check_expect: str = key(
        "auto",
        "The HTTP status codes that count as healthy: `2xx`, `204`, `200-399`, or several separated by commas. `auto`: 2xx, or "
        "the very answer below 500 that the service returns on this machine.",
        check=checks.status_codes,
    )
    health_check_restart: Literal["cause", "any"] = key(
        "cause", "`cause`: restart only if that can help. `any`: every answer that is not expected counts."
    )
    startup_timeout_secs: float = key(
        60,
        "How long a start may take before it is called a fault: until then the verdict is `starting`. A connector that has no "
        "connection by then although the edge answers prx is replaced.",
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    public_url: str = key(
        "",
        'The URL that another program keeps up, for `backend = "none"`. PRX_TUNNEL_URL also chooses that backend.',
        env="PRX_TUNNEL_URL",
        check=checks.public_url,
    )
    on_url: tuple[str, ...] = list_key(
        "Commands to run and URLs to POST to, each time a new public URL has been verified.", checks.hook
    )
    on_change: tuple[str, ...] = list_key(
        "Who is notified when a verdict has lasted, when all is well again, and before a restart changes the URL: commands, "
        "URLs to POST to, and with the extra `notify` any address that apprise understands.",
        checks.notice_hook,
    )
    hook_secret: Secret = secret_key(
        "The key that POSTs of `on_change` are signed with (X-PRX-Signature, HMAC-SHA256); empty: not signed. Written like "
        "`token`.",
        env="PRX_HOOK_SECRET",
    )
    url_env_file: str = key(
        "", "A dotenv file that is kept up to date with the verified URL; empty: none.", check=checks.file_path
    )
    host_header: str = key(
        "",
        "The Host header that the local service sees, for servers that refuse names they do not know; empty: the public name.",
        check=checks.header_value,
    )
    require_access: bool = key(False, "Refuse to stay up when strangers reach the service without Cloudflare Access.")
    doh: tuple[str, ...] = list_key(
        "DNS-over-HTTPS resolvers to ask for the public name; empty: those of Cloudflare, Google and Quad9.", checks.doh_url
    )
    cloudflare: CloudflareSettings = CloudflareSettings()
    access: TunnelAccess = TunnelAccess()
    inspect: InspectSettings = InspectSettings()
    gate: GateSettings = GateSettings()

    @property
    def is_relayed(self) -> bool:
        """Return whether prx carries the bytes between connector and service."""
        return self.backend != "none" and (self.inspect.enabled or self.inspect.catch or self.gate.is_wanted)

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
        """Return whether the certificate of an https service is checked: `origin_tls_verify`, understood."""
        if self.origin_tls_verify == "auto":
            return bool(self.origin_ca) or not self.origin.is_local
        return self.origin_tls_verify == "true"

    @property
    def expected_status(self) -> StatusSet:
        """`health_check_expect`, understood."""
        return StatusSet.parse(self.health_check_expect)


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class AccessSettings(Table):
    """Cloudflare Access in front of the public name."""

    team: str = key("", "The team's name: TEAM in https://TEAM.cloudflareaccess.com.", check=checks.access_team)
    aud: str = key("", "The application audience (AUD) tag that a request's JWT must carry.", check=checks.access_audience)
    client_id: str = key("", "The client ID of the service token that prx probes with.", env="CF_ACCESS_CLIENT_ID")
    client_secret: Secret = secret_key(
        "The client secret of that service token; written like `token`.", env="CF_ACCESS_CLIENT_SECRET"
    )


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class HistorySettings(Table):
    """What `prx report` summarizes: changes, restarts and probes, on disk in the data folder; bounded by both keys."""

    keep_days: int = key(90, "How long it is kept; 0: nothing is written.", unit="days", minimum=0, maximum=3660)
    keep_mb: int = key(64, "How much is kept, of all prx of this user together.", unit="megabytes", minimum=1, maximum=100_000)


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class WebSettings(Table):
    """What prx answers over HTTP about itself: the dashboard, a process of its own, and the probes, answered by prx.

    The dashboard needs the extra `web`; `prx web` reads these keys, too.
    """

    listen: str = key(
        "",
        "Where the dashboard listens: HOST:PORT or PORT, such as 127.0.0.1:4141; empty: `prx start` starts none. Beyond this "
        "machine it needs `password`.",
        check=checks.listen_address,
    )
    password: Secret = secret_key(
        "The password of the dashboard, at least 12 characters; without it only a link from `prx web --url` opens it. Written "
        "like `token`.",
        env="PRX_WEB_PASSWORD",
    )
    hosts: tuple[str, ...] = list_key(
        "Names under which the dashboard is reached, beside localhost and IP addresses; other names are refused.",
        checks.web_host,
    )
    probes: str = key(
        "",
        "Where prx answers `/healthz`, `/readyz` and `/metrics`: HOST:PORT or PORT, such as 127.0.0.1:9464, also beyond this "
        "machine (0.0.0.0:9464): it shows no secret and does nothing. Empty: nowhere.",
        check=checks.listen_address,
    )


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class Shared(Table):
    """What is declared for all tunnels of one prx."""

    log_level: LogLevel = key("info", "What prx logs.", env="PRX_LOG")
    oauth_client_id: str = key(
        "",
        "The OAuth client that `prx login` signs in with: its client ID at Cloudflare (Manage Account › OAuth clients); empty: "
        "`prx login` is off.",
        env="PRX_OAUTH_CLIENT_ID",
        check=access_wishes.client_id,
    )
    access: AccessSettings = AccessSettings()
    history: HistorySettings = HistorySettings()
    web: WebSettings = WebSettings()


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class ConfigFile(Shared):
    """The tables as they stand in a file."""

    tunnel: TunnelSettings | None = None
    tunnels: dict[str, TunnelSettings] = named_tables({}, checks.tunnel_name)


@value_class(frozen=True, kw_only=True, eq=False, repr=False)
class Config(Shared):
    """The configuration as the rest of prx sees it: `[tunnel]` is the tunnel named "default"."""

    tunnels: Mapping[str, TunnelSettings] = named_tables({DEFAULT_TUNNEL: TunnelSettings()})
