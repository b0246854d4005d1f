"""Which cloudflared this is, and what it therefore understands.

cloudflared refuses a flag that it does not know (usage text, exit code 0), so flags are chosen by version. The minimum
versions come from the release notes and change log that cloudflared ships with. A version that cannot be read gets only what
every supported version knows.
"""

from __future__ import annotations

import enum
import re
from typing import Final, NamedTuple

from prx.core.errors import PermanentError
from prx.logs.text import printable

_VERSION: Final = re.compile(r"(?<![\d.])(\d{4})\.(\d{1,2})\.(\d{1,3})(?![\d.])")


class Version(NamedTuple):
    """A cloudflared release: year, month, patch."""

    year: int
    month: int
    patch: int

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """Find the version in what `cloudflared version` prints, or in a bare `2026.8.2`; None when there is none."""
        match = _VERSION.search(text)
        return cls(int(match[1]), int(match[2]), int(match[3])) if match else None

    def __str__(self) -> str:
        return f"{self.year}.{self.month}.{self.patch}"


class Feature(enum.Enum):
    """What only newer versions understand; the value is the version that introduced it."""

    MANAGEMENT_DIAGNOSTICS = Version(2023, 7, 0)  # --management-diagnostics; on by default since 2024.2.1
    TOKEN_FILE = Version(2025, 4, 0)  # run --token-file
    JSON_OUTPUT = Version(2025, 6, 1)  # --output json
    NO_PRECHECKS = Version(2026, 5, 0)  # --no-prechecks
    ALLOWED_MAIL = Version(2026, 9, 3)  # --allowed-mail, which protects a quick tunnel


NAME: Final = "cloudflared"  # every cloudflared begins so, and every stand-in: "cloudflared version 2026.8.2 (built …)"
_QUOTED: Final = 60  # characters
OLDEST: Final = Version(2022, 6, 0)
"""The oldest version that can be run: it introduced `--edge-ip-version`, which every start passes."""


def understands(version: Version | None, feature: Feature) -> bool:
    """Return whether this version knows `feature`; a version that is not known knows nothing new."""
    return version is not None and version >= feature.value


def require_supported(text: str) -> Version | None:
    """Read the version in `text`, a program's answer to `--version`. None: it cannot be read.

    PermanentError when it is older than prx can run, and when another program answers.
    """
    version = Version.parse(text)
    if text and NAME not in text.lower() and text != str(version):
        raise PermanentError(
            f"this is no cloudflared: asked for its version, it says {printable(text)[:_QUOTED]!r}",
            hint="set cloudflared_path to a cloudflared, or install one with `prx install cloudflared`",
        )
    if version is not None and version < OLDEST:
        raise PermanentError(
            f"cloudflared {version} is too old: {OLDEST} or later is needed (for --edge-ip-version)",
            hint="install a current cloudflared, or set cloudflared_path to one",
        )
    return version
