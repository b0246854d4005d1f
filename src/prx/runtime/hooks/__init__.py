"""What is done when something changes: commands, HTTP requests, a dotenv file, messages.

`runner` decides for `on_url`, each time a new public URL has been verified; `notices` for `on_change`, when a verdict has
lasted. `command`, `web`, `envfile` and `apprise` are the kinds.
"""

from __future__ import annotations

from prx.runtime.hooks.notices import NoticeRunner
from prx.runtime.hooks.runner import HookRunner

__all__ = ["HookRunner", "NoticeRunner"]
