"""What a gateway and the children that try versions out for it say to each other, and how: messages on a socket."""

from __future__ import annotations

import enum
import select
import socket
import time
from typing import Annotated, Generic, Literal, TypeVar

import msgspec

from turnout_server.store.manifest import Manifest

Opener = Literal["engine", "binding"]
"""Who opens graphs: a module of `turnout_server.onnx`."""

_LENGTH_BYTES = 4
_LONGEST = 1 << 26
"""No message is longer, in bytes, whatever a broken process says."""
_PIECE = 1 << 20
"""Room that is made at once, in bytes: what a length claims is not believed."""


class Settings(msgspec.Struct, frozen=True):
    """What a child is started with."""

    opener: Opener
    memory_bytes: int
    """What it may take."""
    extensions: bool = True
    """Whether graphs may have operators of onnxruntime-extensions."""


class Request(msgspec.Struct, frozen=True):
    """Try this version out."""

    directory: str
    """Where its files are; they have been verified."""
    manifest: Manifest


class Step(enum.StrEnum):
    """What a trial is doing, as it is told where that goes wrong."""

    CHECK = "its check"
    OPEN = "opening it"
    RUN = "its first runs"


class Began(msgspec.Struct, frozen=True, tag=True):
    """A step of the trial begins; more follows."""

    step: Step


class Passed(msgspec.Struct, frozen=True, tag=True):
    """The version can be served."""

    measured: dict[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=0)]]
    """The best run time in nanoseconds, by number of rows."""
    independent: bool
    """Whether a row's answer is the same alone and in company."""
    by_value: bool = False
    """Whether values may decide what a run costs."""
    extensions: bool = False
    """Whether it has operators of onnxruntime-extensions."""
    needs: dict[Annotated[int, msgspec.Meta(ge=1)], Annotated[int, msgspec.Meta(ge=0)]] = {}
    """The most bytes that a run had, by number of rows; none where nobody counts."""


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The version cannot be served."""

    problem: str


class OutOfMemory(msgspec.Struct, frozen=True, tag=True):
    """The child may not take as much memory as the version needed."""


class Puzzled(msgspec.Struct, frozen=True, tag=True):
    """An error that nobody had thought of."""

    kind: str
    trace: str


Word = Began | Passed | Refused | OutOfMemory | Puzzled
"""What a child says: any number of steps, and then one of the others."""

REQUESTS = msgspec.msgpack.Decoder(Request)
"""For a child, which hears what to try out."""
WORDS: msgspec.msgpack.Decoder[Word] = msgspec.msgpack.Decoder(Word)
"""For its gateway."""

T = TypeVar("T")


class Line(Generic[T]):
    """One end of the socket. Whoever waits on it waits until a moment at the latest."""

    def __init__(
        self, end: socket.socket, hears: msgspec.msgpack.Decoder[T], pulse: socket.socket | None = None
    ) -> None:
        """Speak on *end*, which is closed with this.

        Args:
            end: this end.
            hears: what comes from the other: `REQUESTS` or `WORDS`.
            pulse: can be read once the process at the other end has ended, even where another holds that open.
        """
        self._end = end
        self._pulse = pulse
        self._decoder = hears

    def say(self, message: object, until: float | None = None) -> None:
        """Send a message.

        Args:
            message: what to say.
            until: on the clock of `time.monotonic`; None for as long as it takes.

        Raises:
            TimeoutError: the other end does not listen.
            OSError: it has gone.
        """
        content = msgspec.msgpack.encode(message)
        self._end.settimeout(_left(until))
        self._end.sendall(len(content).to_bytes(_LENGTH_BYTES, "little") + content)

    def hear(self, until: float | None = None) -> T:
        """Wait for the next message.

        Raises:
            TimeoutError: none has come.
            EOFError, OSError: the other end has gone.
            ValueError: what came is no message.
        """
        length = int.from_bytes(self._exactly(_LENGTH_BYTES, until), "little")
        if length > _LONGEST:
            raise ValueError(f"a message of {length} bytes")
        content = self._exactly(length, until)
        try:
            return self._decoder.decode(content)
        except RecursionError as error:
            raise ValueError("a message that is nested too deeply") from error

    def close(self) -> None:
        """Hang up."""
        self._end.close()

    def _exactly(self, count: int, until: float | None) -> bytes:
        content = bytearray()  # bytes would be copied with every piece that comes
        while len(content) < count:
            left = _left(until)
            if self._pulse is not None:
                _await(self._end, self._pulse, left)
            self._end.settimeout(left)
            more = self._end.recv(min(count - len(content), _PIECE))
            if not more:
                raise EOFError
            content += more
        return bytes(content)


def _await(end: socket.socket, pulse: socket.socket, left: float | None) -> None:
    """Wait until there is something to read; what was said before the other one ended is heard."""
    poll = select.poll()
    poll.register(end, select.POLLIN)
    poll.register(pulse, select.POLLIN)
    ready = [descriptor for descriptor, _ in poll.poll(None if left is None else left * 1e3)]
    if not ready:
        raise TimeoutError
    if end.fileno() not in ready:
        raise EOFError


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
