"""The causes of a fault, and what a restart of the connector changes about each: the table from which restarts are derived.

A restart loses what is in flight and, for a quick tunnel, the URL. It is therefore an answer only to a cause that it changes
something about: if the text is empty, `diagnose` must not ask for one, and a property test holds it to that.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType


class Cause(enum.StrEnum):
    """What is behind a verdict."""

    NONE = "none"
    NOT_YET = "not yet"
    CHILD_GONE = "child gone"
    CHILD_SILENT = "child silent"
    UDP_BLOCKED = "udp blocked"
    CONNECTOR_STUCK = "connector stuck"
    CONNECTION_STALE = "connection stale"
    QUICK_TUNNEL_GONE = "quick tunnel gone"
    NO_NAME_TOLD = "no name told"
    REASON_UNKNOWN = "refused without a reason"
    REFUSED = "refused by the edge"
    QUICK_SERVICE = "quick-tunnel service"
    EDGE = "edge"
    NETWORK = "network"
    NAME = "name"
    RECORD = "record"
    ACCESS = "access"
    FIREWALL = "firewall"
    SERVICE = "service"
    ROUTE = "route"
    TOKEN = "token"  # noqa: S105 - the name of a cause
    SETTING = "setting"
    MACHINE = "machine"


RESTART_CHANGES: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.NONE: "",
        Cause.NOT_YET: "",
        Cause.CHILD_GONE: "there is a connector again",
        Cause.CHILD_SILENT: "a connector that runs takes the place of one that does not",
        Cause.UDP_BLOCKED: "the connector speaks HTTP/2, which gets through",
        Cause.CONNECTOR_STUCK: "a fresh connector dials at once; this one only waits",
        Cause.CONNECTION_STALE: "a fresh connector registers again; the edge does not know this one's connections",
        Cause.QUICK_TUNNEL_GONE: "there is a new quick tunnel, with a new URL; the old one cannot come back",
        Cause.NO_NAME_TOLD: "a fresh connector asks for a name again",
        Cause.REFUSED: "a fresh connector registers at once; one that has ended, or does not try, never does",
        Cause.REASON_UNKNOWN: "over HTTP/2 the connector says why it is refused",
        Cause.QUICK_SERVICE: "the service is asked again",
        Cause.EDGE: "",
        Cause.NETWORK: "",
        Cause.NAME: "",
        Cause.RECORD: "",
        Cause.ACCESS: "",
        Cause.FIREWALL: "",
        Cause.SERVICE: "",
        Cause.ROUTE: "",
        Cause.TOKEN: "",
        Cause.SETTING: "",
        Cause.MACHINE: "",
    }
)


def restart_helps(cause: Cause) -> bool:
    """Return whether a restart of the connector changes anything about `cause`."""
    return bool(RESTART_CHANGES[cause])
