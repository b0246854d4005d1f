"""The rows of the table: what a tunnel must carry, in the words of its users, and where it is known to be otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from tests.conformance import checks, grpc_checks, tcp_checks
from tests.conformance.outcome import NotAvailableError, NotCarriedError, Outcome, Verdict, worst
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
        """Return the verdict that is known for these modes together, for all of them if none is named."""
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
        except NotAvailableError as error:
            return Outcome(Verdict.NOT_AVAILABLE, str(error))
        except TimeoutError:
            return Outcome(Verdict.DIFFERS, "it did not come to its end")
        except AssertionError as error:
            return Outcome(Verdict.DIFFERS, _first_line(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the table tells
            return Outcome(Verdict.DIFFERS, _first_line(f"{type(error).__name__}: {error}"))
        return Outcome(Verdict.OK)


def _first_line(text: str) -> str:
    return (text.splitlines() or ["an assertion without words"])[0][:300]


def _known(verdict: Verdict, concerns: Callable[[Column], bool]) -> Mapping[str, Verdict]:
    return {f"{column} {mode}": verdict for column in COLUMNS for mode in MODES if concerns(column)}


_NOWHERE = _known(Verdict.NOT_CARRIED, lambda _: True)
_NOT_OVER_QUIC = _known(Verdict.NOT_CARRIED, lambda column: column.protocol == "quic")  # it has no place for trailers
_NOT_BY_CLOUDFLARED = _known(Verdict.NOT_CARRIED, lambda column: column.connector == "cloudflared")  # headers in a map
_CUT_BY_CLOUDFLARED = _known(Verdict.DIFFERS, lambda column: column.connector == "cloudflared")  # one read, one message

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
    Capability("Trailers of the visitor", checks.request_trailers, _NOT_OVER_QUIC),
    Capability("Method, path, query and Host untouched", checks.target_untouched),
    Capability("Cf-Connecting-Ip, X-Forwarded-For, X-Forwarded-Proto, Cf-Ray, Cf-Visitor", checks.behind_cloudflare),
    Capability("Repeated headers apart and in order", checks.repeats),
    Capability("Order of different headers, towards the service", checks.request_order, _NOT_BY_CLOUDFLARED),
    Capability("Order of different headers, towards the visitor", checks.response_order, _NOT_BY_CLOUDFLARED),
    Capability("A header of 32 KiB, both ways", checks.large_headers),
    Capability("A body that the service breaks off never looks whole", checks.origin_breaks),
    Capability("The service learns that a visitor has left", checks.visitor_leaves),
    Capability("502 if the service refuses", checks.origin_refuses),
    Capability("A pushed configuration", checks.config_push, named_only=True),
    Capability("gRPC: a call with metadata, and its status", grpc_checks.unary_call, _NOT_OVER_QUIC, named_only=True),
    Capability("gRPC: streams of either side, and of both", grpc_checks.streams, _NOT_OVER_QUIC, named_only=True),
    Capability("gRPC: an error instead of an answer", grpc_checks.error_at_once, named_only=True),
    Capability("gRPC: an error behind a message", grpc_checks.error_behind_messages, _NOT_OVER_QUIC, named_only=True),
    Capability("gRPC: a visitor's cancel and deadline", grpc_checks.ended_by_visitor, named_only=True),
    Capability("tcp:// through a WebSocket, 10 MiB both ways at once", tcp_checks.through_websocket, named_only=True),
    Capability("tcp:// through `cloudflared access tcp`, the same", tcp_checks.through_access, named_only=True),
    Capability("tcp:// and messages of 64 KiB", tcp_checks.long_messages, _CUT_BY_CLOUDFLARED, named_only=True),
    Capability("tcp:// to the last byte, either side ends", tcp_checks.both_ends, named_only=True),
    Capability("tcp:// half closed by the visitor", tcp_checks.half_closed, _NOWHERE, named_only=True),
    Capability("502 if a tcp:// service refuses", tcp_checks.service_refuses, named_only=True),
    Capability("A stop lets a request in flight finish", checks.graceful_stop),
    Capability("530 if no connector is left", checks.nothing_connected),
)
"""In this order: the last two end the connector."""

EVERY_DAY = tuple(row for row in CAPABILITIES if not row.slow)
