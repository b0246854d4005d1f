"""Find the running prx, or the one among several that the user means, and ask it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from prx.config.paths import runtime_dir
from prx.control.client import Client, NotRunningError, UnresponsiveError
from prx.control.instance import sockets
from prx.core.errors import PrxError, UsageError, unknown_tunnel

all_option = click.option("--all", "everything", is_flag=True, help="Every prx that runs.")
config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Ask only the prx that runs this configuration file.",
)


def complete_names(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the running tunnels that begin with what was typed; a prx that cannot be asked has none."""
    with suppress(PrxError, OSError), all_running(None) as found:
        names = {str(item["name"]) for running in found for item in running.about["tunnels"]}
        return sorted(name for name in names if name.startswith(incomplete))
    return []


@dataclass(frozen=True, slots=True)
class Running:
    """One prx that answers: the connection to it, and what it said of itself."""

    client: Client
    about: dict[str, Any]

    def describe(self) -> str:
        """Return one line that distinguishes it from the others."""
        tunnels = ", ".join(f"{item['name']} ({item['local_addr']})" for item in self.about["tunnels"])
        return f"{tunnels}: pid {self.about['pid']}, {self.about['config'] or 'no configuration file'}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a command acts on: one running prx, and one of its tunnels or (None) all of them."""

    running: Running
    tunnel: str | None


@contextmanager
def all_running(config: Path | None, *, strict: bool = False) -> Iterator[list[Running]]:
    """Yield every running prx of this user, or the one with the configuration file `config`; raise NotRunningError for none.

    One that does not answer is left out as long as others do; with `strict` it always raises UnresponsiveError.
    """
    silent: list[UnresponsiveError] = []
    with ExitStack() as stack:
        found = [running for path in _sockets() if (running := _connect(path, stack, silent)) is not None]
        if config is not None:
            wanted = str(config.resolve())
            found = [running for running in found if running.about["config"] == wanted]
        if silent and (strict or not found):
            raise silent[0]
        if not found:
            what = f"prx is not running with {config}" if config else "prx is not running"
            raise NotRunningError(what, hint="start it with: prx start")
        yield found


@contextmanager
def targets(config: Path | None, name: str | None, *, everything: bool) -> Iterator[list[Target]]:
    """Yield what `select` does, or with `everything` every prx that answers; then raise UnresponsiveError if one does not."""
    if not everything:
        with select(config, name) as target:
            yield [target]
        return
    if name is not None:
        raise UsageError(f"{name!r} and --all exclude each other", hint="without a name: --all")
    with all_running(config) as found:
        yield [Target(running, None) for running in found]
    with suppress(NotRunningError), all_running(config, strict=True):
        pass


@contextmanager
def select(config: Path | None, name: str | None) -> Iterator[Target]:
    """Yield what the user means with `name` (a tunnel or its local address); raise UsageError if that is not clear."""
    with all_running(config) as found:
        yield choose(found, name, config)


def choose(found: list[Running], name: str | None, config: Path | None) -> Target:
    """Return the one of the running prx (with the file `config`) that `name` means; UsageError if that is not clear.

    UnresponsiveError if none has that name and one does not answer, which may have it.
    """
    try:
        return _chosen(found, name)
    except UsageError:
        if name is not None:
            with all_running(config, strict=True):
                raise
        raise


def _chosen(found: list[Running], name: str | None) -> Target:
    """Return the one running prx, or the one with a tunnel called `name`, or one that serves the address `name`."""
    if name is None:
        targets = [Target(running, None) for running in found]
    else:
        targets = list(_matching(found, lambda item: item["name"] == name)) or list(
            _matching(found, lambda item: name in {item["local_addr"], item["local_addr"].rpartition(":")[2]})
        )
    if len(targets) == 1:
        return targets[0]
    listing = "".join(f"\n  {running.describe()}" for running in found)
    if name is not None and not targets:
        raise unknown_tunnel(name, [listing])
    raise UsageError(
        f"{len(targets)} tunnels are called {name!r}:{listing}" if name else f"{len(found)} prx are running:{listing}",
        hint="name the tunnel or its local address, or give its configuration with -c FILE; "
        "stop, restart and reload take --all",
    )


def _sockets() -> list[Path]:
    folder = runtime_dir()
    try:
        return sockets(folder)
    except OSError as error:  # what cannot be read may hold one that runs
        words = (error.strerror or str(error)).lower()
        raise UnresponsiveError(
            f"whether prx is running is not known: cannot read {folder}: {words}",
            hint="ask as the user who runs it, or set PRX_DATA_DIR",
        ) from error


def _matching(found: list[Running], matches: Callable[[dict[str, Any]], bool]) -> Iterable[Target]:
    for running in found:
        for item in running.about["tunnels"]:
            if matches(item):
                yield Target(running, item["name"])


def _connect(path: Path, stack: ExitStack, silent: list[UnresponsiveError]) -> Running | None:
    try:
        client = stack.enter_context(Client(path))
        return Running(client, client.ask("ping"))
    except NotRunningError:  # a killed prx left its socket behind
        return None
    except UnresponsiveError as error:
        silent.append(error)
        return None
