"""The release of cloudflared that `prx install cloudflared` brings, and the SHA-256 of each of its assets.

Sources, for release 2026.7.2 of github.com/cloudflare/cloudflared:

* Linux: the "SHA256 Checksums" on the release page, equal to what independent public projects pin for the same assets.
* macOS: the digest that the asset API gives for the archives, equal to what independent public projects pin. The text of the
  release page differs for the archives (cloudflared#1648): never take a value for them from there.

A platform without a citable value is not in the table, and is refused.
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
        """Whether the program must be taken out of it."""
        return self.name.endswith(".tgz")


@dataclass(frozen=True, slots=True)
class Release:
    """A version, and its asset for each machine."""

    version: str
    assets: Mapping[Machine, Asset]


def _assets(digests: Mapping[str, str]) -> Mapping[Machine, Asset]:
    """Give each asset the machine that its name tells: cloudflared-SYSTEM-ARCHITECTURE, with .tgz for an archive."""
    by_machine = {}
    for name, sha256 in digests.items():
        _, system, architecture = name.removesuffix(".tgz").split("-")
        by_machine[system, architecture] = Asset(name, sha256)
    return MappingProxyType(by_machine)


PINNED: Final = Release(
    "2026.7.2",
    _assets(
        {
            "cloudflared-linux-amd64": "ec905ea7b7e327ff8abdde8cb64697a2152de74dbcdbf6aec9db8364eb3886cd",
            "cloudflared-linux-arm64": "405df476437e027fc6d18729a5a77155c0a33a6082aeee60a799a688f3052e66",
            "cloudflared-linux-arm": "80dc01d7e284f269395824de841f8c7396c6641871eacc46add53a394b4548f4",
            "cloudflared-linux-386": "cbad04f2700ae4d4971fe07e9ded67327142f2d3338aef86ae04e6042f7ce990",
            "cloudflared-darwin-arm64.tgz": "2086e51c61d6565781d84117a5007d0c826d03ffdc74acb91c08c167f9f8cd7c",
            "cloudflared-darwin-amd64.tgz": "4ee0d3b48a990a2f9b5faec5838f73ec1f400aa8e0a4864be576adfafec406cb",
        }
    ),
)

SIZE: Final = "about 40 MB"
"""What an asset has, for people, roughly: 40.0 MB were measured of a build of 2026.8.2 for Linux; an archive is smaller."""
