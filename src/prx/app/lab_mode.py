"""How a run uses the lab: where its edge is, which connector carries the tunnels, and the message that reports it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prx.app.joined_lab import CERTS_PATH, JoinedLab
from prx.app.lab_client import LIMITS_VARIABLE, announced, announced_controls, ask
from prx.app.options import StartOptions
from prx.backends.base import EdgeSite
from prx.config.checks import BUILTIN
from prx.config.paths import data_dir
from prx.config.schema import CloudflareSettings, Config, TunnelSettings
from prx.control.instance import Instance
from prx.core.errors import PrxError, UsageError
from prx.install.programs import find_client
from prx.secrets.value import Secret
from prx.ui.errors import describe_os_error

if TYPE_CHECKING:
    from prx.lab import Lab

LAB_DOMAIN = ".localhost"
_USUAL = CloudflareSettings().cloudflared_path


def choose_for_lab(config: Config, mint: Callable[[str], str]) -> Config:
    """Return `config` as the lab needs it: its own tokens, and a connector that is there.

    Names end in `.localhost` there, so that a browser opens them. `mint(hostname)` makes the lab's token for a named tunnel; a
    real one is of no use there. The builtin connector takes the place of the usual `cloudflared` if that is not on PATH; a
    program that the configuration names in any other way stays: the user has chosen.
    """
    tunnels = {name: _for_lab(settings, mint) for name, settings in config.tunnels.items()}
    return config.changed(tunnels=tunnels)


def _for_lab(settings: TunnelSettings, mint: Callable[[str], str]) -> TunnelSettings:
    changes: dict[str, object] = {}
    # the real one guards names of trycloudflare.com only, and those of the lab are others
    protected = bool(settings.cloudflare.allowed_mail)
    if settings.cloudflare.cloudflared_path == _USUAL and (protected or find_client(_USUAL) is None):
        changes["cloudflared_path"] = BUILTIN
    if settings.cloudflare.mode == "named":
        hostname = settings.cloudflare.hostname
        changes["hostname"] = hostname = in_lab(hostname)
        changes["token"] = Secret(mint(hostname))
    return settings.changed(cloudflare=settings.cloudflare.changed(**changes))


def in_lab(hostname: str) -> str:
    """Return the name under which the lab serves `hostname`."""
    return hostname if hostname.endswith(LAB_DOMAIN) else hostname + LAB_DOMAIN


def renewed_tokens(lab: Lab | JoinedLab | None, config: Config) -> list[str]:
    """Return a line for each tunnel for which a joined lab has another token than at the last reload."""
    renewed = lab.take_renewed() if isinstance(lab, JoinedLab) else set()
    hosts = {name: settings.cloudflare.hostname for name, settings in config.tunnels.items()}
    return [f"{name}: cloudflare.token (the lab has another one)" for name, host in hosts.items() if in_lab(host) in renewed]


def explain(config: Config, written: Config, *, lab: bool) -> str:
    """Return one line on which connector runs and why; empty if there is nothing to choose.

    `written` is `config` as the user has it, with tokens that the lab's take the place of.
    """
    paths = {item.cloudflare.cloudflared_path for item in config.tunnels.values() if item.backend == "cloudflare"}
    where = "the local edge" if lab else "Cloudflare"
    said = [_explain_one(path, lab=lab) for path in sorted(paths)]
    named = [item.cloudflare for item in written.tunnels.values() if item.backend == "cloudflare"]
    # of a name of the lab the token may well be the lab's: `prx setup --lab` wrote it
    others = [item for item in named if item.mode == "named" and item.token and not item.hostname.endswith(LAB_DOMAIN)]
    ignored = "; your token is not used: the lab has its own" if lab and others else ""
    return f"connector to {where}: {'; '.join(said)}{ignored}" if said else ""


def _explain_one(path: str, *, lab: bool) -> str:
    if path == BUILTIN and lab:
        why = "" if find_client(_USUAL) else ", as there is no cloudflared on PATH"
        return f"builtin{why}"
    if path == BUILTIN:
        return "builtin, which is meant for the lab until it is proven on the public edge"
    found = find_client(path)
    return f"cloudflared at {found}" if found else path


def where_set_up(config: Config, folder: Path) -> str:
    """Return the control URL of a running lab in which a tunnel of `config` was set up (`prx setup --lab`); empty if none.

    Such a tunnel has its name, its rules and its guard there, and in no other lab.
    """
    names = {item.cloudflare.hostname for item in config.tunnels.values() if item.cloudflare.mode == "named"}
    if not any(name.endswith(LAB_DOMAIN) for name in names) or not (folder / "setups.json").exists():
        return ""
    from prx.cloudflare_api.journal import Journal

    apis = {memory.api for memory in Journal(folder).all() if memory.hostname in names}
    for control in announced_controls():
        try:
            if ask(control, "GET", "/state").get("api") in apis:
                return control
        except PrxError:  # it has ended in this moment
            continue
    return ""


async def join_or_start(
    stack: AsyncExitStack, config: Config, options: StartOptions, instance: Instance, environ: Mapping[str, str]
) -> tuple[Lab | JoinedLab, EdgeSite]:
    """Join the lab that was named, or run one in `stack` that other commands find (`prx lab fault …`); return it and its site.

    UsageError if the limits are not understood; PrxError if no lab answers, or if its folder cannot be used.
    """
    control = options.lab_control or await asyncio.to_thread(where_set_up, config, data_dir(environ))
    if control:
        joined = JoinedLab(control)
        site = await asyncio.to_thread(joined.site)
        await asyncio.to_thread(choose_for_lab, config, joined.token)
        return joined, site
    from prx.lab import Lab, LabConfig

    folder = instance.folder / f"{instance.key}.lab"
    try:
        lab_config = LabConfig(state_dir=folder, limits=environ.get(LIMITS_VARIABLE) or "free")
    except ValueError as error:
        raise UsageError(f"{LIMITS_VARIABLE}: {error}") from None
    try:
        lab = await stack.enter_async_context(Lab.start(lab_config))
    except OSError as error:
        raise describe_os_error(error, folder) from error
    stack.enter_context(announced(lab.control))
    return lab, site_of(lab)


def site_of(lab: Lab) -> EdgeSite:
    """Return the site that `lab` is."""
    public = urlsplit(lab.public)
    return EdgeSite(
        edge_addrs=tuple(lab.edge_addrs),
        ca_file=lab.ca_file,
        quick_service=lab.quick_service,
        public_scheme=public.scheme,
        public_port=public.port or 80,
        doh=(lab.doh,),
        quick_zone="localhost",
        protocols=lab.protocols,
        local=True,
        access_certs=f"{lab.control}{CERTS_PATH}",
        team_proxy=lab.team_proxy,
    )
