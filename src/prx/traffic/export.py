"""One request in the words of other programs: curl, a Python script, HAR 1.2. From what is shown, so without secrets. Pure."""

from __future__ import annotations

import base64
import json
import re
import shlex
from codecs import getincrementaldecoder
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from prx import __version__
from prx.core.errors import UsageError
from prx.core.parsing import parse_json
from prx.traffic.coding import is_whole
from prx.traffic.shown import plain

ARCHIVED_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of a body in an archive that can be sent, as the control socket takes them."""

_URL_SHOWN: Final = 80  # characters; a `data:` URL may hold a picture
_CHARSET: Final = re.compile(
    r"utf-?(8|16|32)([-_]?[bl]e)?|(us-)?ascii|iso-?8859-\d{1,2}|(windows-|cp)125\d|shift[_-]jis|euc-(jp|kr)|gb(2312|k|18030)|big5"
    r"|koi8-[ru]"
)
_NOT_SENT = {"content-length", "transfer-encoding", "connection", "host"}
_BODILESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})  # others say that they have none
_ARGUMENT_SIZE: Final = 64 * 1024  # bytes; Linux takes twice as many in one argument


def as_curl(found: dict[str, Any], base_url: str) -> str:
    """Return a curl command for a POSIX shell that sends it to `base_url`: nothing of curl's own is added, nothing changed."""
    headers, body = _headers(found), _body(found)
    method = ["--head"] if found["method"] == "HEAD" and not body else ["-X", found["method"]]  # -X HEAD waits for a body
    words = ["curl", "-i", *method, *_curl_url(base_url, found["path"])]
    words += ["--globoff", "--path-as-is"]  # else it reads [] and {} as patterns, and shortens /../
    for name, value in headers:
        words += ["-H", f"{name}: {value}" if value else f"{name};"]  # with nothing behind its colon a header is left out
    pipe, data = _curl_body(found["method"], body)
    words += data
    given = {name.lower() for name, _ in headers}
    for name in ("Accept", "User-Agent", *(("Content-Type",) if data else ())):  # which curl adds by itself
        words += [] if name.lower() in given else ["-H", f"{name}:"]
    if "accept-encoding" in given:
        words.append("--compressed")  # unpacks the answer
    return pipe + " ".join(map(_shell_word, words))


def _curl_url(base_url: str, target: str) -> list[str]:
    """Return where curl sends it: to the service, also if a visitor has asked for something else than a path."""
    base = base_url.rstrip("/")
    # behind a host and port, "@evil.example" would be a host
    return [base + target] if target.startswith("/") else [f"{base}/", "--request-target", target]


def _har_url(base_url: str, target: str) -> str:
    """Return the URL of a request in an archive: that of the service, whatever a visitor has asked for."""
    return base_url.rstrip("/") + (target if target.startswith("/") else f"/{target}")


def _curl_body(method: str, body: bytes) -> tuple[str, list[str]]:
    """Return what is piped into curl, and its arguments for a body."""
    if not body:
        return "", ["--data-binary", ""] if method not in _BODILESS else []
    text = body.decode("utf-8", "surrogateescape")
    if text.isprintable() and not text.startswith("@") and len(body) <= _ARGUMENT_SIZE:
        return "", ["--data-binary", text]
    # no argument can hold every byte, or any number of them, and @ would be read as the name of a file
    return f"printf %s {base64.b64encode(body).decode()} | base64 -d | ", ["--data-binary", "@-"]


def _shell_word(text: str) -> str:
    """Return a word for a POSIX shell; what a terminal might take for a command to itself is written as numbers."""
    if text.isprintable():
        return shlex.quote(text)
    return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in text.encode("utf-8", "surrogateescape")) + "')\""


def as_script(found: dict[str, Any], base_url: str) -> str:
    """Return a Python script, standard library only, that sends it to `base_url` and prints the answer."""
    parts = urlsplit(base_url)
    kind = "HTTPSConnection" if parts.scheme == "https" else "HTTPConnection"
    return "\n".join(
        [
            f"# request {found['id']} of {found['at']}",
            "import http.client",
            "",
            f"connection = http.client.{kind}({parts.hostname!r}, {parts.port!r})",
            f"connection.putrequest({found['method']!r}, {_ascii_path(found['path'])!r}, skip_accept_encoding=True)",
            *(f"connection.putheader({name!r}, {_latin(value)!r})" for name, value in _headers(found)),
            f"body = {_body(found)!r}",
            'connection.putheader("Content-Length", str(len(body)))',
            "connection.endheaders(body)",
            "answer = connection.getresponse()",
            "print(answer.status, answer.read())",
        ]
    )


def _ascii_path(path: str) -> str:
    """Return a path as `http.client` takes it: what is no ASCII in percent-encoding, as a browser sends it."""
    return "".join(letter if letter.isascii() else quote(letter) for letter in path)


def _latin(value: str) -> str | bytes:
    """Return the value of a header as `http.client` sends it unchanged: of a text it would send Latin-1."""
    return value if value.isascii() else value.encode()


def as_har(requests: list[dict[str, Any]], base_url: str) -> str:
    """Return an HTTP archive (HAR 1.2) of whole requests."""
    log = {
        "version": "1.2",
        "creator": {"name": "prx", "version": __version__},
        "entries": [_entry(r, base_url) for r in requests],
    }
    return json.dumps({"log": log}, indent=1)


@dataclass(frozen=True, slots=True)
class Archive:
    """What an HTTP archive holds: `requests` as `replay` takes them, and in `passed_over` a line for each that is none."""

    requests: tuple[dict[str, Any], ...]
    passed_over: tuple[str, ...]


def from_har(text: str) -> Archive:
    """Read an HTTP archive; raise UsageError if it is none, or if a request in it cannot be sent as it was.

    What never was a plain HTTP request of a service (a WebSocket, a `data:` URL) is passed over: browsers archive those, too.
    """
    try:
        entries = list(enumerate(parse_json(text)["log"]["entries"], 1))
        odd = {number: why for number, entry in entries if (why := _no_request(entry))}
        requests = [_from_entry(number, entry["request"]) for number, entry in entries if number not in odd]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"this is no HTTP archive (HAR 1.2): {type(error).__name__} {error}") from error
    return Archive(tuple(requests), tuple(f"entry {number} is passed over: {why}" for number, why in odd.items()))


def _no_request(entry: dict[str, Any]) -> str:
    """Return why an entry is no HTTP request that can be sent; empty if it is one."""
    request, answer = entry["request"], entry.get("response") or {}
    url, method = str(request["url"]), str(request["method"])
    scheme = urlsplit(url).scheme.lower()
    upgrades = any(str(h["name"]).lower() == "upgrade" and "websocket" in str(h["value"]).lower() for h in request["headers"])
    is_socket = "_webSocketMessages" in entry or entry.get("_resourceType") == "websocket"
    if scheme in {"ws", "wss"} or upgrades or is_socket or answer.get("status") == 101:
        return f"{url[:_URL_SHOWN]} is a WebSocket, or another protocol"
    if scheme not in {"http", "https"}:
        return f"{url[:_URL_SHOWN]} is no http or https URL, so no service was asked"
    return f"{method} {url[:_URL_SHOWN]} asks a proxy for a connection" if method.upper() == "CONNECT" else ""


def _from_entry(number: int, request: dict[str, Any]) -> dict[str, Any]:
    parts = urlsplit(str(request["url"]))
    body = _archived_body(number, request)
    if len(body) > ARCHIVED_LIMIT:
        raise UsageError(f"entry {number}: its body has {len(body)} bytes, expected at most {ARCHIVED_LIMIT}")
    headers = [[str(h["name"]), str(h["value"])] for h in request["headers"] if not str(h["name"]).startswith(":")]
    if parts.netloc and not any(name.lower() == "host" for name, _ in headers):  # of HTTP/2, which has a pseudo-header for it
        headers.insert(0, ["Host", parts.netloc.rpartition("@")[2]])
    return {
        "method": str(request["method"]),
        "path": (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        "headers": headers,
        "body": base64.b64encode(body).decode(),
    }


def _archived_body(number: int, request: dict[str, Any]) -> bytes:
    """Return the body of a request in an archive; raise UsageError if the archive does not hold all of it."""
    post = request.get("postData") or {}
    if post.get("_cut"):
        raise UsageError(f"entry {number}: its body was cut, or is hidden, so it cannot be sent again")
    text = str(post.get("text") or "")
    if text:
        return base64.b64decode(text, validate=True) if post.get("encoding") == "base64" else text.encode()
    params, kind = post.get("params") or [], str(post.get("mimeType", ""))
    if params and kind.startswith("application/x-www-form-urlencoded"):
        return urlencode([(str(item["name"]), str(item.get("value", ""))) for item in params]).encode()
    size = request.get("bodySize", 0)
    if params or (isinstance(size, int) and size > 0):
        raise UsageError(f"entry {number}: the archive does not hold its body", hint="save it with content")
    return b""


def _entry(found: dict[str, Any], base_url: str) -> dict[str, Any]:
    asked, answer = found["request"] or {}, found["answer"] or {}
    headers = {name.lower(): value for name, value in answer.get("headers", [])}
    wait, total = found["first_byte_ms"] or 0, found["duration_ms"] or 0
    entry: dict[str, Any] = {
        "startedDateTime": found["at"],
        "time": total,
        "request": {
            "method": found["method"],
            "url": _har_url(base_url, found["path"]),
            "httpVersion": asked.get("version", ""),
            "cookies": [],
            "headers": [{"name": n, "value": v} for n, v in asked.get("headers", [])],
            "queryString": [
                {"name": n, "value": v} for n, v in parse_qsl(found["path"].partition("?")[2], keep_blank_values=True)
            ],
            "headersSize": -1,
            "bodySize": found["request_bytes"],
        },
        "response": {
            "status": found["status"] or 0,
            "statusText": answer.get("reason", ""),
            "httpVersion": answer.get("version", ""),
            "cookies": [],
            "headers": [{"name": n, "value": v} for n, v in answer.get("headers", [])],
            "content": _content(answer, found["answer_bytes"], headers),
            "redirectURL": headers.get("location", ""),
            "headersSize": -1,
            "bodySize": found["answer_bytes"],
        },
        "cache": {},
        "timings": {"send": 0, "wait": wait, "receive": max(0, total - wait)},
    }
    if found["request_bytes"]:
        kind = next((v for n, v in asked.get("headers", []) if n.lower() == "content-type"), "")
        # as it came, packed or not: what is sent again has to fit its Content-Encoding
        entry["request"]["postData"] = {"mimeType": kind, **_as_text(base64.b64decode(asked.get("body", "")))}
        if asked.get("body_cut") or not asked.get("body"):  # so that no half of a body is sent as if it were all
            entry["request"]["postData"]["_cut"] = True
    return entry


def _content(answer: dict[str, Any], sent_bytes: int, headers: dict[str, str]) -> dict[str, Any]:
    """Return the body of an answer as HAR wants it: unpacked, as text if it is text, else as base64, and its length so."""
    kind, coding = headers.get("content-type", ""), headers.get("content-encoding", "").lower()
    kept = base64.b64decode(answer.get("body", ""))
    content: dict[str, Any] = {"size": sent_bytes, "mimeType": kind}
    if not kept:
        return content | ({"comment": "not kept, or hidden, as it may hold secrets"} if sent_bytes else {"text": ""})
    body, _ = plain(kept, coding)
    remarks = [f"cut: {len(kept)} of {sent_bytes} bytes are kept"] if answer.get("body_cut") else []
    if body is not kept:
        remarks += [] if is_whole(kept, coding) else [f"the first {len(body)} bytes of what is unpacked"]
        content |= {"size": len(body)} if remarks else {"size": len(body), "compression": len(body) - sent_bytes}
    elif coding.strip() not in {"", "identity"}:
        remarks.append(f"packed with {coding}, which cannot be unpacked here")
    return content | _as_text(body, _charset(kind), cut=bool(remarks)) | ({"comment": "; ".join(remarks)} if remarks else {})


def _charset(kind: str) -> str:
    """Return the charset of a Content-Type, UTF-8 if it has none that pages use: Python's codecs do much more than those."""
    message = Message()
    message["content-type"] = kind
    name = str(message.get_content_charset("utf-8"))
    return name if _CHARSET.fullmatch(name) else "utf-8"


def _as_text(body: bytes, charset: str = "utf-8", *, cut: bool = False) -> dict[str, str]:
    """Return `text`, with `encoding` if it is base64, as of what is no text. `cut`: it may end within a character."""
    with suppress(UnicodeError, LookupError):
        text = getincrementaldecoder(charset)().decode(body, final=not cut)
        if "\0" not in text:
            return {"text": text}
    return {"text": base64.b64encode(body).decode(), "encoding": "base64"}


def _headers(found: dict[str, Any]) -> list[tuple[str, str]]:
    asked = found["request"] or {"headers": []}
    return [(name, value) for name, value in asked["headers"] if name.lower() not in _NOT_SENT]


def _body(found: dict[str, Any]) -> bytes:
    if found["request"] is None:
        return b""
    if found["request"]["body_cut"]:
        raise UsageError(f"the body of request {found['id']} was cut, so it cannot be sent again")
    if found["request"]["body_bytes"] and not found["request"]["body"]:
        raise UsageError(f"the body of request {found['id']} cannot be unpacked here, and is hidden: it may hold secrets")
    return base64.b64decode(found["request"]["body"])
