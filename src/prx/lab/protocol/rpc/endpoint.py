"""A two-party Cap'n Proto RPC endpoint without input or output: bytes in, events out, bytes to send.

Theory of operation
-------------------
Each side numbers its own *questions* (bootstrap requests and calls). A question stays in the table of the side that
asked until it has been returned, and in the table of the side that answers (as an *answer*) until it has been finished.
This endpoint knows one capability on each side, the bootstrap interface, which lives as long as the connection:

* peer asks: `Bootstrap` is answered at once with export 0; a `Call` on export 0, or on the promised answer of a
  bootstrap question that is still open, becomes a `Called` event. Calls on anything else are returned as exceptions.
  Peers pipeline: cloudflared 2026.8.2 calls the promised answer before it has seen the bootstrap's return.
* we ask: the first `call` sends `Bootstrap` as question 0 and never finishes it; every call goes to its promised
  answer. So neither side needs to count references.

Messages of higher RPC levels are returned as `Unimplemented`, as the protocol asks for. A message that breaks the rules
raises RpcError, puts an `Abort` into the output and ends the endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeAlias

from prx.lab.protocol.errors import RpcError
from prx.lab.protocol.rpc.framing import MessageSplitter
from prx.lab.protocol.rpc.schema import RPC, Fields, fields, reading

MAX_OPEN = 256  # questions of the peer that are open at the same time
_OUR_BOOTSTRAP = 0  # our own first question


@dataclass(frozen=True, slots=True)
class Method:
    """One method of an interface: its ids on the wire and the structs of its parameters and results."""

    interface: int
    number: int
    params: Any
    results: Any


@dataclass(frozen=True, slots=True)
class Called:
    """The peer calls a method that this endpoint serves; answer it with `reply` or `reject`."""

    question: int
    method: Method
    params: Fields


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The peer no longer wants the answer of a question that is still open here; it is answered already."""

    question: int


@dataclass(frozen=True, slots=True)
class Returned:
    """A call of ours came back with results."""

    question: int
    results: Fields


@dataclass(frozen=True, slots=True)
class Failed:
    """A call of ours came back without results; `reason` is the peer's text."""

    question: int
    reason: str


@dataclass(frozen=True, slots=True)
class Aborted:
    """The peer ended the RPC connection; nothing more comes."""

    reason: str


Event: TypeAlias = Called | Cancelled | Returned | Failed | Aborted


class _Answer(Enum):
    BOOTSTRAP = auto()
    OPEN = auto()
    RETURNED = auto()


class Endpoint:
    """One side of an RPC connection; `serves` are the methods of its bootstrap interface, none for a pure caller."""

    def __init__(self, serves: Iterable[Method] = ()) -> None:
        self._serves = {(method.interface, method.number): method for method in serves}
        self._splitter = MessageSplitter()
        self._output = bytearray()
        self._questions: dict[int, Method | None] = {}
        self._next_question = _OUR_BOOTSTRAP
        self._answers: dict[int, _Answer] = {}
        self._closed = False
        self._handlers: Mapping[str, Callable[[Any], Event | None]] = {
            "bootstrap": self._on_bootstrap,
            "call": self._on_call,
            "return": self._on_return,
            "finish": self._on_finish,
            "release": self._on_release,
            "unimplemented": self._on_unimplemented,
            "abort": self._on_abort,
        }

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes of the peer, in any portions, and return what they complete.

        Feeding may leave bytes to send: fetch them with `data_to_send` afterwards, also after an error. Nothing is
        read after an Abort. RpcError ends the endpoint; events that came before it in the same portion are dropped.
        """
        if self._closed:
            return []
        events: list[Event] = []
        try:
            for message in self._splitter.feed(data):
                event = self._on_message(message)
                if event is not None:
                    events.append(event)
                if isinstance(event, Aborted):
                    break
        except RpcError as error:
            self._send_abort(str(error))
            raise
        return events

    def data_to_send(self) -> bytes:
        """Return the bytes that must go to the peer now, and forget them."""
        data = bytes(self._output)
        self._output.clear()
        return data

    def call(self, method: Method, params: Fields) -> tuple[int, bytes]:
        """Ask the peer's bootstrap interface; the question's id comes back in `Returned` or `Failed`."""
        if self._next_question == _OUR_BOOTSTRAP:
            self._new_question(None)
            message = RPC.Message.new_message()
            message.init("bootstrap").questionId = _OUR_BOOTSTRAP
            self._output += message.to_bytes()
        question = self._new_question(method)
        message = RPC.Message.new_message()
        call = message.init("call")
        call.questionId = question
        call.interfaceId = method.interface
        call.methodId = method.number
        call.target.init("promisedAnswer").questionId = _OUR_BOOTSTRAP
        call.init("params").content = method.params.new_message(**params)
        self._output += message.to_bytes()
        return question, self.data_to_send()

    def reply(self, called: Called, results: Fields) -> bytes:
        """Answer a call with results; nothing if the peer has cancelled it meanwhile."""
        if self._answers.get(called.question) is _Answer.OPEN:
            self._answers[called.question] = _Answer.RETURNED
            message, returned = _return(called.question)
            returned.init("results").content = called.method.results.new_message(**results)
            self._output += message.to_bytes()
        return self.data_to_send()

    def reject(self, called: Called, reason: str) -> bytes:
        """Answer a call with an exception; nothing if the peer has cancelled it meanwhile."""
        if self._answers.get(called.question) is _Answer.OPEN:
            self._send_exception(called.question, reason, "failed")
        return self.data_to_send()

    def abort(self, reason: str) -> bytes:
        """End the connection and report why."""
        self._send_abort(reason)
        return self.data_to_send()

    # -- messages of the peer ------------------------------------------------------------------------------------

    def _on_message(self, message: bytes) -> Event | None:
        with reading(RPC.Message, message) as reader:
            kind = str(reader.which())
            handler = self._handlers.get(kind)
            if handler is not None:
                return handler(getattr(reader, kind))
            answer = RPC.Message.new_message()
            answer.unimplemented = reader
            self._output += answer.to_bytes()
            return None

    def _on_bootstrap(self, bootstrap: Any) -> None:
        if not self._serves:
            self._new_answer(bootstrap.questionId, _Answer.RETURNED)
            self._send_exception(bootstrap.questionId, "there is no bootstrap interface here", "failed")
            return
        self._new_answer(bootstrap.questionId, _Answer.BOOTSTRAP)
        self._output += _bootstrap_return(bootstrap.questionId)

    def _on_call(self, call: Any) -> Called | None:
        question = call.questionId
        self._new_answer(question, _Answer.OPEN)
        method = self._serves.get((call.interfaceId, call.methodId))
        if not self._is_bootstrap(call.target):
            self._send_exception(question, "the call goes to a capability that does not exist", "failed")
        elif str(call.sendResultsTo.which()) != "caller":
            self._send_exception(question, "results go to the caller only", "unimplemented")
        elif method is None:
            self._send_exception(question, "no such method", "unimplemented")
        else:
            return Called(question, method, fields(call.params.content, method.params))
        return None

    def _is_bootstrap(self, target: Any) -> bool:
        if str(target.which()) == "importedCap":
            return bool(target.importedCap == 0 and self._serves)
        return self._answers.get(target.promisedAnswer.questionId) is _Answer.BOOTSTRAP

    def _on_return(self, returned: Any) -> Event | None:
        question = returned.answerId
        if question not in self._questions:
            raise RpcError("the peer returned a question that was not asked")
        kind = str(returned.which())
        reason = returned.exception.reason if kind == "exception" else f"the peer's answer is '{kind}'"
        method = self._questions[question]
        if method is None:
            if kind != "results":
                raise RpcError(f"the peer has no bootstrap interface: {reason}")
            return None
        del self._questions[question]
        self._send_finish(question)
        if kind != "results":
            return Failed(question, reason)
        return Returned(question, fields(returned.results.content, method.results))

    def _on_finish(self, finish: Any) -> Cancelled | None:
        question = finish.questionId
        answer = self._answers.get(question)
        if answer is None:
            raise RpcError("the peer finished a question that it did not ask")
        cancelled = answer is _Answer.OPEN
        if cancelled:
            message, returned = _return(question)
            returned.canceled = None
            self._output += message.to_bytes()
        del self._answers[question]
        return Cancelled(question) if cancelled else None

    def _on_release(self, _release: Any) -> None:
        """Do nothing: the one capability that there is lives as long as the connection."""

    def _on_unimplemented(self, echo: Any) -> Failed | None:
        if str(echo.which()) != "call":
            return None
        question = echo.call.questionId
        if self._questions.pop(question, None) is None:
            raise RpcError("the peer did not understand a call that was not made")
        return Failed(question, "the peer does not know calls")

    def _on_abort(self, abort: Any) -> Aborted:
        self._closed = True
        return Aborted(abort.reason)

    # -- our own messages ----------------------------------------------------------------------------------------

    def _new_question(self, method: Method | None) -> int:
        question = self._next_question
        self._next_question += 1
        self._questions[question] = method
        return question

    def _new_answer(self, question: int, answer: _Answer) -> None:
        if question in self._answers:
            raise RpcError("the peer used the id of an open question again")
        if len(self._answers) >= MAX_OPEN:
            raise RpcError(f"the peer has {MAX_OPEN} open questions; no more are accepted")
        self._answers[question] = answer

    def _send_exception(self, question: int, reason: str, kind: str) -> None:
        self._answers[question] = _Answer.RETURNED
        message, returned = _return(question)
        exception = returned.init("exception")
        exception.reason = reason
        exception.type = kind
        self._output += message.to_bytes()

    def _send_finish(self, question: int) -> None:
        message = RPC.Message.new_message()
        finish = message.init("finish")
        finish.questionId = question
        finish.releaseResultCaps = True
        self._output += message.to_bytes()

    def _send_abort(self, reason: str) -> None:
        if not self._closed:
            self._closed = True
            message = RPC.Message.new_message()
            message.init("abort").reason = reason
            self._output += message.to_bytes()


def _return(question: int) -> tuple[Any, Any]:
    """Begin a Return; release of parameter capabilities is off because none are ever taken."""
    message = RPC.Message.new_message()
    returned = message.init("return")
    returned.answerId = question
    returned.releaseParamCaps = False
    return message, returned


def _bootstrap_return(question: int) -> bytes:
    """Build the Return that hands out export 0 as the bootstrap capability.

    pycapnp puts a capability into a message only under its own event loop, so the pointer is written by hand: kind 3
    ("other") in the low bits, the index into the capability table (0) in the high half. The message is built in one
    fixed order, which puts that pointer at word 7: after the segment table, the root pointer, the Message (2 words),
    the Return (3 words, of which the last points to the Payload).
    """
    message, returned = _return(question)
    returned.init("results").init("capTable", 1)[0].senderHosted = 0
    data = bytearray(message.to_bytes())
    data[56:64] = (3).to_bytes(8, "little")
    return bytes(data)
