"""Write the usage text, from the list of flags."""

from __future__ import annotations

from prx.lab.connector.flags import FLAGS, Flag, Kind, Side

_TUNNEL = """\
NAME:
   cloudflared tunnel - Carry a tunnel with the connector that comes with prx.

USAGE:
   cloudflared tunnel [tunnel command options] --url URL
   cloudflared tunnel [tunnel command options] run [subcommand options]

COMMANDS:
   run      Run the tunnel that a token names
   help, h  Show this text
"""
_RUN = """\
NAME:
  cloudflared tunnel run - Run the tunnel that a token names.

USAGE:
  cloudflared tunnel [tunnel command options] run [subcommand options]
"""


def usage(*, after_run: bool = False) -> str:
    """Return the text for `tunnel`, or for `tunnel run`."""
    tunnel = "\n".join(_line(flag) for flag in FLAGS if flag.used and flag.side is not Side.RUN)
    if not after_run:
        return f"{_TUNNEL}\nOPTIONS:\n{tunnel}\n"
    run = "\n".join(_line(flag) for flag in FLAGS if flag.used and flag.side is not Side.TUNNEL)
    return f"{_RUN}\nTUNNEL COMMAND OPTIONS:\n{tunnel}\n\nSUBCOMMAND OPTIONS:\n{run}\n"


def usage_error(text: str, *, after_run: bool) -> str:
    """Return what is printed on stdout for a command line that cannot be read."""
    # cloudflared's two commands punctuate differently; observed with 2026.8.2.
    joint = ":" if after_run else "."
    return f"Incorrect Usage{joint} {text}\n\n{usage(after_run=after_run)}"


def _line(flag: Flag) -> str:
    words = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in (flag.name, *flag.aliases))
    value = "" if flag.kind is Kind.BOOL else " value"
    default = f" (default: {flag.default})" if flag.default else ""
    env = f" [{', '.join(f'${name}' for name in flag.env)}]" if flag.env else ""
    return f"   {words + value:<34} {flag.help}{default}{env}"
