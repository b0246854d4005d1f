"""The description of the API (OpenAPI 3.1), which programs read at /api/v1/openapi.json."""

from __future__ import annotations

from typing import Any, Final

from prx import __version__

_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_TIME_OR_NOT: Final = {"type": ["string", "null"], "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_COUNT_OR_NOT: Final = {"type": ["integer", "null"], "minimum": 0}


def _object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has these fields; others may follow in a later version."""
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_ERROR: Final = _object(error=_TEXT, hint=_TEXT)
_TUNNEL: Final = _object(name=_TEXT, state=_TEXT, verdict=_TEXT, reason=_TEXT, url=_TEXT, local_addr=_TEXT, restarts=_COUNT)
_PRX: Final = _object(
    key=_TEXT,
    pid=_COUNT,
    version=_TEXT,
    config=_TEXT,
    state={"enum": ["running", "silent", "gone"]},
    gone_since=_TIME_OR_NOT,
    restarted_at=_TIME_OR_NOT,
    tunnels=_list({"$ref": "#/components/schemas/Tunnel"}),
)
_LOG_LINE: Final = _object(at=_TEXT, tunnel=_TEXT, level=_TEXT, message=_TEXT, source=_TEXT)
_REPORT: Final = _object(
    since=_TIME,
    until=_TIME,
    missing_records=_COUNT,
    tunnels=_list(_object(prx=_TEXT, tunnel=_TEXT, reachable_percent={"type": ["number", "null"]})),
)
_DONE: Final = _object(prx=_TEXT, done=_TEXT)
_NUMBER_OR_NOT: Final = {"type": ["number", "null"]}
_PAIRS: Final = _list({"type": "array", "items": _TEXT, "minItems": 2, "maxItems": 2})
_ROW_FIELDS: Final = {
    "id": _COUNT,
    "tunnel": _TEXT,
    "at": _TIME,
    "method": _TEXT,
    "path": _TEXT,
    "status": {"type": ["integer", "null"]},
    "first_byte_ms": _NUMBER_OR_NOT,
    "duration_ms": _NUMBER_OR_NOT,
    "request_bytes": _COUNT,
    "answer_bytes": _COUNT,
    "messages": _COUNT,
    "own": {"type": "boolean"},
    "replay_of": {"type": ["integer", "null"]},
    "signature": {"type": ["string", "null"]},
    "notes": _list(_TEXT),
}
_ROW: Final = _object(**_ROW_FIELDS)
_SIDE: Final = {
    "anyOf": [
        {"type": "null"},
        _object(
            headers=_PAIRS,
            version=_TEXT,
            reason=_TEXT,
            body={"type": "string", "contentEncoding": "base64"},
            body_bytes=_COUNT,
            body_cut={"type": "boolean"},
        ),
    ]
}
_TALK: Final = _object(at=_TIME, sender=_TEXT, kind=_TEXT, size=_COUNT, data=_TEXT)
_REQUEST: Final = _object(
    **_ROW_FIELDS, request=_SIDE, answer=_SIDE, interim=_list(_COUNT), trailers=_PAIRS, events=_list(_TALK)
)
_PART: Final = _object(
    title=_TEXT, same={"type": "boolean"}, lines=_list(_object(mark={"enum": ["", "-", "+", "…", "!"]}, text=_TEXT))
)


def _query(name: str, what: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": what, "schema": schema}


_WHICH: Final = _query("prx", "The key of the prx that is meant, if several are running.", _TEXT)
_TUNNEL_QUERY: Final = _query("tunnel", "Only this tunnel.", _TEXT)
_NAME: Final = {"name": "name", "in": "path", "required": True, "description": "The name of the tunnel.", "schema": _TEXT}
_ACTION: Final = {
    "name": "X-PRX-Action",
    "in": "header",
    "required": True,
    "description": "Always 1: no form of another site can send it.",
    "schema": {"const": "1"},
}

_ERRORS: Final = {
    "400": "The request has a mistake.",
    "401": "A session or a token is needed.",
    "403": "The request comes from another site, or does not say that it is meant.",
    "404": "There is no such request, or it is no longer kept.",
    "405": "Another method is needed.",
    "408": "The body did not come in time.",
    "409": "prx refuses to do that now.",
    "413": "The body is too long.",
    "414": "The URL is too long.",
    "421": "The Host header does not name this server.",
    "503": "prx does not answer, or too many ask.",
}


def _operation(
    summary: str, answer: dict[str, Any], *parameters: dict[str, Any], kind: str = "application/json"
) -> dict[str, Any]:
    responses: dict[str, Any] = {
        status: {"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
        for status, text in _ERRORS.items()
    }
    responses["200"] = {"description": "Done.", "content": {kind: {"schema": answer}}}
    return {"summary": summary, "parameters": list(parameters), "responses": dict(sorted(responses.items()))}


def document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "prx",
            "version": __version__,
            "description": "What the dashboard of prx knows and does. New fields and events may be added: ignore unknown ones.",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": {
            "/api/v1/status": {"get": _operation("Every prx of this user, and its tunnels", _STATUS)},
            "/api/v1/events": {"get": _EVENTS},
            "/api/v1/logs": {"get": _LOGS},
            "/api/v1/report": {"get": _REPORTS},
            "/api/v1/requests": {"get": _REQUESTS},
            "/api/v1/requests/{id}": {"get": _ONE_REQUEST},
            "/api/v1/requests/{id}/diff": {"get": _DIFF},
            "/api/v1/requests/{id}/replay": {"post": _REPLAY},
            "/api/v1/openapi.json": {"get": _operation("This document", {"type": "object"})},
            "/api/v1/tunnels/{name}/restart": {"post": _operation("Restart a tunnel", _DONE, _NAME, _WHICH, _ACTION)},
            "/api/v1/tunnels/{name}/stop": {"post": _operation("Stop a tunnel", _DONE, _NAME, _WHICH, _ACTION)},
            "/api/v1/reload": {"post": _operation("Read the configuration again", _DONE, _WHICH, _ACTION)},
            "/api/v1/doctor": {"post": _operation("Examine machine and network", {"type": "object"}, _WHICH, _ACTION)},
        },
        "components": {
            "schemas": {"Error": _ERROR, "Tunnel": _TUNNEL, "Prx": _PRX},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "From `prx web --token`."},
                "session": {"type": "apiKey", "in": "cookie", "name": "prx_session_4141", "description": "Of the page itself."},
            },
        },
    }


_DASHBOARD: Final = _object(
    streams=_COUNT, streams_cut=_COUNT, events_dropped=_COUNT, connections=_COUNT, connections_refused=_COUNT
)
_STATUS: Final = _object(at=_TIME, prx=_list({"$ref": "#/components/schemas/Prx"}), dashboard=_DASHBOARD)
_EVENTS: Final = _operation(
    "Events as they come, as Server-Sent Events; each `data` is one JSON object, each `id` a place to go on from",
    _TEXT,
    _query("after", "Begin with what came after the event with this id.", _TEXT),
    {
        "name": "Last-Event-ID",
        "in": "header",
        "description": "The same, as browsers send it when they come back.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{1,32}-[0-9]{1,15}$"},
    },
    kind="text/event-stream",
)
_LOGS: Final = _operation(
    "The last lines of a prx's log, its children's included",
    _object(prx=_TEXT, lines=_list(_LOG_LINE)),
    _WHICH,
    _TUNNEL_QUERY,
    _query("level", "Only from this level on.", {"enum": ["debug", "info", "warn", "error"], "default": "info"}),
    _query("text", "Only lines that contain this.", _TEXT),
    _query("lines", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
)
_REPORTS: Final = _operation(
    "How well the tunnels were reachable, as `prx report --json` says it",
    _REPORT,
    _query("since", "How far back, in seconds.", {"type": "integer", "minimum": 1, "maximum": 31622400, "default": 604800}),
    _query("timeline", "With each span of time and its cause.", {"enum": ["true", "false"], "default": "false"}),
    _WHICH,
    _TUNNEL_QUERY,
)
_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "The number of the request.",
    "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999_999},
}
_REQUESTS: Final = _operation(
    "The last requests of a tunnel that is inspected, oldest first; secrets are hidden",
    _object(prx=_TEXT, requests=_list(_ROW), last=_COUNT_OR_NOT, dropped=_COUNT),
    _WHICH,
    _TUNNEL_QUERY,
    _query("filter", "Only those that fit, as with `prx requests --filter`.", {"type": "string", "maxLength": 500}),
    _query("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    _query(
        "after",
        "The `last` of an earlier answer: those that were answered since, in that order; if they are too many, the first.",
        {"type": "integer", "minimum": 0, "maximum": 10**12 - 1, "default": 0},
    ),
    _query("own", "With prx's own health checks.", {"enum": ["true", "false"], "default": "false"}),
)
_ONE_REQUEST: Final = _operation(
    "All that is kept of a request", _object(prx=_TEXT, request=_REQUEST), _ID, _WHICH, _TUNNEL_QUERY
)
_DIFF: Final = _operation(
    "In what two requests and their answers differ",
    _object(prx=_TEXT, parts=_list(_PART)),
    _ID,
    {**_query("other", "The id of the other one.", {"type": "integer", "minimum": 1, "maximum": 10**12 - 1}), "required": True},
    _WHICH,
    _TUNNEL_QUERY,
)
_REPLAY: Final = _operation(
    "Send a request to the service again, marked with X-PRX-Replay",
    _object(prx=_TEXT, done=_TEXT, request=_ROW, page=_TEXT),
    _ID,
    _query("at", "Only if the request began then: an id may mean another one once prx was started again.", _TEXT),
    _WHICH,
    _TUNNEL_QUERY,
    _ACTION,
)
