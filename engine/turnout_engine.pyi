from typing import Any

# ---------------------------------------------------------------- twins, for the tests that hold them against Python's

def uniform(salt: str, target: str, unit: str) -> float:
    """Return `routing.split.uniform` of the same."""

def decide(
    snapshot: bytes, name: str, version: str, unit: str, headers: dict[str, str], draw: float
) -> tuple[str, str, str, int, str, str, int, float | None, str, str, bool] | None:
    """Return who answers by a snapshot from `turnout_server.engine.snapshot.names`, or None: Python has to say.

    Returns:
        Route, target, model, version, reason, assigned target, override or -1, propensity, table digest, epoch, and
        whether the route has mirrors.

    Raises:
        ValueError: the snapshot cannot be read.
    """

def parse_infer(
    message: bytes, metadata: dict[str, str], signature: bytes
) -> tuple[str, str, str, str, str, int | None, int, list[tuple[str, list[int], bytes]], int, int, list[str]] | None:
    """Read a `ModelInferRequest` for a signature from `turnout_server.engine.snapshot.signature`, or None.

    Returns:
        Name, version, unit, the request's own id, the request id, timeout in microseconds, the priority's level, inputs
        in the signature's order (dtype, shape, bytes), rows, size, and the outputs wanted.

    Raises:
        ValueError: the signature cannot be read.
    """

def encode_infer(
    decision: tuple[str, str, str, int, str, str, float | None],
    id: str,
    request_id: str,
    outputs: list[tuple[str, str, list[int], bytes]],
) -> bytes:
    """Write a `ModelInferResponse` with raw outputs: name, dtype, shape, bytes.

    Args:
        decision: route, target, model, version, reason, assigned target, propensity.
        id: the request's own.
        request_id: the one in our records.
        outputs: numbers only.

    Raises:
        ValueError: a reason or a dtype is unknown, or there are more bytes than protobuf can carry.
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

class RunOptions:
    """Ends runs from outside: any number of runs, one after another or at once."""

    def __new__(cls) -> RunOptions: ...
    def terminate(self) -> None:
        """End the runs that have these options, soon, and let none begin. From any thread."""

    def reset(self) -> None:
        """Let runs go on again. No run with these options may be under way."""

class Session:
    """A graph, ready to run from any thread."""

    def __new__(cls, path: str, intra_op_threads: int = 1, spinning: bool = False) -> Session:
        """Open the graph in a file; other threads run meanwhile.

        Args:
            path: of the graph; its external data are looked for beside it.
            intra_op_threads: how many threads share one run; 1 is the caller's own.
            spinning: whether idle threads of these spin.

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
