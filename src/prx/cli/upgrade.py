"""What the tunnels that run do with an upgraded cloudflared: `prx install cloudflared --upgrade` waits for it and reports it.

A running prx notices by itself that its program was replaced. For a named tunnel it changes over, each new connector connected
before the old one drains. A quick tunnel stays as it is, because its next connector has another URL: only `prx restart` asks
for that. So nothing here acts on a tunnel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from prx.cli.find_running import all_running
from prx.control.client import NotRunningError, UnresponsiveError
from prx.core.errors import NotReadyError
from prx.ui.errors import print_note

BEGINS_WITHIN: Final = 10.0  # seconds; a prx checks its program every 2 s
DONE_WITHIN: Final = 180.0  # seconds for all connectors of a tunnel, one after another
_EVERY: Final = 0.25  # seconds


@dataclass(frozen=True, slots=True)
class User:
    """A tunnel whose connectors run the installed program: the pid of its prx, its name and mode, and the connectors' pids."""

    prx: int
    name: str
    mode: str
    pids: frozenset[int]


def users_of(link: Path) -> list[User]:
    """Return the tunnels of this user that run the program at `link`; one whose processes cannot be examined is left out."""
    found = []
    for prx, tunnel in _tunnels():
        pids = frozenset(item["pid"] for item in tunnel["connectors"] if runs(item["pid"], link))
        if pids:
            found.append(User(prx, tunnel["name"], tunnel["mode"], pids))
    return found


def outdated(users: list[User], link: Path) -> list[User]:
    """Return those with a connector that runs another file than the one that `link` leads to."""
    current = link.resolve()
    return [user for user in users if any(_file(pid, current.parent) not in {current, None} for pid in user.pids)]


def follow(users: list[User], version: str) -> None:
    """Wait until each tunnel that can has changed over to `version`, and report each; NotReadyError if one has started only."""
    late = [user.name for user in users if not _followed(user, version)]
    if late:
        raise NotReadyError(
            f"{', '.join(late)}: the new connector is not connected after {DONE_WITHIN:.0f} s; the old one serves on",
            hint="prx why says what is wrong; prx install cloudflared --rollback goes back",
        )


def _followed(user: User, version: str) -> bool:
    if user.mode == "quick":
        print_note(f"{user.name}: the old cloudflared runs on; prx restart {user.name} takes {version}, and changes the URL")
        return True
    connected, started, end = False, False, time.monotonic() + BEGINS_WITHIN
    while time.monotonic() < end:
        connectors = _connectors(user)
        if connectors is None:
            print_note(f"{user.name}: not running any more")
            return True
        fresh = [item for item in connectors if item["pid"] not in user.pids]
        connected = sum(bool(item["connections"]) for item in fresh) >= len(user.pids)
        if connected and len(fresh) == len(connectors):
            break
        if fresh and not started:
            started, end = True, time.monotonic() + DONE_WITHIN
        time.sleep(_EVERY)
    if connected:
        print_note(f"{user.name}: runs cloudflared {version} now; each new connector was connected before the old one drained")
    elif not started:
        print_note(f"{user.name}: the old cloudflared runs on; prx restart {user.name} takes {version}, with a gap")
    return connected or not started


def _connectors(user: User) -> list[Any] | None:
    """Return the connectors of a tunnel now, None if it is gone."""
    return next(
        (tunnel["connectors"] for prx, tunnel in _tunnels() if (prx, tunnel["name"]) == (user.prx, user.name)),
        None,
    )


def _tunnels() -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield every tunnel of every prx that answers, with the pid of that prx."""
    try:
        with all_running(None) as found:
            for running in found:
                for tunnel in running.client.ask("status")["tunnels"]:
                    yield running.about["pid"], tunnel
    except (NotRunningError, UnresponsiveError):
        return


def runs(pid: int, link: Path) -> bool:
    """Return whether a process was started from `link`, as a program or as a script."""
    import psutil

    try:
        words = [Path(word) for word in psutil.Process(pid).cmdline()[:2]]
        return any(word.name == link.name and word.parent.resolve() == link.parent.resolve() for word in words)
    except (psutil.Error, OSError, RuntimeError):  # RuntimeError: a loop of links
        return False


def _file(pid: int, folder: Path) -> Path | None:
    """Return the file in `folder` that a process runs, None if that is unknown, or the interpreter of a script."""
    import psutil

    try:
        program = Path(psutil.Process(pid).exe())
    except (psutil.Error, OSError):
        return None
    return program if program.parent == folder else None
