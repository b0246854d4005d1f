"""Which hooks a tunnel has. This loads all kinds of hook, so it is loaded for a tunnel that has any (`load`): few do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

# what `prx.runtime.hooks.runner` and `prx.runtime.hooks.notices` need as well
import prx.core.incidents
import prx.runtime.hooks.attempts
import prx.runtime.hooks.line
import prx.runtime.hooks.open_incidents  # noqa: F401 - see above
from prx.config.schema import TunnelSettings
from prx.core.errors import PrxError
from prx.files.people import expanded
from prx.files.rule import Claim
from prx.runtime.hooks.apprise import MISSING, AppriseHook, is_installed
from prx.runtime.hooks.command import CommandHook
from prx.runtime.hooks.envfile import EnvFileHook
from prx.runtime.hooks.kinds import Hook, MessageHook
from prx.runtime.hooks.web import WebHook

WEB_SECONDS: Final = 10.0


def hooks_of(settings: TunnelSettings, folder: Path, environ: Mapping[str, str]) -> list[Hook]:
    """Return the hooks that a tunnel has: the dotenv file first, because a command may read it."""
    return _env_files(settings, folder, environ) + [
        WebHook(text) if text.startswith(("http://", "https://")) else CommandHook(text, folder, environ)
        for text in settings.on_url
    ]


def _env_files(settings: TunnelSettings, folder: Path, environ: Mapping[str, str]) -> list[Hook]:
    if not settings.url_env_file:
        return []
    try:
        named = expanded(settings.url_env_file, environ)
    except PrxError:
        named = Path(settings.url_env_file)  # a home that is not known: a file with ~ in its name, as a shell has it
    return [EnvFileHook(folder / named, Claim.NAMED if named.is_absolute() else Claim.FOUND)]


def notice_hooks(settings: TunnelSettings, folder: Path, environ: Mapping[str, str]) -> list[MessageHook]:
    """Return the hooks of `on_change`: a URL, an address of apprise, or a command."""
    return [_hook(text, settings, folder, environ) for text in settings.on_change]


def _hook(text: str, settings: TunnelSettings, folder: Path, environ: Mapping[str, str]) -> MessageHook:
    if text.startswith(("http://", "https://")):
        return WebHook(text, WEB_SECONDS, settings.hook_secret.reveal())
    if "://" in text.split(maxsplit=1)[0]:
        return AppriseHook(text)
    return CommandHook(text, folder, environ)


def missing_library(settings: TunnelSettings) -> str:
    """Return what to say of a library that a hook of these settings lacks; empty if none does."""
    needed = any(isinstance(hook, AppriseHook) for hook in notice_hooks(settings, Path(), {}))
    return f"on_change: {MISSING}" if needed and not is_installed() else ""
