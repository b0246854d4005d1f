"""What is done each time a new public URL has been verified: commands, HTTP requests, a dotenv file.

`runner` decides when and how often, and reports; `command`, `web` and `envfile` are the three kinds.
"""

from __future__ import annotations

from prx.runtime.hooks.runner import HookRunner

__all__ = ["HookRunner"]
