"""The DNS messages of the DoH probe, held against a library for all of DNS."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prx.runtime.probes.dnswire import NoDnsError, OtherQuestionError, Question, read_reply

LABELS = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,20}[A-Za-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=6).map(".".join)
KINDS = st.sampled_from(["A", "AAAA"])
V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).map(str)
RECORDS = st.one_of(
    st.tuples(st.just("A"), V4),
    st.tuples(st.just("AAAA"), V6),
    st.tuples(st.just("CNAME"), NAMES.map("{}.".format)),
    st.tuples(st.just("TXT"), st.just('"text"')),
    st.tuples(st.just("MX"), st.just("10 mail.example.")),
)


@st.composite
def replies(draw: st.DrawFn) -> tuple[str, str, dns.message.Message]:
    """Return a name, a kind of records, and what a server may say to it: aliases, foreign records, any code, EDNS or not."""
    name, kind = draw(NAMES), draw(KINDS)
    response = dns.message.make_response(dns.message.make_query(name, kind, id=0, use_edns=draw(st.sampled_from([None, 0]))))
    response.set_rcode(dns.rcode.Rcode(draw(st.sampled_from([0, 0, 0, 0, 2, 3, 5]))))
    owners = [name, *draw(st.lists(NAMES, max_size=3))]
    if draw(st.booleans()):  # a chain, in which the last one holds the addresses
        for owner, target in pairwise(owners):
            response.answer.append(dns.rrset.from_text(f"{owner}.", 60, "IN", "CNAME", f"{target}."))
    for owner in draw(st.lists(st.sampled_from(owners), max_size=4)):
        rdtype, text = draw(RECORDS)
        response.answer.append(dns.rrset.from_text(f"{owner}.", 60, "IN", rdtype, text))
    for owner in draw(st.lists(st.sampled_from(owners), max_size=1)):
        response.authority.append(dns.rrset.from_text(f"{owner}.", 60, "IN", "SOA", "ns.example. root.example. 1 2 3 4 5"))
    return name, kind, response


def expected(wire: bytes, name: str, kind: str) -> tuple[str, tuple[str, ...]] | type[Exception]:
    """Return what the library makes of a message."""
    query = dns.message.make_query(name, kind, id=0)
    try:
        response = dns.message.from_wire(wire)
        if not isinstance(response, dns.message.QueryMessage) or not query.is_response(response):
            return OtherQuestionError
        if response.rcode() not in {0, 3}:
            return dns.rcode.to_text(response.rcode()), ()
        records = response.resolve_chaining().answer
    except (dns.exception.DNSException, ValueError):
        return NoDnsError
    return dns.rcode.to_text(response.rcode()), tuple(record.to_text() for record in records or ())


def understood(wire: bytes, name: str, kind: str) -> tuple[str, tuple[str, ...]] | type[Exception]:
    """Return what the probe makes of it."""
    try:
        reply = read_reply(wire, Question.of(name, kind))
    except (NoDnsError, OtherQuestionError) as error:
        return type(error)
    return reply.status, reply.addresses


@given(NAMES, KINDS)
def test_a_question_is_the_librarys(name: str, kind: str) -> None:
    """The message that asks is, byte for byte, what the library writes (in lower case, which DNS does not tell apart)."""
    query = dns.message.make_query(name.lower(), kind, id=0)
    assert Question.of(name, kind).to_wire() == query.to_wire()
    assert Question.of(f"{name}.", kind) == Question.of(name, kind)


@given(replies())
def test_an_answer_is_read_as_the_library_reads_it(reply: tuple[str, str, dns.message.Message]) -> None:
    """Code and addresses are the library's, compressed names, aliases, other records and EDNS included."""
    name, kind, response = reply
    wire = response.to_wire()
    assert understood(wire, name, kind) == expected(wire, name, kind)


@given(replies(), st.data())
def test_an_answer_to_another_question_is_none(reply: tuple[str, str, dns.message.Message], data: st.DataObject) -> None:
    """Another name, kind, number, opcode, or a question instead of an answer: none is taken for the answer."""
    name, kind, response = reply
    change = data.draw(st.sampled_from(["name", "kind", "number", "opcode", "question"]))
    if change == "name":
        name += "x"
    elif change == "kind":
        kind = "A" if kind == "AAAA" else "AAAA"
    elif change == "number":
        response.id = 7
    elif change == "opcode":
        response.set_opcode(dns.opcode.Opcode.STATUS)
    else:
        response.flags &= ~dns.flags.QR
    assert understood(response.to_wire(), name, kind) is OtherQuestionError


@given(replies(), st.data())
def test_a_spoilt_answer_is_understood_or_refused(reply: tuple[str, str, dns.message.Message], data: st.DataObject) -> None:
    """Cut off, lengthened, or with any bytes changed: the probe refuses it or reads addresses; nothing else happens."""
    name, kind, response = reply
    wire = bytearray(response.to_wire())
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(wire) - 1), st.integers(0, 255)), max_size=3)):
        wire[at] = byte
    cut = data.draw(st.integers(0, len(wire)))
    for spoilt in (bytes(wire), bytes(wire[:cut]), bytes(wire) + b"\0"):
        with suppress(NoDnsError, OtherQuestionError):
            read_reply(spoilt, Question.of(name, kind))
    assert cut == len(wire) or isinstance(understood(response.to_wire()[:cut], name, kind), type)


HEADER = b"\0\0\x81\x80\0\1\0\1\0\0\0\0"
ASKED = b"\1a\0\0\1\0\1"


@example(HEADER + ASKED + b"\xc0\x13\0\1\0\1\0\0\0\0\0\4\1\2\3\4")  # a name that points at itself
@example(HEADER + b"\xc0\x0c\0\1\0\1" + b"\1a\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4")
@example(HEADER + ASKED + b"\xff\xff\0\1\0\1\0\0\0\0\0\4\1\2\3\4")  # beyond the end
@example(HEADER + ASKED + b"\x40a\0\0\1\0\1\0\0\0\0\0\4\1\2\3\4")  # a label of a kind that does not exist
@example(b"\0\0\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff")
@given(st.binary(max_size=200))
def test_any_bytes_are_understood_or_refused(wire: bytes) -> None:
    """Whatever a server sends, reading it ends, and with one of two errors where it is no answer."""
    with suppress(NoDnsError, OtherQuestionError):
        read_reply(wire, Question.of("a", "A"))


@pytest.mark.parametrize(("links", "fine"), [(15, True), (16, False), (40, False)])
def test_a_chain_of_aliases_ends(links: int, fine: bool) -> None:
    """Sixteen names are followed, as the library does; a longer chain, or one in a ring, is no answer."""
    response = dns.message.make_response(dns.message.make_query("n0.example", "A", id=0))
    for link in range(links):
        response.answer.append(dns.rrset.from_text(f"n{link}.example.", 60, "IN", "CNAME", f"n{link + 1}.example."))
    response.answer.append(dns.rrset.from_text(f"n{links}.example.", 60, "IN", "A", "192.0.2.1"))
    wire = response.to_wire()
    assert understood(wire, "n0.example", "A") == (("NOERROR", ("192.0.2.1",)) if fine else NoDnsError)
    assert understood(wire, "n0.example", "A") == expected(wire, "n0.example", "A")


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, ".".join(["a" * 63] * 4), "\N{SNOWMAN}" * 70])
def test_a_name_that_dns_cannot_hold_is_not_asked_for(name: str) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ValueError, match="DNS"):
        Question.of(name, "A")
