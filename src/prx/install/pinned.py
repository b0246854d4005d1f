"""The releases of cloudflared that `prx install cloudflared` installs, and the SHA-256 of each of their assets.

Sources, for the assets of github.com/cloudflare/cloudflared:

* 2026.10.0: five or more independent public projects pin the same values. They pin none for 32-bit Linux.
* 2026.7.2, kept for 32-bit Linux: the "SHA256 Checksums" on the release page, equal to what independent projects pin.

The text of a release page differs for the macOS archives (cloudflared#1648): never take a value for them from there. A
platform without a citable value is in no table, and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

RELEASES: Final = "https://github.com/cloudflare/cloudflared/releases/download"
"""Where releases are downloaded from: RELEASES/VERSION/NAME."""

Machine = tuple[str, str]
"""System and architecture, in the words of cloudflared's asset names: ("linux", "amd64")."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of a release: its name, and the SHA-256 of its content in lower-case hexadecimal."""

    name: str
    sha256: str

    @property
    def is_archive(self) -> bool:
        """Return whether the program must be taken out of it."""
        return self.name.endswith(".tgz")


@dataclass(frozen=True, slots=True)
class Release:
    """A version, and its asset for each machine."""

    version: str
    assets: Mapping[Machine, Asset]


def _assets(digests: Mapping[str, str]) -> Mapping[Machine, Asset]:
    """Return each asset by the machine that its name means: cloudflared-SYSTEM-ARCHITECTURE, with .tgz for an archive."""
    by_machine = {}
    for name, sha256 in digests.items():
        _, system, architecture = name.removesuffix(".tgz").split("-")
        by_machine[system, architecture] = Asset(name, sha256)
    return MappingProxyType(by_machine)


PINNED: Final = Release(
    "2026.10.0",
    _assets(
        {
            "cloudflared-linux-amd64": "d33ff2d14475178d2012c2c56beba87389ac5ded27649519f198a7d3134a99db",
            "cloudflared-linux-arm64": "e6422b9d4f72d3194bc5a38676f13667c06666523217b842a877d72a80b5ac08",
            "cloudflared-darwin-arm64.tgz": "a2f79ff7b9420aa537d74af239f376da170bbabeb529aec416002adac6a72e70",
            "cloudflared-darwin-amd64.tgz": "903845b81828c8cb3c5d13d816a2de71c06a3da5785469df8eb0e1b736d92f9f",
        }
    ),
)

KEPT: Final = Release(
    "2026.7.2",
    _assets(
        {
            "cloudflared-linux-arm": "80dc01d7e284f269395824de841f8c7396c6641871eacc46add53a394b4548f4",
            "cloudflared-linux-386": "cbad04f2700ae4d4971fe07e9ded67327142f2d3338aef86ae04e6042f7ce990",
        }
    ),
)
"""An older release, for machines whose asset of `PINNED` has no citable digest."""


def pinned_for(machine: Machine) -> Release:
    """Return the newest release with a known digest for `machine`; `PINNED`, which has none, if no release has one."""
    return next((release for release in (PINNED, KEPT) if machine in release.assets), PINNED)


SIZE: Final = "about 40 MB"
"""What an asset has, for people, roughly: 40.1 MB for Linux on amd64, 37.7 MB on arm64; an archive is smaller."""
