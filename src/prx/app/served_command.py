"""The command behind `--` in `prx start 8080 -- npm run dev`: the user's own service, started first and stopped last."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from prx.app.load_config import environment_for_service
from prx.app.local_service import LocalService, ServiceError
from prx.app.outcome import Outcome
from prx.config.load import Loaded
from prx.config.schema import TunnelSettings
from prx.core.errors import UsageError
from prx.core.events import Log
from prx.runtime.bus import Bus
from prx.runtime.host.clock import Clock
from prx.ui.event_lines import SERVICE


class ServedCommand:
    """The service that `command` starts, for the only tunnel in `loaded`; UsageError if there are several.

    error: why its end is the end of prx, None if it is none to complain of.
    """

    def __init__(self, command: Sequence[str], loaded: Loaded, *, environ: Mapping[str, str], clock: Clock, bus: Bus) -> None:
        settings = _only_tunnel(loaded)
        self.error: ServiceError | None = None
        self._bus = bus
        self._startup_timeout = settings.startup_timeout_secs
        self._service = LocalService(
            tuple(command),
            settings.origin,
            environ=environment_for_service(loaded, environ),
            clock=clock,
            publish_line=self._publish_line,
            log=self._log,
        )

    @property
    def waiting(self) -> str:
        """What a start waits for."""
        return self._service.waiting

    async def start(self) -> None:
        """Start it and wait until it listens; raises as `LocalService.start` does."""
        await self._service.start(self._startup_timeout)

    async def stop(self) -> None:
        """End it."""
        await self._service.stop()

    def kill(self) -> None:
        """Kill it at once."""
        self._service.kill()

    async def watch(self, outcome: Outcome, *, is_stopping: Callable[[], bool]) -> None:
        """Wait for its end; log it, and keep it as `error` unless it ended well after a visitor could have come."""
        end = await self._service.wait()
        if is_stopping():
            return
        proven = bool(outcome.urls)
        good = end.clean and proven  # before that it has not served a visitor yet
        self._log("info" if good else "error", f"{self._service.name!r} ended ({end}), so the tunnel is stopped")
        if not good:
            self.error = self._service.ended(end, "" if proven else " before the public URL was proven")

    def _publish_line(self, line: str) -> str:
        """Publish a line of its output; return it as it was published, without secrets."""
        event = self._bus.publish(Log(tunnel="", level="info", message=line, source=SERVICE))
        return event.fact.message if isinstance(event.fact, Log) else ""

    def _log(self, level: str, message: str) -> None:
        self._bus.publish(Log(tunnel="", level=level, message=message))


def _only_tunnel(loaded: Loaded) -> TunnelSettings:
    tunnels = loaded.config.tunnels
    if len(tunnels) > 1:
        raise UsageError(
            f"a service can be started for one tunnel, and there are {len(tunnels)}: {', '.join(tunnels)}",
            hint="start the service by itself, and prx without `-- COMMAND`",
        )
    return next(iter(tunnels.values()))
