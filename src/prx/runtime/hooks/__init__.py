"""What is done when something changes: commands, HTTP requests, a dotenv file, messages.

`runner` decides for `on_url`, each time a new public URL has been verified; `notices` for `on_change`, when a verdict has
lasted. `command`, `web`, `envfile` and `apprise` are the kinds, which `chosen` knows.
"""

from __future__ import annotations

from prx.config.schema import TunnelSettings
from prx.runtime.hooks.notices import NoticeRunner
from prx.runtime.hooks.runner import HookRunner

__all__ = ["HookRunner", "NoticeRunner", "load"]


def load(settings: TunnelSettings) -> str:
    """Load what the hooks of these settings need, if they have any: later there may be no descriptor left to load it with.

    Return what to say of a library that one of them lacks; empty if none does.
    """
    if not (settings.on_url or settings.url_env_file or settings.on_change):
        return ""
    from prx.runtime.hooks.chosen import missing_library  # noqa: PLC0415 - see there

    return missing_library(settings)
