"""The command line of the fake: which flags, on which side of `run`, since which version."""

from __future__ import annotations

_OLD = (0, 0, 0)  # every version that matters has it
_VALUES = (
    "config", "edge", "cacert", "quick-service", "region", "edge-ip-version", "ha-connections", "retries", "grace-period",
    "metrics", "loglevel", "pidfile", "protocol", "url", "http-host-header",
)  # fmt: skip
_SWITCHES = {"no-autoupdate": _OLD, "management-diagnostics": (2023, 7, 0), "no-prechecks": (2026, 5, 0)}
_BEFORE_RUN = {**dict.fromkeys(_VALUES, _OLD), **_SWITCHES, "output": (2025, 6, 1), "allowed-mail": (2026, 9, 3)}
_AFTER_RUN = {**dict.fromkeys(("token", "url", "protocol", "http-host-header"), _OLD), "token-file": (2025, 4, 0)}

_USAGE = "NAME:\n   cloudflared tunnel - Use Cloudflare Tunnel\n\nUSAGE:\n   cloudflared tunnel command [command options]"
_RUN_USAGE = "NAME:\n  cloudflared tunnel run - Proxy a local web server\n\nUSAGE:\n  cloudflared tunnel run [TUNNEL]"


class Flags:
    """The command line, understood. `error` is what cloudflared says of the first word that it does not understand."""

    def __init__(self, arguments: list[str], version: tuple[int, ...]) -> None:
        self.values: dict[str, str] = {}
        self.named = False
        self._version = version
        self.error = self._parse(list(arguments))

    def get(self, name: str, default: str = "") -> str:
        """Return the last value of a flag."""
        return self.values.get(name, default)

    @property
    def usage(self) -> str:
        """Return the text that goes to stdout after a mistake."""
        return f"{self.error}\n\n{_RUN_USAGE if self.named else _USAGE}"

    def _parse(self, words: list[str]) -> str:
        while words:
            word = words.pop(0)
            if word in ("tunnel", "run"):
                self.named = self.named or word == "run"
                continue
            name, equals, value = word.lstrip("-").partition("=")
            since = (_AFTER_RUN if self.named else _BEFORE_RUN).get(name)
            if since is None or self._version < since:
                return f"Incorrect Usage{':' if self.named else '.'} flag provided but not defined: -{name}"
            if not equals and name not in _SWITCHES:
                value = words.pop(0) if words else ""
            if name == "grace-period" and not (value[:1].isdigit() and value[-1:] in "smh"):
                return f'Incorrect Usage. invalid value "{value}" for flag -grace-period: parse error'
            self.values[name] = value
        return ""
