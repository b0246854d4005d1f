"""What happens in a lab, one line each, for people."""

from __future__ import annotations

from prx.lab import events
from prx.logs.text import printable


def line(event: events.LabEvent) -> str:
    """Say in one line what an event means."""
    return printable(_words(event))


def _words(event: events.LabEvent) -> str:  # noqa: C901, PLR0912 - a table: one case for each event
    match event:
        case events.TunnelCreated(hostname=name, tunnel_id=tunnel_id, quick=quick):
            return f"tunnel        {name or tunnel_id} ({'quick' if quick else 'named'})"
        case events.TunnelForgotten(hostname=name, tunnel_id=tunnel_id, quick=quick):
            return f"forgotten     {name or tunnel_id} ({'quick' if quick else 'named'})"
        case events.QuickServiceAnswered(status=status):
            return f"quick service answered {status}"
        case events.ConnectionRegistered(hostname=name, index=index, location=location, protocol=protocol, version=version):
            return f"connected     {name} #{index} at {location} over {protocol}, version {version}"
        case events.ConnectionRejected(hostname=name, index=index, cause=cause):
            return f"rejected      {name or 'unknown tunnel'} #{index}: {cause}"
        case events.ConnectionUnregistered(hostname=name, index=index):
            return f"leaving       {name} #{index}"
        case events.ConnectionLost(hostname=name, index=index, reason=reason):
            return f"disconnected  {name} #{index}{': ' + reason if reason else ''}"
        case events.HandshakeFailed(slot=slot, reason=reason):
            return f"no handshake  at address {slot}: {reason}"
        case events.ConfigurationPushed(hostname=name, index=index, applied=applied, error=error):
            return f"configured    {name} #{index}: {error or f'version {applied}'}"
        case events.LocalConfigurationReceived(hostname=name, index=index):
            return f"reported      {name} #{index} has a configuration of its own"
        case events.RequestServed():
            return _request(event)
        case events.ApiAnswered(method=method, path=path, status=status, code=code):
            return f"api           {status or '---'} {method} {path}{f' (code {code})' if code else ''}"
        case events.FaultInjected(fault=fault):
            return f"fault         {fault}"
        case events.FaultCleared(fault=fault):
            return f"fault over    {fault}"
        case _:
            return type(event).__name__


def _request(event: events.RequestServed) -> str:
    by = event.source if event.index < 0 else f"{event.source} #{event.index}"
    broken = "" if event.complete else ", broken off"
    what = f"{event.status or '---'} {event.method} {event.hostname}{event.path}"
    return f"request       {what} ({by}, {event.sent} bytes, {event.seconds * 1000:.0f} ms{broken})"
