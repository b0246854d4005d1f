"""Which asset of a release this machine needs."""

from __future__ import annotations

import platform
from typing import Final

from prx.core.errors import PermanentError
from prx.install.pinned import KEPT, PINNED, RELEASES, Asset, Machine, Release

# uname's words for what cloudflared's asset names call so; a 32-bit program also runs where uname says armv8l.
_ARCHITECTURES: Final = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv8l": "arm",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "i586": "386",
    "i386": "386",
}

BY_HAND: Final = (
    f"install it by hand: your system's package manager, or {RELEASES.removesuffix('/download')}; "
    "then put it into PATH or set cloudflared_path"
)


def this_machine() -> Machine:
    """Return system and architecture as the asset names call them; an architecture without such a name as uname calls it."""
    architecture = platform.machine().lower()
    return platform.system().lower(), _ARCHITECTURES.get(architecture, architecture)


def choose_asset(release: Release, machine: Machine) -> Asset:
    """Return the asset for `machine`; raise PermanentError if no digest is known for one."""
    if machine not in release.assets:
        machines = (*release.assets, *KEPT.assets) if release is PINNED else release.assets
        known = ", ".join(" ".join(known) for known in machines)
        raise PermanentError(
            f"prx knows no verified cloudflared for {' '.join(machine)} (it knows {known})",
            hint=BY_HAND,
        )
    return release.assets[machine]
