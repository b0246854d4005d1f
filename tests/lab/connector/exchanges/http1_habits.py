"""What services do over HTTP/1.1: answer well, and in all the ways in which bytes can be left on a connection."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Protocol


@dataclass(frozen=True)
class Asked:
    """A request as the service sees it."""

    method: bytes
    mark: bytes


class Wire(Protocol):
    """The service's end of a connection."""

    rng: Random

    async def write(self, data: bytes) -> None:
        """Send bytes now."""

    async def pause(self, seconds: float) -> None:
        """Pause in the middle of an answer."""

    def later(self, seconds: float, data: bytes) -> None:
        """Send bytes later, unless another request has come by then."""

    def reset(self) -> None:
        """Break the connection off with a TCP reset."""


Habit = Callable[[Wire, Asked], Awaitable[bool]]  # whether the connection goes on


def body_of(wire: Wire, mark: bytes) -> bytes:
    """A body that is nothing but its mark."""
    return mark * wire.rng.choice([1, 3, 40, 700])


def answer(mark: bytes, body: bytes, *more: bytes, status: bytes = b"200 OK", length: bool = True) -> bytes:
    """A whole answer."""
    lines = [b"HTTP/1.1 " + status, b"X-Mark: " + mark, b"Set-Cookie: session=" + mark, *more]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunks(body: bytes, size: int = 37) -> bytes:
    """A body in chunks."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def _told(asked: Asked, whole: bytes) -> bytes:
    """What of an answer may be sent: of one to HEAD the head."""
    return whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.method == b"HEAD" else whole


async def honest(wire: Wire, asked: Asked) -> bool:
    """A whole answer with its length."""
    await wire.write(_told(asked, answer(asked.mark, body_of(wire, asked.mark))))
    return True


async def honest_chunks(wire: Wire, asked: Asked) -> bool:
    """A whole answer in chunks."""
    head = answer(asked.mark, b"", b"Transfer-Encoding: chunked", length=False)
    await wire.write(_told(asked, head + chunks(body_of(wire, asked.mark))))
    return True


async def until_closed(wire: Wire, asked: Asked) -> bool:
    """A body that ends with the connection."""
    await wire.write(answer(asked.mark, body_of(wire, asked.mark), length=False))
    return False


async def body_behind_head(wire: Wire, asked: Asked) -> bool:
    """HEAD is answered as GET is, in one write or in two."""
    head, gap, body = answer(asked.mark, answer(asked.mark, asked.mark * 3)).partition(b"\r\n\r\n")
    await wire.write(head + gap)
    await wire.pause(wire.rng.choice([0, 0, 0.001, 0.004]))
    await wire.write(body)
    return True


def _bodiless(status: bytes) -> Habit:
    async def habit(wire: Wire, asked: Asked) -> bool:
        await wire.write(answer(asked.mark, b"", status=status, length=wire.rng.random() < 0.5))
        await wire.pause(wire.rng.choice([0, 0, 0.001, 0.004]))
        poison = [b"0\r\n\r\n", chunks(asked.mark * 2), answer(asked.mark, asked.mark), asked.mark]
        await wire.write(wire.rng.choice(poison))
        return True

    return habit


body_behind_204 = _bodiless(b"204 No Content")
body_behind_304 = _bodiless(b"304 Not Modified")


def _surplus(make: Callable[[bytes], bytes], status: bytes = b"200 OK") -> Habit:
    """Send something behind the end, at once, or a little later."""

    async def habit(wire: Wire, asked: Asked) -> bool:
        whole = _told(asked, answer(asked.mark, body_of(wire, asked.mark), status=status))
        if wire.rng.random() < 0.5:
            await wire.write(whole + make(asked.mark))
        else:
            await wire.write(whole)
            wire.later(wire.rng.choice([0, 0.0003, 0.001, 0.003, 0.01, 0.03]), make(asked.mark))
        return True

    return habit


surplus_newline = _surplus(lambda _: b"\r\n")
surplus_answer = _surplus(lambda mark: answer(mark, mark * 5))
surplus_answers = _surplus(lambda mark: answer(mark, mark) * 3)
surplus_interim = _surplus(lambda mark: b"HTTP/1.1 103 Early Hints\r\nX-Mark: " + mark + b"\r\n\r\n")
surplus_garbage = _surplus(lambda mark: mark * 4, b"404 Not Found")
surplus_half_head = _surplus(lambda mark: b"HTTP/1.1 200 OK\r\nX-Mark: " + mark + b"\r\nX-Half: ")
surplus_on_empty = _surplus(lambda mark: answer(mark, mark), b"302 Found")


async def length_too_short(wire: Wire, asked: Asked) -> bool:
    """The length counts characters and not bytes; what is left looks like an answer."""
    body = asked.mark * 2
    await wire.write(answer(asked.mark, body) + answer(asked.mark, asked.mark * 9))
    return True


async def length_too_long(wire: Wire, asked: Asked) -> bool:
    """The answer breaks off."""
    await wire.write(answer(asked.mark, asked.mark * 9)[:-15])
    return False


async def length_and_chunks(wire: Wire, asked: Asked) -> bool:
    """Both ways of framing at once; the length is wrong."""
    head = answer(asked.mark, b"", b"Content-Length: 3", b"Transfer-Encoding: chunked", length=False)
    await wire.write(_told(asked, head + chunks(body_of(wire, asked.mark))))
    return True


async def two_lengths(wire: Wire, asked: Asked) -> bool:
    """Two lengths that contradict each other."""
    await wire.write(answer(asked.mark, asked.mark * 6, b"Content-Length: 10"))
    return True


async def bad_chunk(wire: Wire, asked: Asked) -> bool:
    """Chunks that are none."""
    head = answer(asked.mark, b"", b"Transfer-Encoding: chunked", length=False)
    await wire.write(head + b"a\r\n" + asked.mark + wire.rng.choice([b"\n", b"", b"XX\r\n"]) + b"zz\r\n" + asked.mark)
    return True


async def chunks_and_more(wire: Wire, asked: Asked) -> bool:
    """Chunks with trailers, and something behind them."""
    head = answer(asked.mark, b"", b"Transfer-Encoding: chunked", length=False)
    more = wire.rng.choice([b"\r\n", b"0\r\n\r\n", answer(asked.mark, asked.mark)])
    await wire.write(head + chunks(body_of(wire, asked.mark))[:-2] + b"X-Sum: " + asked.mark + b"\r\n\r\n" + more)
    return True


async def old_version(wire: Wire, asked: Asked) -> bool:
    """HTTP/1.0, which may keep the connection, and knows no chunks."""
    kept = wire.rng.random() < 0.5
    whole = answer(asked.mark, body_of(wire, asked.mark), b"Connection: keep-alive" if kept else b"X-A: b")
    await wire.write(_told(asked, whole.replace(b"HTTP/1.1", b"HTTP/1.0", 1)) + (asked.mark if kept else b""))
    return kept


async def bare_newlines(wire: Wire, asked: Asked) -> bool:
    """Lines that end in a bare LF."""
    head, _, body = answer(asked.mark, body_of(wire, asked.mark)).partition(b"\r\n\r\n")
    whole = head.replace(b"\r\n", b"\n") + b"\n\n" + body
    await wire.write(whole.partition(b"\n\n")[0] + b"\n\n" if asked.method == b"HEAD" else whole)
    return True


async def in_pieces(wire: Wire, asked: Asked) -> bool:
    """An interim answer, and the final one in two pieces."""
    whole = _told(asked, answer(asked.mark, body_of(wire, asked.mark)))
    cut = wire.rng.randrange(1, len(whole))
    await wire.write(b"HTTP/1.1 103 Early Hints\r\nLink: " + asked.mark + b"\r\n\r\n" + whole[:cut])
    await wire.pause(0.001)
    await wire.write(whole[cut:])
    return True


async def reset_behind(wire: Wire, asked: Asked) -> bool:
    """The connection is reset behind the answer."""
    await wire.write(_told(asked, answer(asked.mark, body_of(wire, asked.mark))))
    await wire.pause(wire.rng.choice([0, 0.001, 0.003]))
    wire.reset()
    return False


async def reset_within(wire: Wire, asked: Asked) -> bool:
    """The connection is reset in the middle of an answer."""
    await wire.write(answer(asked.mark, asked.mark * 40)[: wire.rng.randrange(1, 300)])
    wire.reset()
    return False


HABITS: dict[str, Habit] = {
    "honest": honest,
    "honest_chunks": honest_chunks,
    "until_closed": until_closed,
    "body_behind_head": body_behind_head,
    "length_too_short": length_too_short,
    "length_too_long": length_too_long,
    "length_and_chunks": length_and_chunks,
    "two_lengths": two_lengths,
    "bad_chunk": bad_chunk,
    "chunks_and_more": chunks_and_more,
    "old_version": old_version,
    "bare_newlines": bare_newlines,
    "in_pieces": in_pieces,
    "reset_behind": reset_behind,
    "reset_within": reset_within,
    "body_behind_204": body_behind_204,
    "body_behind_304": body_behind_304,
    "surplus_newline": surplus_newline,
    "surplus_answer": surplus_answer,
    "surplus_answers": surplus_answers,
    "surplus_interim": surplus_interim,
    "surplus_garbage": surplus_garbage,
    "surplus_half_head": surplus_half_head,
    "surplus_on_empty": surplus_on_empty,
}
