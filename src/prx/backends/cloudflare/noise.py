"""Lines that frighten people and mean nothing, each with the reason why it means nothing.

They are kept, at the level that the client gave them, and marked by their kind. They were observed while the tunnel was
well, with cloudflared 2026.8.2 and with older ones back to 2022.8.0.
"""

from __future__ import annotations

import re
from typing import Final

from prx.backends.base import LogLine

# Beginning of the message → why it is harmless.
HARMLESS_MESSAGES: Final = {
    "Failed to fetch features, default to disable": "an optional DNS record; without it the defaults hold",
    "Unable to lookup protocol": "an optional DNS record that spreads `auto`; prx always names the protocol",
    "Failed to initialize DNS local resolver": "the resolver of private networks, which prx does not use",
    "ICMP proxy": "pinging private networks, which prx does not use",
    "The user running cloudflared process has a GID": "pinging private networks, which prx does not use",
    "edge discovery: error looking up Cloudflare edge IPs": "when it matters the process ends with the same words",
    "Please try the following things to diagnose this issue": "part of the advice that follows a failed edge look-up",
    "Cannot determine default configuration path": "prx names the configuration file; there is none to be found",
    "Cannot determine default origin certificate path": "prx never asks for what needs the certificate of an account",
    "update check failed": "prx starts it without updates of its own; before 2024.4.1 it asked all the same",
    "Configuration file /dev/null was empty": "an empty configuration is what was asked for",
    "no more connections active and exiting": "logged as an error at each orderly stop",
    "Thank you for trying Cloudflare Tunnel": "terms of use, in one long line",
    "+-----": "the frame of a box",
    "http2: received GOAWAY": "the edge announces an orderly close; a loss is logged on its own",
}

# Part of the error → why it is harmless.
HARMLESS_ERRORS: Final = {
    "Error shutting down control stream": "the connection it belonged to is closed already",
    "canceled by remote with error code 0": "a visitor went away",
    "stream canceled by remote": "a visitor went away",
}

# How the error ends: one side went away, or a stop or a loss (which has a line of its own) cut something off.
_CANCELLED: Final = re.compile(r"(?:.*: )?context canceled", re.DOTALL)

_ADVICE: Final = re.compile(
    r"\s+(\d\. ensure that|Run your system's equivalent|See GitHub issue|For example, you could use|https://)"
)
_BLANK: Final = re.compile(r"[|+\s-]*")


def is_noise(line: LogLine) -> bool:
    """Return whether a line means nothing, whatever its wording."""
    if line.message.startswith(tuple(HARMLESS_MESSAGES)) or _ADVICE.match(line.message):
        return True
    if line.error:
        return _CANCELLED.fullmatch(line.error) is not None or any(part in line.error for part in HARMLESS_ERRORS)
    # without an error, "Connection terminated" is one step of an orderly stop
    return line.message == "Connection terminated" or (
        not line.fields.get("bare") and _BLANK.fullmatch(line.message) is not None
    )
