"""The contract between the two planes: what Python sees of the engine.

The engine listens, speaks HTTP/2 and gRPC, and carries calls on threads of its own. Those that it does not answer by
itself it hands to Python: as events, which an event loop takes from `Engine.events` when `Engine.fileno` is readable.
Python speaks of a call by its number. No method here waits for a call, a client or a thread, and none may be called
from more than one thread at once with a meaning that depends on the order.

A call, as Python sees it::

    ("call", ...)                    it begins
    more() -> ("message", ...)       where the client streams: the next message, when it is asked for,
           or ("half_closed", ...)     or that there is none
    send() -> ("sent", ...)          where the server streams
    answer() or end()                the last word: the handler has ended

Every call gets a last word, also one that is over before ("gone"): until then it counts as running, and a client that
resets calls faster than their handlers end gets no more of them. To anything else that is said to a call that is over,
nothing happens.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal, final

__version__: str

CallEvent = tuple[Literal["call"], int, str, dict[str, str], str, float | None, bytes | None]
"""A call begins: its number; its path (`package.Service/Method`, one of those that the engine was told of); metadata
(names in lower case, text only, the last of several values, `tracestate` joined); HOST:PORT of the client; when
it stops waiting, on the clock of `time.monotonic`, in seconds; and the message, or None where the client streams."""
MessageEvent = tuple[Literal["message"], int, bytes]
"""The next message of a client that streams, once for each `Engine.more`."""
HalfClosedEvent = tuple[Literal["half_closed"], int]
"""The answer to `Engine.more` where the client has no more messages."""
SentEvent = tuple[Literal["sent"], int, int]
"""So many bytes of what was given to `Engine.send` have found room with the client or the socket, messages counted with
the 5 bytes before each. It comes for every 32 KiB or more."""
GoneEvent = tuple[Literal["gone"], int]
"""The call is over, and its handler is to be cancelled: the client has reset it or gone, its deadline has passed, it
has broken a rule, or the server ends. The client has been told, if there still is one."""
ClosedEvent = tuple[Literal["closed"]]
"""After `Engine.close`: the last connection has ended, and this is the last event."""
Event = CallEvent | MessageEvent | HalfClosedEvent | SentEvent | GoneEvent | ClosedEvent

@final
class Engine:
    """A server. Its threads run from the beginning; they end after `close`, or when nobody has it any more."""

    def __init__(
        self,
        methods: Mapping[str, tuple[bool, bool]],
        *,
        shards: int,
        max_message_bytes: int,
        max_message_values: int,
        max_compression_ratio: int,
        max_connections: int,
        connection_calls: int,
        request_time_s: float,
        stream_silence_s: float,
        silent_streams: int,
        memory_bytes: int,
        shapes: Mapping[str, Sequence[Mapping[int, int]]] = ...,
        headers_first: bool = False,
        urgent: Sequence[str] = (),
        quotas: Mapping[str, int] = ...,
        plane: Plane | None = None,
    ) -> None:
        """Start the threads.

        Args:
            methods: every method by its path; whether its clients stream, and whether its server does.
            shards: how many threads carry calls.
            max_message_bytes: the longest message that is taken, as sent and when inflated.
            max_message_values: how many values may be in one.
            max_compression_ratio: how many times as many bytes as were sent a message may be inflated to, if that is
                more than 4 MiB.
            max_connections: how many may be open at once; for one more, one that brings nothing is closed.
            connection_calls: how many calls of one connection may be in progress at once; twice as many with those that
                still run in Python after their client's reset.
            request_time_s: how long a request may take to come, beyond a second for each KiB of it; for each 64 KiB if
                it is longer than 256 KiB.
            stream_silence_s: how long a stream's client may say nothing while nothing of its is under way.
            silent_streams: how many may be at once; the one of a thread that is silent the longest makes room for the
                next.
            memory_bytes: what all that callers make the process hold may take together. What does not fit is refused
                with RESOURCE_EXHAUSTED and `MEMORY_FULL`, those who hold the most first.
            shapes: what `turnout_server.transport.values.shape_of` says of messages, by their method's path. Values are
                counted by it, and in other messages not at all.
            headers_first: whether an error has headers of its own before its trailers, instead of both in one.
            urgent: paths of methods whose calls are every other event, where such and others wait.
            quotas: how many calls of a method, by its path, may be in Python at once; one more is refused with
                RESOURCE_EXHAUSTED and `TOO_MANY_CALLS`, and never heard of.
            plane: answers what it can by itself; None for nothing.

        Raises:
            ValueError: a number is out of its range.
            OSError: threads or file descriptors are not to be had.
        """

    @property
    def connections(self) -> int:
        """How many connections are open."""

    @property
    def memory(self) -> tuple[int, int]:
        """How many bytes of `memory_bytes` are taken, and how many there are."""

    def counts(self) -> dict[str, int]:
        """Return what has come of connections and calls, and how late the reactors were, by names of
        `turnout_server/instruments/transport.py`.
        """

    def listen(self, fds: Sequence[int]) -> None:
        """Take connections on sockets that listen. They are duplicated: the caller closes its own.

        Raises:
            OSError: one is no socket.
        """

    def fileno(self) -> int:
        """Return the file descriptor that is readable while there are events."""

    def events(self, most: int) -> list[Event]:
        """Take *most* events or fewer; where it is none, nothing is readable any more.

        Those of calls that are over come first, and then those of the connections that have had the fewest. Each
        connection's come in their order, but for urgent calls'; a call that is over before it was told of never comes.
        """

    def answer(self, id: int, message: bytes) -> None:
        """Answer a call with one message and OK: its last word."""

    def send(self, id: int, message: bytes) -> None:
        """Send one message of several. Whoever has much unsent waits for `SentEvent` before it sends more."""

    def end(self, id: int, code: int, message: str = "", trailers: Sequence[tuple[str, str | bytes]] = ()) -> None:
        """End a call with a status of gRPC's: its last word. Values of names with `-bin` are bytes.

        Raises:
            ValueError: *code* is none.
        """

    def more(self, id: int, span: tuple[str, str] | None = None) -> None:
        """Ask for the next message of a client that streams.

        Of a stream whose messages the plane answers, only those come here that it leaves to Python. Each gets one
        answer, in their order; and none is read before this is called.

        Args:
            id: the call's.
            span: the call's, if that is recorded, as `traceparent` and `tracestate`: with the first wish.
        """

    def drain(self) -> None:
        """Begin the end: take no connections, and tell clients to go elsewhere; calls on their way are still taken."""

    def close(self, timeout_s: float) -> None:
        """End every call in progress with UNAVAILABLE, and each connection when its answers have been read, or
        *timeout_s* have passed. A second call may shorten the time.

        Raises:
            ValueError: *timeout_s* is no length of time.
        """

# ---------------------------------------------------------------- the data plane: inferences without Python

Told = tuple[list[Any], list[Any], list[Any], list[Any], Page | None]
"""What has ended: decisions, which the others name by their place; requests that ended alike; runs that did; what
failing models said, for the log; and the records of single requests, if somebody keeps those and there are any.
`turnout_server.engine.records` says what is in the others."""

@final
class Page:
    """Records of single requests, in columns, in the order of their numbers."""

    def __len__(self) -> int: ...
    @property
    def lost(self) -> int:
        """How many more there were no room for: they came after those that are here."""

    def exposures(self) -> dict[tuple[str, str, str], int]:
        """Return how many of them are exposures, by `turnout_server.vocabulary.exposure.Arm`. Other threads run
        meanwhile.
        """

    def lost_exposures(self) -> dict[tuple[str, str, str], int]:
        """Return how many of those are that there were no room for, likewise."""

    def keep(self, count: int) -> None:
        """Lose all but the first *count*."""

    def join(self, later: Page) -> None:
        """Take what another page has, whose numbers are higher.

        Raises:
            ValueError: it is the same page.
        """

    def encode(self, key: bytes, key_id: str) -> tuple[object, object]:
        """Return the journal's columns, those of `turnout_server.journal.columns.SCHEMA`, as Arrow's capsules: of the
        schema, and of an array of structs. Other threads run meanwhile.

        Args:
            key: units are hashed with it.
            key_id: what rows call it.

        Raises:
            ValueError: the key is empty or has more than 64 bytes, or there are more than 2 GiB of texts in a column.
        """

def write_segment(
    path: str | PathLike[str],
    columns: Sequence[tuple[str, str, int | str | None]],
    batches: Sequence[Any],
    pairs: dict[str, str],
) -> None:
    """Write a Parquet file, compressed by zstd. Other threads run meanwhile.

    Args:
        path: where; what is there is overwritten.
        columns: of each its name, type in DuckDB's words, and what all rows have there: an INTEGER or a VARCHAR; None
            where batches say it, or no row has a value.
        batches: rows as `__arrow_c_array__` gives them, texts plain or by numbers of 32 bits.
        pairs: what the file says of itself.

    Raises:
        OSError: the file cannot be written.
        ValueError: batches have other columns, or one has more than 2 GiB in a batch.
    """

@final
class Plane:
    """What the engine answers by itself: `inference.GRPCInferenceService/ModelInfer`, the messages of its
    `ModelStreamInfer`, and of `turnout.v1` `InferenceService/Infer`, `RankingService/Rank`,
    `PricingService/PredictPrice` and `RecommendationService/Recommend`.

    Whatever else comes, and whatever would be refused, it hands to Python before anything of it was counted.

    Its bounds are those of the process: what Python has in progress, waiting and running is counted here too.
    """

    def __init__(self, settings: bytes) -> None:
        """Make a plane that serves nothing yet.

        Args:
            settings: JSON, as `turnout_server.engine.plane` writes it.

        Raises:
            ValueError: the settings cannot be read.
        """

    def serve(self, snapshot: bytes, servables: Sequence[Servable]) -> None:
        """Answer by *snapshot*, from `turnout_server.engine.snapshot.names`, with *servables* from now on.

        Raises:
            ValueError: the snapshot cannot be read.
        """

    def ended(self) -> Told:
        """Return what has ended since this or `number` was asked."""

    def count_in(self, path: str, offset: int) -> None:
        """Keep the number of the next end at *offset* of a file from now on: eight bytes, little-endian. An answer goes
        out after that.

        Raises:
            OSError: the file cannot be opened.
        """

    def number(
        self,
    ) -> tuple[Told, int]:
        """Return what `ended` does, and the number of the next end, for a request that Python has served."""

    def spans(self, *, rest: bool) -> tuple[int, bytes] | None:
        """Return the oldest spans and how many they are, as fields of OTLP's `ScopeSpans`; None where too few wait.

        From any thread.

        Args:
            rest: whether fewer than a batch will do.
        """

    @property
    def spans_lost(self) -> int:
        """How many spans were lost since too many waited."""

    def close(self) -> None:
        """Hand every call to Python from now on."""

    def copies(self, most: int) -> tuple[list[Any], list[Any]]:
        """Return the oldest requests that mirrors get copies of, and the copies dropped since this was asked.

        `turnout_server.engine.copies` says what is in each.

        Args:
            most: how many copies; of one request there may be more.
        """

    @property
    def declined(self) -> int:
        """How many calls of its methods, and messages of streams, were left to Python."""

    @property
    def inside(self) -> int:
        """How many calls are in progress here, without Python's."""

    @property
    def messages(self) -> int:
        """How many messages of streams are being answered here; their calls are Python's."""

    def enter(self) -> bool:
        """Count a call of Python's in; return False where there are as many as may be, here and in Python together."""

    def leave(self) -> None:
        """Count a call of Python's out."""

    @property
    def total(self) -> Room:
        """What waits for all versions, here and in Python."""

    @property
    def runs(self) -> int:
        """How many runs there are in threads, here and in Python."""

    def start_or_want(self, servable: int, cost_ns: float) -> bool:
        """Start a run of Python's that should take so long, if the version may start one now; else note that it wants
        one. Versions are those that servables have, by their ids; a version that has no servable has an id, too.
        """

    def forgo(self, servable: int) -> None:
        """Note that the version wants no run in Python any more."""

    def finish(self, servable: int) -> None:
        """Note that a run of Python's has ended."""

    def chosen(self) -> list[int]:
        """Take the ids of those that have wanted a run in Python and may start one now, each as often as it counts as
        started already. Who has nothing to run says `finish`.
        """

    def fileno(self) -> int:
        """Return the file descriptor that is readable while there are any."""

@final
class Room:
    """What waits for a version or for all, and how much may: counted by shards and by Python alike, from any thread."""

    def __init__(self, rows: int, nbytes: int) -> None:
        """Begin empty, with room for so many rows and bytes of inputs."""

    @property
    def count(self) -> int:
        """How many requests wait."""

    @property
    def rows(self) -> int:
        """How many rows wait."""

    def fits(self, rows: int, nbytes: int, /) -> bool:
        """Say whether so much more may wait; where nothing waits, anything may."""

    def reserve(self, rows: int, nbytes: int, /) -> bool:
        """Count what starts to wait if it fits, and say whether it does."""

    def take(self, rows: int, nbytes: int, /) -> None:
        """Count what starts to wait."""

    def give_back(self, rows: int, nbytes: int, /) -> None:
        """Count what has stopped waiting."""

@final
class Servable:
    """A version that the plane can answer for."""

    def __init__(self, plane: Plane, settings: bytes, signature: bytes, session: Session, room: Room) -> None:
        """Make a servable.

        Args:
            plane: where it is to serve.
            settings: JSON, as `turnout_server.engine.plane` writes it.
            signature: JSON from `turnout_server.engine.snapshot.signature`.
            session: runs it.
            room: counts what waits for it.

        Raises:
            ValueError: JSON that cannot be read, or a session without such inputs and outputs.
        """

    @property
    def holds(self) -> int:
        """How many requests and runs of it there are. What `Plane.ended` returns after this was 0 has all of them."""

    @property
    def timed_out(self) -> int:
        """How many of its runs in threads were ended since they took longer than `run_timeout_ns`."""

    def take_notes(self) -> tuple[int, list[tuple[int, int, int]]]:
        """Return how many rows `Rank` and `PredictPrice` had since this was asked, and what was odd about features.

        That is each odd feature's place among those of all inputs, the number of the kind (`tasks.features.Odd`), and
        how many rows.
        """

# ---------------------------------------------------------------- sessions: ONNX Runtime without a binding of its own

class OnnxRuntimeError(Exception):
    """ONNX Runtime failed. The text names nodes and files of the graph: for the log."""

class InputRejectedError(OnnxRuntimeError):
    """Values or sizes do not fit the graph: the caller's fault."""

class RunTerminatedError(OnnxRuntimeError):
    """The run was told to end."""

def load_onnxruntime(path: str) -> str:
    """Load ONNX Runtime's shared library for this process, and return its version; again is nothing.

    `ORT_DISABLE_TELEMETRY` must be in the environment.

    Raises:
        OnnxRuntimeError: it cannot be loaded or is too old, or another one is loaded.
    """

def last_run_bytes() -> int:
    """Return the most bytes that this thread's last run had at once, beside its inputs, outputs among them."""

class RunOptions:
    """Ends runs from outside: any number of runs, one after another or at once."""

    def __new__(cls) -> RunOptions: ...
    def terminate(self) -> None:
        """End the runs that have these options, soon, and let none begin. From any thread."""

    def reset(self) -> None:
        """Let runs go on again. No run with these options may be under way."""

class Session:
    """A graph, ready to run from any thread."""

    def __new__(
        cls, path: str, intra_op_threads: int = 1, spinning: bool = False, extensions: str | None = None
    ) -> Session:
        """Open the graph in a file; other threads run meanwhile.

        Args:
            path: of the graph; its external data are looked for beside it.
            intra_op_threads: how many threads share one run; 1 is the caller's own.
            spinning: whether idle threads of these spin.
            extensions: a library of operators that the graph needs, which stays loaded; None for none.

        Raises:
            OnnxRuntimeError: ONNX Runtime cannot load it, or was not loaded itself.
        """

    @property
    def inputs(self) -> list[tuple[str, str, list[int | str | None]]]:
        """What must be given: name, type as ONNX Runtime writes it (`tensor(float)`), and sizes.

        A free size is a name, or None where it has none.
        """

    @property
    def outputs(self) -> list[tuple[str, str, list[int | str | None]]]:
        """What comes out, as `inputs`."""

    def run(self, inputs: dict[str, Any], outputs: tuple[str, ...], options: RunOptions | None = None) -> list[Tensor]:
        """Run the graph once, on the calling thread; other threads run meanwhile.

        Args:
            inputs: NumPy arrays, every one; object arrays for BYTES, and uint16 for a graph's BF16.
            outputs: those wanted, which come in this order.
            options: to end the run with; None where nobody will.

        Raises:
            InputRejectedError: the graph refused the inputs.
            RunTerminatedError: `options` ended it.
            OnnxRuntimeError: it failed in another way, or the session is closed.
            TypeError: an array's dtype is none of the protocol's.
        """

    def close(self) -> None:
        """Free the session once no run is under way, and give its memory back to the system."""

class Tensor:
    """An output. `numpy.asarray` wraps its elements without a copy, read-only; BYTES have `texts` instead."""

    @property
    def dtype(self) -> str:
        """As the protocol calls it."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    def texts(self) -> list[str]:
        """Return the elements of BYTES, row-major.

        Raises:
            ValueError: they are no texts; as `UnicodeDecodeError`, not UTF-8.
        """

    def __buffer__(self, flags: int, /) -> memoryview: ...

# ---------------------------------------------------------------- twins, for the tests that hold them against Python's

def uniform(salt: str, target: str, unit: str) -> float:
    """Return `routing.split.uniform` of the same."""

def score(salt: str, target: str, unit: str, weight: float) -> float:
    """Return a target's score for a unit, of which the lowest of a route's wins: `-log(uniform) / weight`."""

def decide(
    snapshot: bytes, name: str, version: str, unit: str, headers: dict[str, str], draw: float
) -> tuple[str, str, str, int, str, str, int, float | None, str, str, tuple[str, str, bool | None], bool] | None:
    """Return who answers by a snapshot from `turnout_server.engine.snapshot.names`, or None: Python has to say.

    Returns:
        Route, target, model, version, reason, assigned target, override or -1, propensity, table digest, epoch; of the
        experiment its name, its layer and whether the unit takes part; and whether the route has mirrors.

    Raises:
        ValueError: the snapshot cannot be read.
    """

def count_values(message: bytes, shape: Sequence[Mapping[int, int]], most: int) -> int:
    """Return how many values are in a message, as `turnout_server.transport.values.count`.

    Raises:
        ValueError: that is no shape.
    """

def parse_infer(
    message: bytes, metadata: dict[str, str], signature: bytes
) -> tuple[str, str, str, str, str, int | None, int, list[tuple[str, list[int], bytes]], int, int, list[str]] | None:
    """Read a `ModelInferRequest` for a signature from `turnout_server.engine.snapshot.signature`, or None.

    Returns:
        Name, version, unit, the request's own id, the request id, timeout in microseconds, the priority's level, inputs
        in the signature's order (dtype, shape, raw contents), rows, size, and the outputs wanted.

    Raises:
        ValueError: the signature cannot be read.
    """

def page(
    boot: str,
    records: Sequence[
        tuple[
            int,
            int,
            int,
            str,
            tuple[str, str, str, int, str, str, int, float | None, str, str, tuple[str, str, bool | None]],
            str,
            str,
            int,
            int | None,
            str,
        ]
    ],
) -> Page:
    """Return a page of records: number, arrival and duration in nanoseconds, code, decision (as in `decide`, up to the
    experiment), unit, request id, rows, nanoseconds in a queue, and traceparent.

    Raises:
        ValueError: a code or a reason is unknown.
    """

def parse_typed(
    method: str, message: bytes, metadata: dict[str, str], signature: bytes
) -> tuple[str, str, str, str, list[tuple[str, list[int], bytes]], int, int, list[str]] | None:
    """Read a request of `Infer`, `Rank`, `PredictPrice` or `Recommend` for a signature as above, or None.

    Args:
        method: `package.Service/Method`.
        message: the request.
        metadata: the call's.
        signature: as above.

    Returns:
        Name, version, unit, request id, inputs in the signature's order (dtype, shape, raw contents), rows, size, and
        the outputs wanted.

    Raises:
        ValueError: the signature cannot be read, or there is no such method.
    """

def answer_typed(
    method: str,
    message: bytes,
    decision: tuple[str, str, str, int, str, str, float | None],
    request_id: str,
    outputs: list[tuple[str, str, list[int], bytes]],
) -> tuple[bytes | None, tuple[str, str] | None]:
    """Write the answer to a typed request, or return why *outputs* are none: a reason and a text.

    Args:
        method: as above.
        message: the request, which is one that `parse_typed` takes.
        decision: as of `encode_infer`.
        request_id: the one in our records.
        outputs: those wanted, as of `encode_infer`.

    Raises:
        ValueError: a reason, dtype or method is unknown.
    """

def encode_infer(
    decision: tuple[str, str, str, int, str, str, float | None],
    id: str,
    request_id: str,
    outputs: list[tuple[str, str, list[int], bytes]],
) -> bytes:
    """Write a `ModelInferResponse` with raw outputs: name, dtype, shape, raw contents.

    Args:
        decision: route, target, model, version, reason, assigned target, propensity.
        id: the request's own.
        request_id: the one in our records.
        outputs: of any dtype.

    Raises:
        ValueError: a reason or a dtype is unknown, BYTES are none, or there are more bytes than protobuf can carry.
    """
