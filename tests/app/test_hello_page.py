"""The built-in page: correct HTTP/1.1."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest

from prx.app.hello_page import HelloPage


@pytest.fixture
def visitor() -> Iterator[http.client.HTTPConnection]:
    """Open a connection to the page."""
    with HelloPage() as page:
        host, _, port = page.local_addr.partition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.connect()
        yield connection
        connection.close()


def test_get_and_head_on_one_connection(visitor: http.client.HTTPConnection) -> None:
    """GET gives the page, HEAD the same head without it, on a connection that stays open."""
    first = visitor.sock
    visitor.request("GET", "/any/path?x=1")
    answer = visitor.getresponse()
    page = answer.read()
    assert (answer.status, answer.version, answer.headers["Content-Type"]) == (200, 11, "text/html; charset=utf-8")
    assert len(page) == int(answer.headers["Content-Length"])
    visitor.request("HEAD", "/any/path?x=1")
    head = visitor.getresponse()
    assert head.read() == b""
    assert head.headers["Content-Length"] == str(len(page))
    assert visitor.sock is first


def test_what_a_visitor_sends_is_not_markup(visitor: http.client.HTTPConnection) -> None:
    """The Host header is shown as text."""
    visitor.request("GET", "/", headers={"Host": "<script>alert(1)</script>"})
    assert b"<script>" not in visitor.getresponse().read()


def test_other_methods_are_refused(visitor: http.client.HTTPConnection) -> None:
    """The page takes nothing."""
    visitor.request("POST", "/", body=b"x")
    assert visitor.getresponse().status == 501
