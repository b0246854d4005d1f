"""The RPC endpoint and the registration on top of it, as bytes."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prx.lab.protocol.errors import RpcError
from prx.lab.protocol.rpc import endpoint as rpc
from prx.lab.protocol.rpc.framing import MAX_MESSAGE, MessageSplitter
from prx.lab.protocol.rpc.registration import (
    REGISTER,
    UNREGISTER,
    CallFailed,
    LocalConfigurationUpdated,
    Register,
    Registered,
    RegisterRequest,
    RegistrationClient,
    RegistrationServer,
    Rejected,
    ServerEvent,
    Unregister,
    Unregistered,
    UpdateLocalConfiguration,
)
from prx.lab.protocol.rpc.schema import RPC

RECORDED = (Path(__file__).parents[3] / "data" / "cloudflared-2026.8.2" / "control_stream.bin").read_bytes()
TUNNEL = UUID("587fbc69-9f77-4d94-b7bc-bf0cce02b72a")

uint8 = st.integers(0, 255)
# Cap'n Proto text ends at a NUL, and lone surrogates are no UTF-8.
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
requests = st.builds(
    RegisterRequest,
    account_tag=text,
    tunnel_secret=st.binary(max_size=64),
    tunnel_id=st.uuids(),
    conn_index=uint8,
    client_id=st.uuids(),
    features=st.lists(text, max_size=6).map(tuple),
    version=text,
    arch=text,
    origin_local_ip=st.sampled_from([b"", b"\x7f\0\0\1", b"\0" * 15 + b"\1"]),
    replace_existing=st.booleans(),
    compression_quality=uint8,
    num_previous_attempts=uint8,
)
REQUEST = RegisterRequest("tag", b"secret", TUNNEL, 0, TUNNEL)


def play(server: RegistrationServer, portions: list[bytes], answer: Registered | Rejected) -> tuple[list[ServerEvent], bytes]:
    """Feed a server and answer everything; give its events and all that it sends."""
    events: list[ServerEvent] = []
    sent = b""
    for portion in portions:
        for event in server.feed(portion):
            events.append(event)
            sent += server.data_to_send()
            match event:
                case Register():
                    sent += server.accept(event, answer) if isinstance(answer, Registered) else server.refuse(event, answer)
                case Unregister() | UpdateLocalConfiguration():
                    sent += server.done(event)
                case _:
                    pass
        sent += server.data_to_send()
    return events, sent


def in_portions(data: bytes, size: int) -> list[bytes]:
    """Cut bytes into portions of one size."""
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 48, 10_000])
def test_control_stream_of_cloudflared(size: int) -> None:
    """What the real cloudflared sends on its control stream is understood, in any portions."""
    events, _ = play(RegistrationServer(), in_portions(RECORDED, size), Registered(TUNNEL, "lab01"))
    register, update, unregister, aborted = events
    assert isinstance(register, Register)
    assert (register.request.tunnel_id, register.request.conn_index) == (TUNNEL, 0)
    assert register.request.tunnel_secret == bytes(32)
    assert register.request.version == "2026.8.2"
    assert "serialized_headers" in register.request.features
    assert isinstance(update, UpdateLocalConfiguration)
    assert b'"ingress"' in update.config
    assert isinstance(unregister, Unregister)
    assert aborted == rpc.Aborted("rpc: shutdown")


@given(requests, st.booleans(), st.integers(1, 64))
def test_registration_both_ways(request: RegisterRequest, managed: bool, size: int) -> None:
    """A registration arrives as it was sent, and so does the answer, in any portions."""
    client, server = RegistrationClient(), RegistrationServer()
    answer = Registered(TUNNEL, "lab01", managed)
    events, sent = play(server, in_portions(client.register(request), size), answer)
    assert [event.request for event in events if isinstance(event, Register)] == [request]
    results = [event for portion in in_portions(sent, size) for event in client.feed(portion)]
    assert results == [answer]
    assert server.feed(client.data_to_send()) == []


@given(text, st.integers(0, 3600), st.booleans())
def test_rejection(cause: str, seconds: int, retry: bool) -> None:
    """A rejection arrives with cause, delay and advice."""
    client = RegistrationClient()
    answer = Rejected(cause, seconds, retry)
    _, sent = play(RegistrationServer(), [client.register(REQUEST)], answer)
    assert client.feed(sent) == [answer]


def test_whole_life() -> None:
    """Register, tell the configuration, unregister: each call is answered once, on one endpoint."""
    client, server = RegistrationClient(), RegistrationServer()
    seen = []
    for call in (client.register(REQUEST), client.update_local_configuration(b"{}"), client.unregister()):
        _, sent = play(server, [call], Registered(TUNNEL, "x"))
        seen += client.feed(sent)
        assert server.feed(client.data_to_send()) == []
    assert seen == [Registered(TUNNEL, "x"), LocalConfigurationUpdated(), Unregistered()]


def test_exceptions_of_the_rpc() -> None:
    """A call that is answered with an exception fails with the peer's text."""
    client, server = RegistrationClient(), RegistrationServer()
    (event,) = server.feed(client.register(REQUEST))
    assert isinstance(event, Register)
    assert client.feed(server.data_to_send() + server.fail(event, "no")) == [CallFailed("register", "no")]


def test_unknown_method() -> None:
    """A method that the peer does not serve comes back as a failure, and the connection lives on."""
    asking, answering = rpc.Endpoint(), rpc.Endpoint([REGISTER])
    question, data = asking.call(UNREGISTER, {})
    assert answering.feed(data) == []
    assert asking.feed(answering.data_to_send()) == [rpc.Failed(question, "no such method")]


def test_no_bootstrap_interface() -> None:
    """Asking a side that serves nothing ends the endpoint with an error that says so."""
    asking, other = rpc.Endpoint(), rpc.Endpoint()
    _, data = asking.call(REGISTER, {})
    other.feed(data)
    with pytest.raises(RpcError, match="no bootstrap interface"):
        asking.feed(other.data_to_send())


def test_cancelled_call() -> None:
    """A question finished before its answer is answered as cancelled, and a late reply sends nothing."""
    asking, answering = rpc.Endpoint(), rpc.Endpoint([REGISTER])
    question, data = asking.call(REGISTER, {"tunnelId": bytes(16)})
    (called,) = answering.feed(data)
    assert isinstance(called, rpc.Called)
    message = RPC.Message.new_message()
    message.init("finish").questionId = question
    answering.data_to_send()
    assert answering.feed(message.to_bytes()) == [rpc.Cancelled(question)]
    assert asking.feed(answering.data_to_send()) == [rpc.Failed(question, "the peer's answer is 'canceled'")]
    assert answering.reply(called, {}) == b""


def test_messages_of_higher_levels() -> None:
    """Messages that this level does not know are returned as unimplemented."""
    endpoint = rpc.Endpoint([REGISTER])
    message = RPC.Message.new_message()
    message.init("provide").questionId = 5
    assert endpoint.feed(message.to_bytes()) == []
    with RPC.Message.from_bytes(endpoint.data_to_send()) as answer:
        assert str(answer.which()) == "unimplemented"
        assert answer.unimplemented.provide.questionId == 5


def bootstrap(question: int) -> bytes:
    """Ask for the bootstrap interface."""
    message = RPC.Message.new_message()
    message.init("bootstrap").questionId = question
    return bytes(message.to_bytes())


def test_same_question_twice() -> None:
    """The id of an open question cannot be used again."""
    endpoint = rpc.Endpoint([REGISTER])
    with pytest.raises(RpcError, match="open question"):
        endpoint.feed(bootstrap(1) + bootstrap(1))


def test_too_many_questions() -> None:
    """A peer cannot fill the memory with questions that it never finishes."""
    endpoint = rpc.Endpoint([REGISTER])
    with pytest.raises(RpcError, match="256 open questions"):
        endpoint.feed(b"".join(bootstrap(number) for number in range(300)))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xff\xff\xff", "segments"),
        (b"\0\0\0\0\xff\xff\xff\xff", "bytes"),
        (b"\0\0\0\0\0\0\0\0", "not readable"),
        (b"\0\0\0\0\1\0\0\0" + b"\xff" * 8, "not readable"),
    ],
)
def test_malformed(data: bytes, words: str) -> None:
    """A malformed message raises one error, tells the peer, and ends the endpoint."""
    endpoint = rpc.Endpoint([REGISTER])
    with pytest.raises(RpcError, match=words):
        endpoint.feed(data)
    with RPC.Message.from_bytes(endpoint.data_to_send()) as answer:
        assert str(answer.which()) == "abort"
    assert endpoint.feed(bootstrap(0)) == []


def test_wrong_uuid() -> None:
    """A tunnel id that is no UUID is named as such."""
    asking = rpc.Endpoint()
    _, data = asking.call(REGISTER, {"tunnelId": b"short"})
    with pytest.raises(RpcError, match="the tunnel id has 5 bytes"):
        RegistrationServer().feed(data)


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    """Whatever comes, the answer is events or RpcError."""
    with suppress(RpcError):
        RegistrationServer().feed(data)


@given(st.data())
def test_recorded_bytes_damaged(data: st.DataObject) -> None:
    """Bytes of the real cloudflared with some changed lead to events or RpcError, the same in any portions."""
    damaged = bytearray(RECORDED)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(uint8)

    def outcome(size: int) -> tuple[int, bool]:
        server = RegistrationServer()
        try:
            events, _ = play(server, in_portions(bytes(damaged), size), Registered(TUNNEL, "x"))
        except RpcError:
            return -1, True
        return len(events), False

    assert outcome(len(damaged)) == outcome(13)


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(1, 50))
def test_splitter(words: list[int], size: int) -> None:
    """Messages come out as they went in, in any portions."""
    messages = [b"\0\0\0\0" + count.to_bytes(4, "little") + bytes([count]) * (8 * count) for count in words]
    splitter = MessageSplitter()
    assert [message for portion in in_portions(b"".join(messages), size) for message in splitter.feed(portion)] == messages


def test_splitter_limits() -> None:
    """A message may be as large as the limit, and no larger."""
    words = MAX_MESSAGE // 8 - 1
    assert list(MessageSplitter().feed(b"\0\0\0\0" + words.to_bytes(4, "little"))) == []
    with pytest.raises(RpcError):
        list(MessageSplitter().feed(b"\0\0\0\0" + (words + 1).to_bytes(4, "little")))
