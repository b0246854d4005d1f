"""What was seen last of each part of a tunnel, with the time of it: what `prx why` tells the verdict from.

A round of checks sees only what it needs, so the parts have different ages. What was seen before the last round is kept while
something is wrong, because it may explain it, and forgotten once all is well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from prx.core.durations import in_whole_words
from prx.core.evidence import ChildExit, Connector, Delivery, Dns, DnsState, Edge, Evidence, Origin, Public, Reach
from prx.core.protocols import PROTOCOL_NAMES
from prx.core.value import Value, value_class
from prx.core.verdicts import Action, Diagnosis

_REACH = {Reach.OPEN: "answers", Reach.CLOSED: "does not answer", Reach.UNKNOWN: "not known"}


@value_class(frozen=True, slots=True, eq=False, repr=False)
class Sighting(Value):
    """One piece of evidence in words: of which part, when (monotonic seconds), and whether the last round saw it."""

    part: str
    words: str
    at: float
    judged: bool = True


class Sightings:
    """The newest sighting of each part, and the `diagnosis` of the last round; None before the first one."""

    def __init__(self) -> None:
        self.diagnosis: Diagnosis | None = None
        self.judged_at = 0.0
        self._parts: dict[str, Sighting] = {}

    def take(self, evidence: Evidence, diagnosis: Diagnosis) -> None:
        """Take in what a round has seen, and what was made of it."""
        self.diagnosis, self.judged_at = diagnosis, evidence.at
        well = diagnosis.action is Action.NONE
        older = {} if well else {name: replace(item, judged=False) for name, item in self._parts.items()}
        self._parts = older | {part: Sighting(part, words, evidence.at) for part, words in describe(evidence)}

    def take_unseen(self, at: float, diagnosis: Diagnosis) -> None:
        """Take in a diagnosis that no evidence was gathered for: the connector could not even be started."""
        self.take(Evidence(at), diagnosis)

    def __iter__(self) -> Iterator[Sighting]:
        """Yield the sightings, the newest first."""
        return iter(sorted(self._parts.values(), key=lambda item: -item.at))


def describe(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Yield each part that a round has seen, with what was seen, in the order in which parts are judged."""
    if evidence.exit is not None:
        yield "end of the connector", _exit(evidence.exit)
    if evidence.connector is not None:
        yield "connector", _connector(evidence.connector)
    if evidence.network_up is not None:
        yield "network", "this machine has a network" if evidence.network_up else "this machine has no network"
    if evidence.edge is not None:
        yield "edge", _edge(evidence.edge)
    if evidence.dns is not None:
        yield "public DNS", _dns(evidence.dns)
    for part, words in (("strangers", evidence.exposed), ("route", evidence.route_mismatch), ("addresses", evidence.strays)):
        if words:
            yield part, words
    if evidence.origin is not None:
        yield "local service", _origin(evidence.origin)
    if evidence.public is not None:
        yield "public URL", _public(evidence.public)
        if words := _delivery(evidence.delivery):
            yield "counters", words


def _exit(end: ChildExit) -> str:
    return f"{end.words()} ({end.cause})"


def _connector(seen: Connector) -> str:
    if not seen.answers:
        return f"has not answered on its own metrics port for {in_whole_words(seen.silent_for)}"
    protocol = f" over {PROTOCOL_NAMES.get(seen.protocol, seen.protocol)}" if seen.protocol else ""
    parts = [f"runs for {in_whole_words(seen.age)}"]
    if seen.ready:
        parts.append(f"{seen.ready} {'connection' if seen.ready == 1 else 'connections'} to the edge{protocol}")
        return ", ".join(parts)
    parts.append(
        f"without a connection{protocol} for {in_whole_words(seen.lost_for)}" if seen.lost_for else "without a connection yet"
    )
    if seen.rejected:
        parts.append("rejected once" if seen.rejected == 1 else f"rejected {seen.rejected} times")
    if seen.quic_dial_failures:
        parts.append(f"{seen.quic_dial_failures} {'dial' if seen.quic_dial_failures == 1 else 'dials'} over QUIC failed")
    if seen.last_error:
        parts.append(f"it says: {seen.last_error}")
    return ", ".join(parts)


def _edge(seen: Edge) -> str:
    words = f"prx's own dial: TCP {_REACH[seen.tcp]}"
    if seen.tcp is Reach.OPEN and seen.tcp_open_for:
        words += f" for {in_whole_words(seen.tcp_open_for)}"
    if seen.error:
        words += f" ({seen.error})"
    return f"{words}, QUIC {_REACH[seen.quic]}"


def _dns(seen: Dns) -> str:
    detail = f" ({seen.detail})" if seen.detail else ""
    if seen.state is DnsState.RESOLVED:
        return f"resolves the name to {', '.join(seen.addresses)}{detail}"
    if seen.state is DnsState.MISSING:
        return f"does not know the name{' any more' if seen.known else ''}{detail}"
    return f"could not be asked{detail}"


def _origin(seen: Origin) -> str:
    if seen.status is None:
        return seen.error or f"{seen.address} gives no answer"
    return f"{seen.address} answers {seen.status}" + (f" ({seen.error})" if seen.error else "")


def _public(seen: Public) -> str:
    if seen.unasked:
        return f"could not be asked: {seen.error}"
    if seen.status is None:
        waited = f" after {in_whole_words(seen.waited)}" if seen.waited else ""
        return f"no answer{waited}: {seen.error or 'no reason given'}"
    words = f"answers {seen.status}"
    if seen.latency_ms is not None:
        words += f" in {seen.latency_ms:.0f} ms"
    notes = [
        "from Cloudflare Access" if seen.access else "",
        f"Cloudflare's error {seen.edge_error}" if seen.edge_error else "",
        f"a {seen.mitigated} of Cloudflare" if seen.mitigated else "",
        "not by way of Cloudflare" if not seen.by_cloudflare else "",
        f"leads to {seen.location}" if seen.location else "",
        seen.host_blocked,
    ]
    return words + "".join(f", {note}" for note in notes if note)


def _delivery(seen: Delivery) -> str:
    if seen.reached is None:
        return ""
    if not seen.reached:
        return "prx's request did not come through this connector"
    said = f", and the service answered {', '.join(map(str, sorted(seen.said)))}" if seen.said else ""
    return f"prx's request came through this connector{said}" + (", which failed to get an answer" if seen.failed else "")
