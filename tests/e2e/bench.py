"""Where an end-to-end test runs prx: a folder, an environment, a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bench:
    """A folder with a `prx.toml` for one connector and mode, and an environment to run prx in."""

    folder: Path
    environ: dict[str, str]
    connector: str
    mode: str

    def configure(self, tunnel: str = "", cloudflare: str = "") -> None:
        """Write `prx.toml`; the arguments are further lines of its two tables."""
        hostname = 'hostname = "app.localhost"' if self.mode == "named" else ""
        text = f"""
[tunnel]
health_check_interval_secs = 2
{tunnel}

[tunnel.cloudflare]
cloudflared_path = "{self.connector}"
mode = "{self.mode}"
{hostname}
{cloudflare}
"""
        path = self.folder / "prx.toml"
        path.write_text(text)
        path.chmod(0o600)
