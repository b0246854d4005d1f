"""What must hold between keys: mistakes that no single value shows, and settings that have no effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields

from prx.config import places
from prx.config.forms import is_header_word, is_user_and_password, is_whsec
from prx.config.places import Finding
from prx.config.positions import KeyPath
from prx.config.schema import DEFAULT_TUNNEL, AccessSettings, ConfigFile, TunnelSettings, WebSettings
from prx.core.hosts import is_loopback
from prx.secrets.sources import is_reference
from prx.secrets.value import Secret

_NO_HEADER_WORD = "found characters that cannot be sent in a header (spaces, line ends, other than ASCII), expected one word"
SHORTEST_PASSWORD = 12  # characters, of the dashboard's


def mistakes(config: ConfigFile, *, tokens_follow: bool = False) -> Iterator[Finding]:
    """Yield what cannot work. `tokens_follow`: another source will supply the tokens, so none is missing."""
    yield from _access_mistakes(config.access)
    yield from _web_mistakes(config.web)
    for path, tunnel in tunnels(config).items():
        for finding in _tunnel_mistakes(path, tunnel):
            if not (tokens_follow and finding.key[-1] == "token"):
                yield finding
        if not tokens_follow:  # `prx setup` reads what it is to carry out
            yield from _wish_mistakes(path, tunnel)
    yield from _collisions(tunnels(config))
    yield from places.mistakes(config.web, tunnels(config))
    if config.tunnel is not None and DEFAULT_TUNNEL in config.tunnels:
        path = ("tunnels", DEFAULT_TUNNEL)
        yield Finding(path, (path,), f"[tunnel] already declares the tunnel named {DEFAULT_TUNNEL}; expected another name")


def warnings(config: ConfigFile) -> Iterator[Finding]:
    """Yield settings that are set and do nothing."""
    for path, tunnel in tunnels(config).items():
        yield from _without_effect(path, tunnel)
        if tunnel.backend != "cloudflare" or tunnel.cloudflare.mode != "quick":
            continue
        for name in ("token", "hostname"):
            if getattr(tunnel.cloudflare, name):
                key = (*path, "cloudflare", name)
                yield Finding(key, (key,), 'not used, as mode is "quick"; mode = "named" uses it')


def _without_effect(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    inspect, several = tunnel.inspect, tunnel.cloudflare.replica_protocols
    if tunnel.backend == "none":
        for name in ("enabled", "catch"):
            if getattr(inspect, name):
                key = (*path, "inspect", name)
                yield Finding(key, (key,), 'does nothing, as backend is "none": prx is not in the path')
    if not inspect.enabled:
        for item in fields(inspect.webhooks):
            if getattr(inspect.webhooks, item.name):
                key = (*path, "inspect", "webhooks", item.name)
                yield Finding(key, (key,), "not used, as nothing is inspected; inspect.enabled = true uses it")
    if len(several) > tunnel.cloudflare.replicas:
        key = (*path, "cloudflare", "replica_protocols")
        yield Finding(
            key, (key,), f"only the first {tunnel.cloudflare.replicas} of {len(several)} count, as many as there are replicas"
        )
    if tunnel.hook_secret and not any(text.lower().startswith(("http://", "https://")) for text in tunnel.on_change):
        key = (*path, "hook_secret")
        yield Finding(key, (key,), "signs nothing, as no URL stands in on_change")


def tunnels(config: ConfigFile) -> dict[KeyPath, TunnelSettings]:
    """Return every tunnel by the path of its table; if the file declares none, there is `[tunnel]` with the defaults."""
    declared: dict[KeyPath, TunnelSettings] = {("tunnels", name): tunnel for name, tunnel in config.tunnels.items()}
    if config.tunnel is not None or not declared:
        return {("tunnel",): config.tunnel or TunnelSettings(), **declared}
    return declared


def _access_mistakes(access: AccessSettings) -> Iterator[Finding]:
    if access.client_id and not is_header_word(access.client_id):
        yield Finding(("access", "client_id"), (("access", "client_id"),), _NO_HEADER_WORD)
    yield from _secret_mistakes(("access",), "client_secret", access.client_secret, is_header_word, _NO_HEADER_WORD)
    for one, other in (("team", "aud"), ("client_id", "client_secret")):
        for given, missing in ((one, other), (other, one)):
            if getattr(access, given) and not getattr(access, missing):
                keys = (("access", given), ("access", missing))
                yield Finding(keys[1], keys, f"found nothing, expected it beside {given}: the two belong together")


def _web_mistakes(web: WebSettings) -> Iterator[Finding]:
    listen, password = ("web", "listen"), ("web", "password")
    host = web.listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if web.listen and not is_loopback(host) and not web.password:
        yield Finding(password, (listen,), "found nothing, expected a password, as others reach the dashboard where it listens")
    secret = web.password.reveal()
    if secret and not is_reference(web.password) and len(secret) < SHORTEST_PASSWORD:
        yield Finding(password, (password,), f"found {len(secret)} characters, expected at least {SHORTEST_PASSWORD}")


def _secret_mistakes(path: KeyPath, name: str, secret: Secret, is_sound: Callable[[str], bool], text: str) -> Iterator[Finding]:
    """Yield a secret of a form that can never work; what it refers to is checked once it is known."""
    if secret and not is_reference(secret) and not is_sound(secret.reveal()):
        yield Finding((*path, name), ((*path, name),), text)


def _gate_mistakes(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    """Yield a gate that no visitor can pass, or that nothing stands behind: the tunnel would be closed, or open, to all."""
    gate, key = tunnel.gate, (*path, "gate")
    text = "found a text that no visitor can send, expected USER:PASSWORD, with a colon and without line ends"
    yield from _secret_mistakes(key, "basic_auth", gate.basic_auth, is_user_and_password, text)
    yield from _secret_mistakes(key, "bearer", gate.bearer, is_header_word, _NO_HEADER_WORD)
    if gate.is_wanted and tunnel.backend == "none":
        text = 'prx is not in the path of a URL that another program keeps up; expected no gate, or another backend than "none"'
        yield Finding(key, (key, (*path, "backend")), text)
    for name in ("svix", "webhooks"):
        text = "found a text that is not base64, expected the secret as its sender shows it: whsec_ and base64"
        yield from _secret_mistakes(
            (*path, "inspect", "webhooks"), name, getattr(tunnel.inspect.webhooks, name), is_whsec, text
        )


def _tunnel_mistakes(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    backend, url = (*path, "backend"), (*path, "public_url")
    yield from _guest_mistakes(path, tunnel)
    yield from _gate_mistakes(path, tunnel)
    yield from _replica_mistakes(path, tunnel)
    if tunnel.backend == "none":
        if not tunnel.public_url:
            text = 'found nothing, expected the URL to watch, as backend is "none" (PRX_TUNNEL_URL sets it too)'
            yield Finding(url, (backend, url), text)
        return
    if tunnel.public_url:
        text = f'set, but backend "{tunnel.backend}" finds its own URL; expected backend = "none", or no public_url'
        yield Finding(url, (url, backend), text)
    mode = (*path, "cloudflare", "mode")
    if tunnel.cloudflare.mode == "named":
        for name, what in (("token", "the tunnel token"), ("hostname", "the public host name")):
            if not getattr(tunnel.cloudflare, name):
                key = (*path, "cloudflare", name)
                yield Finding(key, (mode, key, backend), f'found nothing, expected {what}, as mode is "named"{_REMEDIES[name]}')


def _replica_mistakes(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    """Yield several connectors that cannot be: each quick tunnel has one, and two have no port in common."""
    settings = tunnel.cloudflare

    def finding(name: str, other: str, text: str) -> Finding:
        keys = tuple((*path, "cloudflare", item) for item in (name, other))
        return Finding(keys[0], keys, text)

    if settings.replicas > 1 and settings.mode == "quick":
        yield finding(
            "replicas", "mode", f'found {settings.replicas}, expected 1, as mode is "quick": its URL has one connector'
        )
    if settings.replicas > 1 and settings.metrics_port:
        text = f"found {settings.metrics_port}, expected 0, as there are {settings.replicas} replicas: each needs a port"
        yield finding("metrics_port", "replicas", text)
    if settings.replicas_min > settings.replicas:
        text = f"found {settings.replicas_min}, expected at most {settings.replicas}, the number of replicas"
        yield finding("replicas_min", "replicas", text)
    if settings.replica_protocols and settings.protocol != "auto":
        text = f'found "{settings.protocol}", expected "auto", or no replica_protocols: they say what each connector speaks'
        yield finding("protocol", "replica_protocols", text)


def _guest_mistakes(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    """Yield a guest list that would have no effect: the tunnel would be open to all, and its owner would not know."""
    rules = tunnel.cloudflare.allowed_mail
    key = (*path, "cloudflare", "allowed_mail")
    if len(rules) > _MOST_GUESTS:
        yield Finding(key, (key,), f"found {len(rules)} rules, expected at most {_MOST_GUESTS}")
    if not rules or (tunnel.backend == "cloudflare" and tunnel.cloudflare.mode == "quick"):
        return
    mode = (*path, "cloudflare", "mode") if tunnel.backend == "cloudflare" else (*path, "backend")
    text = 'protects quick tunnels only; expected mode = "quick", or no allowed_mail and Cloudflare Access in front of the name'
    yield Finding(key, (key, mode), text)


def _wish_mistakes(path: KeyPath, tunnel: TunnelSettings) -> Iterator[Finding]:
    """Yield a wish for protection that nothing carries out: the tunnel would be open to all, and its owner would not know."""
    wishes = tunnel.access
    named = tunnel.backend == "cloudflare" and tunnel.cloudflare.mode == "named"
    for name, given in (("allow", wishes.allow), ("service_tokens", wishes.service_tokens)):
        if given and not named:
            key, mode = (*path, "access", name), (*path, "cloudflare", "mode")
            text = (
                "protects named tunnels only; expected a tunnel that `prx setup HOSTNAME` has made, or cloudflare.allowed_mail"
            )
            yield Finding(key, (key, mode), text)
    if wishes.public_paths and not (wishes.allow or wishes.service_tokens):
        key = (*path, "access", "public_paths")
        yield Finding(key, (key,), "opens a part of what is protected, and nothing is; expected allow beside it")


_MOST_GUESTS = 100  # of cloudflared's --allowed-mail
_REMEDIES: Mapping[str, str] = {"token": " (CLOUDFLARE_TUNNEL_TOKEN sets it too, `prx setup` makes one)", "hostname": ""}


def _collisions(declared: Mapping[KeyPath, TunnelSettings]) -> Iterator[Finding]:
    """Yield tunnels that would fight over one port or file."""
    seen: dict[tuple[str, object], KeyPath] = {}
    for path, tunnel in declared.items():
        shared = {("cloudflare", "metrics_port"): tunnel.cloudflare.metrics_port, ("url_env_file",): tunnel.url_env_file}
        for name, value in shared.items():
            first = seen.setdefault((name[-1], value), path) if value else path
            if first != path:
                key = (*path, *name)
                yield Finding(
                    key, (key, (*first, *name)), f"{value} is already used by the tunnel {first[-1]}; expected another"
                )
