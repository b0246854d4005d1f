"""Answers of HTTP/1.x: how long they are, what is forgiven, what is not; however the bytes come."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.lab.connector.origin.answers import AnswerError, AnswerReader, bodiless


@dataclass
class Read:
    """What a reader made of some bytes."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]]
    lasting: bool
    surplus: bool


def read(data: bytes, *, method: bytes = b"GET", step: int = 0, closed: bool = False) -> Read | None:
    """Read an answer, whole or in steps of so many bytes; None: more bytes are needed."""
    reader = AnswerReader(method)
    parts = [data[start : start + step] for start in range(0, len(data), step)] if step else [data]
    head, body, ended = None, b"", False
    for part in [*parts, *([b""] if closed else [])]:
        reader.feed(part)
        while head is None or 100 <= head.status <= 199:
            found = reader.head()
            if found is None:
                break
            head = found
        while head is not None and head.status >= 200 and not ended and (more := reader.body()) is not None:
            body += more
            ended = not more
    if head is None or not ended:
        return None
    return Read(head.status, head.headers, body, reader.trailers, reader.lasting, reader.surplus)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    ("data", "body", "lasting"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello", True),
        (b"HTTP/1.1 200\r\nContent-Length: 3\r\nTransfer-Encoding: Chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n", b"hello", False),
        (b"HTTP/1.0 200\r\nConnection: keep-alive\r\nTransfer-Encoding: x\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n", b"hello", False),
        (b"HTTP/1.1 200 OK\r\nConnection:\r\n close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n00\r\nX-Sum: 1\r\n\r\n", b"hello", True),
        (b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.1 200 OK\r\nConnection: Foo, Close\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
        (b"HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello", True),
    ],
)  # fmt: skip
def test_where_an_answer_ends(data: bytes, body: bytes, lasting: bool, step: int) -> None:
    """An answer that says where its body ends, ends there; what allows another behind it is seen."""
    result = read(data, step=step)
    assert result is not None
    assert (result.body, result.lasting, result.surplus) == (body, lasting, False)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"]
)
def test_a_body_that_ends_with_the_connection(head: bytes) -> None:
    """Without a length or chunks (which HTTP/1.0 does not know) the body ends with the connection, and nothing follows."""
    assert read(head + b"5\r\nhello") is None
    result = read(head + b"5\r\nhello", closed=True)
    assert result is not None
    assert (result.body, result.lasting) == (b"5\r\nhello", False)


@pytest.mark.parametrize(
    ("method", "status"), [(b"HEAD", 200), (b"HEAD", 404), (b"GET", 204), (b"POST", 304), (b"CONNECT", 200)]
)
@pytest.mark.parametrize("framing", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b""])
def test_answers_without_a_body(method: bytes, status: int, framing: bytes) -> None:
    """HEAD, 204, 304 and an opened CONNECT have no body whatever the head says; what comes all the same is surplus."""
    head = b"HTTP/1.1 %d X\r\n%b\r\n" % (status, framing)
    result, more = read(head, method=method), read(head + b"hello", method=method)
    assert result is not None
    assert more is not None
    assert (result.body, result.surplus, more.body, more.surplus) == (b"", False, b"", True)
    assert bodiless(method, status)


@pytest.mark.parametrize("more", [b"\r\n", b"x", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 103 Early\r\n\r\n", b"0\r\n\r\n"])
@pytest.mark.parametrize(
    "whole",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ],
)
def test_surplus(whole: bytes, more: bytes) -> None:
    """One byte behind the end is seen, and belongs to no body."""
    result = read(whole + more)
    assert result is not None
    assert result.surplus
    assert result.body in {b"ab", b""}


NUMBERS = {
    "zeros": (b"Content-Length: " + b"0" * 60 + b"5\r\n\r\nhello", b"hello"),
    "zeros alone": (b"Content-Length: " + b"0" * 60 + b"\r\n\r\n", b""),
    "a chunk of 16 digits": (b"Transfer-Encoding: chunked\r\n\r\n0000000000000005\r\nhello\r\n0\r\n\r\n", b"hello"),
}


@pytest.mark.parametrize(("rest", "body"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_are_long_and_not_large(rest: bytes, body: bytes) -> None:
    """What counts is the value, as Go reads it, not how many digits it has."""
    result = read(b"HTTP/1.1 200 OK\r\n" + rest)
    assert result is not None
    assert result.body == body


def test_numbers_at_their_limit() -> None:
    """The largest length and the largest chunk begin a body; one more is refused."""
    for rest in (b"Content-Length: 9223372036854775807", b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff"):
        reader = AnswerReader(b"GET")
        reader.feed(b"HTTP/1.1 200 OK\r\n" + rest + (b"\r\n" if b"chunked" in rest else b"\r\n\r\n") + b"part")
        assert reader.head() is not None
        assert reader.body() == b"part"
    with pytest.raises(AnswerError, match="bad Content-Length"):
        read(b"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n")
    with pytest.raises(AnswerError, match="http chunk length too large"):
        read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00000000000000005\r\nhello\r\n")


def test_headers_that_are_not_true() -> None:
    """A length beside chunks or a 204 is dropped, of equal ones one is kept, and the coding does not go on."""
    both = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n"
    chunks, asked = read(both + b"0\r\n\r\n"), read(both, method=b"HEAD")
    nothing = read(b"HTTP/1.1 204 No\r\nContent-Length: 3\r\nX: y\r\n\r\n")
    twice = read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX: y\r\nContent-Length: 1\r\n\r\na")
    assert chunks is not None
    assert asked is not None
    assert nothing is not None
    assert twice is not None
    assert chunks.headers == nothing.headers == [(b"X", b"y")]
    assert twice.headers == [(b"Content-Length", b"1"), (b"X", b"y")]
    assert asked.headers == [(b"Content-Length", b"3"), (b"X", b"y")], "there are no chunks to a HEAD, and Go leaves it"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "malformed HTTP response"),
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/x 200 OK\r\n", "malformed HTTP version"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "malformed HTTP status code"),
        (b"HTTP/1.1 +20 OK\r\n\r\n", "malformed HTTP status code"),
        (b"HTTP/1.1 200 OK\r\n X: y\r\n\r\n", "malformed MIME header initial line"),
        (b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", "malformed MIME header line"),
        (b"HTTP/1.1 200 OK\r\n: y\r\n\r\n", "malformed MIME header line"),
        (b"HTTP/1.1 200 OK\r\nX@: y\r\n\r\n", "malformed MIME header line"),
        (b"HTTP/1.1 200 OK\r\nX: a\x01b\r\n\r\n", "malformed MIME header line"),
        (b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", "malformed MIME header line"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "multiple Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "bad Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "unsupported transfer encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "too many transfer encodings"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n", "bare LF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\r\nhello\r\n", "invalid CR"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "invalid byte in chunk length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "empty hex number"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n", "malformed chunked encoding"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 5000, "too long"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, "exceeded"),
        (b"HTTP/1.1 103 E\r\nX: " + b"a" * 200_000 + b"\r\n\r\nHTTP/1.1 103 E\r\nX: " + b"a" * 100_000, "exceeded"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_no_answer(data: bytes, words: str, step: int) -> None:
    """What Go does not take for an answer is none here, as soon as it can be known."""
    if len(data) > 10_000 and step:
        pytest.skip("too slow byte by byte, and no different")
    with pytest.raises(AnswerError, match=words):
        read(data, step=step)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)  # fmt: skip
def test_breaking_off(data: bytes) -> None:
    """An answer that breaks off is an error, and no shorter answer."""
    with pytest.raises(AnswerError, match="EOF"):
        read(data, closed=True)


@given(
    body=st.binary(max_size=200),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    step=st.integers(1, 60),
    more=st.binary(max_size=5),
)
def test_pieces_make_no_difference(body: bytes, sizes: list[int], step: int, more: bytes) -> None:
    """However the bytes come, the answer is the same, and what lies behind it is not in it."""
    chunks, rest, index = b"", body, 0
    while rest:
        part, rest = rest[: sizes[index % len(sizes)]], rest[sizes[index % len(sizes)] :]
        chunks += b"%x\r\n%b\r\n" % (len(part), part)
        index += 1
    for framed in (
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body),
        b"Transfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % chunks,
    ):
        data = b"HTTP/1.1 200 OK\r\n" + framed + more
        whole, pieces = read(data), read(data, step=step)
        assert whole is not None
        assert whole == pieces
        assert (whole.body, whole.surplus) == (body, bool(more))
