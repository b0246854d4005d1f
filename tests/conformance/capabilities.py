"""The rows of the table: what a tunnel must carry, in the words of its users, and where it is known to be otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.conformance import checks
from tests.conformance.outcome import NotCarriedError, Outcome, Verdict, worst
from tests.conformance.scene import COLUMNS, MODES, Column, Scene


@dataclass(frozen=True)
class Capability:
    """One row. `known`: the verdicts that are not `ok`, by "CONNECTOR PROTOCOL MODE"; `slow`: too long for every day."""

    title: str
    check: Callable[[Scene], Awaitable[None]]
    known: Mapping[str, Verdict] = field(default_factory=dict)
    slow: bool = False
    named_only: bool = False

    def expected(self, column: Column, *modes: str) -> Verdict:
        """Give the verdict that is known for these modes together, for all of them where none is named."""
        return worst(self._expected(column, mode) for mode in modes or MODES)

    def _expected(self, column: Column, mode: str) -> Verdict:
        if self.named_only and mode != "named":
            return Verdict.NOT_APPLICABLE
        return self.known.get(f"{column} {mode}", Verdict.OK)

    async def ask(self, scene: Scene) -> Outcome:
        """Ask the connector of a scene."""
        if self.named_only and scene.mode != "named":
            return Outcome(Verdict.NOT_APPLICABLE)
        try:
            await self.check(scene)
        except NotCarriedError as error:
            return Outcome(Verdict.NOT_CARRIED, str(error))
        except TimeoutError:
            return Outcome(Verdict.DIFFERS, "it did not come to its end")
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the table tells
            return Outcome(Verdict.DIFFERS, f"{type(error).__name__}: {error}".splitlines()[0][:300])
        return Outcome(Verdict.OK)


def _not_carried(concerns: Callable[[Column], bool]) -> Mapping[str, Verdict]:
    return {f"{column} {mode}": Verdict.NOT_CARRIED for column in COLUMNS for mode in MODES if concerns(column)}


_NOWHERE = _not_carried(lambda _: True)
_NOT_OVER_QUIC = _not_carried(lambda column: column.protocol == "quic")  # the protocol has no place for them
_NOT_BY_CLOUDFLARED = _not_carried(lambda column: column.connector == "cloudflared")  # it keeps headers in a map

# Over QUIC the builtin connector takes 128 requests at a time from each connection, and a quick tunnel has one.
CAPABILITIES = (
    Capability("Uploads of 0 B to 1 MiB, with a length and in chunks", checks.bodies_up),
    Capability("Downloads of 0 B to 1 MiB, with a length and in chunks", checks.bodies_down),
    Capability("An upload of 200 MB", checks.big_body_up, slow=True),
    Capability("A download of 200 MB", checks.big_body_down, slow=True),
    Capability("200 requests in flight", checks.many_in_flight),
    Capability("1,000 WebSocket messages, and the code of the end", checks.websocket_messages),
    Capability("Server-sent events, one by one", checks.events_one_by_one),
    Capability("HEAD", checks.head_request),
    Capability("204 without a body", checks.no_content),
    Capability("304 without a body", checks.not_modified),
    Capability("A status that is not registered", checks.unusual_status),
    Capability("100 for a visitor who waits for it", checks.expect_continue),
    Capability("103 Early Hints of the service", checks.early_hints, _NOWHERE),
    Capability("Trailers of the service", checks.response_trailers, _NOT_OVER_QUIC),
    Capability("Trailers of the visitor", checks.request_trailers, _NOWHERE),
    Capability("Method, path, query and Host untouched", checks.target_untouched),
    Capability("Cf-Connecting-Ip, X-Forwarded-For, X-Forwarded-Proto, Cf-Ray, Cf-Visitor", checks.behind_cloudflare),
    Capability("Repeated headers apart and in order", checks.repeats),
    Capability("Order of different headers, towards the service", checks.request_order, _NOT_BY_CLOUDFLARED),
    Capability("Order of different headers, towards the visitor", checks.response_order, _NOT_BY_CLOUDFLARED),
    Capability("A header of 32 KiB, both ways", checks.large_headers),
    Capability("A body that the service breaks off never looks whole", checks.origin_breaks),
    Capability("The service learns that a visitor has left", checks.visitor_leaves),
    Capability("502 where the service refuses", checks.origin_refuses),
    Capability("A pushed configuration", checks.config_push, named_only=True),
    Capability("A stop lets a request in flight finish", checks.graceful_stop),
    Capability("530 where no connector is left", checks.nothing_connected),
)
"""In this order: the last two end the connector."""

EVERY_DAY = tuple(row for row in CAPABILITIES if not row.slow)
