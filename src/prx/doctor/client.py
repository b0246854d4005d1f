"""Checks of the client program and of its token."""

from __future__ import annotations

import os
from pathlib import Path

from prx.backends import create
from prx.backends.cloudflare import CloudflareBackend
from prx.backends.cloudflare.version import Version, require_supported
from prx.config.checks import BUILTIN
from prx.config.schema import TunnelSettings
from prx.core.errors import PermanentError
from prx.doctor.finding import Finding, Mark
from prx.files import FileRefusedError
from prx.install.programs import HINT, find_client
from prx.runtime.process.spawn import SpawnError
from prx.runtime.process.version import ask_version
from prx.secrets.sources import describe, is_reference

_INSTALL = f"{HINT}, set cloudflared_path, or try it without: prx start --hello --lab"


async def check_program(tunnel: str, settings: TunnelSettings, *, or_builtin: bool = False) -> list[Finding]:
    """Look for the program of a tunnel, and ask it for its version; `or_builtin`: the builtin connector takes its place."""
    name = settings.cloudflare.cloudflared_path
    if settings.backend != "cloudflare":
        return [Finding("program", Mark.SKIP, f'backend = "{settings.backend}" runs no program', tunnel=tunnel)]
    if name == BUILTIN:
        return [Finding("program", Mark.OK, "the builtin connector, which comes with prx", tunnel=tunnel)]
    found = find_client(name)
    if found is None and or_builtin and os.sep not in name:
        return [Finding("program", Mark.OK, f"the builtin connector, as {_absence(name)}", tunnel=tunnel)]
    if found is None:
        return [Finding("program", Mark.FAIL, _absence(name), _INSTALL, tunnel)]
    try:
        said = await ask_version((found,))
        version = require_supported(said)
    except FileRefusedError as error:
        return [Finding("program", Mark.FAIL, f"not run: {error.message}", error.hint, tunnel)]
    except PermanentError as error:
        return [Finding("program", Mark.FAIL, f"{found}: {error.message}", error.hint, tunnel)]
    except SpawnError as error:  # that the machine refuses it for now says nothing about the program
        mark = Mark.SKIP if error.for_now else Mark.FAIL
        return [Finding("program", mark, f"{found}: {error.message}", error.hint, tunnel)]
    return [_version_finding(found, version, said, tunnel)]


def _version_finding(found: str, version: Version | None, said: str, tunnel: str) -> Finding:
    if version is None:
        words = f"{found} does not say which version it is (it says {said[:80]!r})" if said else f"{found} says no version"
        return Finding("program", Mark.WARN, words, "prx then uses only what every version understands", tunnel)
    return Finding("program", Mark.OK, f"cloudflared {version} at {found}", tunnel=tunnel)


def _absence(name: str) -> str:
    path = Path(name)
    if os.sep not in name:
        folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
        return f"'{name}' is not in PATH (looked in {len(folders)} folders)"
    return f"{name} is not executable" if path.is_file() else f"{name} is not a file"


async def check_token(tunnel: str, settings: TunnelSettings) -> list[Finding]:
    """Read the token, without showing it, and see that the other settings of the backend can work."""
    if settings.cloudflare.mode == "named" and is_reference(settings.cloudflare.token):
        words = f"not checked: {describe(settings.cloudflare.token.reveal())} was not run"
        return [Finding("token", Mark.SKIP, words, "--run-commands runs it", tunnel)]
    backend = create(settings)
    try:
        backend.check()
    except PermanentError as error:
        return [Finding("token", Mark.FAIL, error.message, error.hint, tunnel)]
    if not isinstance(backend, CloudflareBackend) or backend.mode != "named":
        return [Finding("token", Mark.SKIP, "this tunnel needs no token", tunnel=tunnel)]
    return [Finding("token", Mark.OK, f"the token is sound, for tunnel {backend.tunnel_id}", tunnel=tunnel)]
