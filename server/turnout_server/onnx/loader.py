"""From a version's files to a servable: ONNX's own check, the session, the signature, and a warm-up that measures."""

from __future__ import annotations

import subprocess
import sys
import time
from math import prod
from pathlib import Path

import numpy as np
import onnx

from turnout_server.errors import InvalidModelError, TurnoutError
from turnout_server.onnx.session import OnnxServable, open_session
from turnout_server.onnx.signature import check_signature, read_signature
from turnout_server.store.manifest import MODEL_FILE, DType, Manifest, RuntimeOptions, Signature, TensorSpec
from turnout_server.tensors import NUMPY_DTYPES, Array

WARM_UP_ROWS = (1, 64)
WARM_UP_RUNS = 5
WARM_UP_S = 1.0
"""A size whose runs have taken so long, in seconds, is not run again."""
MAX_WARM_UP_BYTES = 1 << 30
"""What a request of one row may need for its inputs."""
MANY_ROWS_BYTES = 1 << 26
"""What the inputs of the larger warm-up may take; where they take more, one row has to do."""
CHECKED_IN_PROCESS_BYTES = 1 << 22
"""ONNX's check stops every other thread, for 2.6 ms a megabyte as measured, so larger files are checked elsewhere."""
_CHECK = "import sys, onnx; onnx.checker.check_model(sys.argv[1])"


def load(directory: Path, manifest: Manifest) -> tuple[OnnxServable, dict[int, int]]:
    """Load a version whose digests have been verified.

    Returns:
        The servable, and its best run time in nanoseconds by number of rows, as measured in the warm-up.

    Raises:
        InvalidModelError: the graph is broken, differs from the manifest, or fails in the warm-up.
    """
    path = directory / MODEL_FILE
    check_graph(path)
    session = open_session(path, manifest.runtime)
    check_signature(manifest.signature, read_signature(session))
    servable = OnnxServable(manifest, session)
    return servable, warm_up(servable)


def check_graph(path: Path) -> None:
    """Run ONNX's own check.

    Raises:
        InvalidModelError: it fails, or there is no such file.
    """
    if not path.is_file():
        raise InvalidModelError(f"the version has no {path.name}")
    if path.stat().st_size > CHECKED_IN_PROCESS_BYTES:
        # Ctrl-C reaches a whole process group, and would make a broken model of a good one; hence one of its own.
        child = subprocess.run([sys.executable, "-c", _CHECK, path], capture_output=True, process_group=0, check=False)
        if child.returncode:
            raise InvalidModelError(f"{path.name} is not a valid ONNX model (its check ended with {child.returncode})")
        return
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        raise InvalidModelError(f"{path.name} is not a valid ONNX model ({type(error).__name__})") from error


def inspect(path: Path, batched: bool | None = None) -> Signature:
    """Return the signature of the graph at *path*, for publishing a bare file; see `read_signature`.

    Raises:
        InvalidModelError: the graph is broken or has inputs or outputs that cannot be served.
    """
    check_graph(path)
    return read_signature(open_session(path, RuntimeOptions()), batched)


def warm_up(servable: OnnxServable) -> dict[int, int]:
    """Run the graph on made-up inputs: each input's default, or zeros.

    Returns:
        The shortest run time in nanoseconds, by number of rows.

    Raises:
        InvalidModelError: a run fails.
    """
    best: dict[int, int] = {}
    specs = servable.signature.inputs
    for rows in WARM_UP_ROWS if servable.signature.batched else WARM_UP_ROWS[:1]:
        nbytes = sum(_nbytes(spec, rows) for spec in specs)
        if rows == 1 and nbytes > MAX_WARM_UP_BYTES:
            raise InvalidModelError(f"one row's inputs take {nbytes} bytes; at most {MAX_WARM_UP_BYTES} are served")
        if rows > 1 and nbytes > MANY_ROWS_BYTES:
            continue
        inputs = {spec.name: made_up(spec, rows) for spec in specs}
        times: list[int] = []
        while len(times) < WARM_UP_RUNS and sum(times) < WARM_UP_S * 1e9:
            started = time.perf_counter_ns()
            try:
                servable.run(inputs)
            except TurnoutError as error:
                raise InvalidModelError(
                    f"the warm-up run with {rows} made-up rows failed ({type(error.__cause__ or error).__name__})"
                ) from error
            times.append(time.perf_counter_ns() - started)
        best[rows] = min(times)
    return best


def made_up(spec: TensorSpec, rows: int) -> Array:
    """Return an array that fits *spec*: a free leading axis has *rows* rows, every other free axis has size 1.

    Raises:
        InvalidModelError: the default is not one.
    """
    shape = _shape(spec, rows)
    dtype = NUMPY_DTYPES[spec.dtype]
    if spec.default is not None:
        try:
            return np.full(shape, spec.default, dtype=dtype)
        except OverflowError as error:
            raise InvalidModelError(f"input {spec.name!r}: its default {spec.default!r} is no {spec.dtype}") from error
    if spec.columns:
        return np.broadcast_to(np.array([column.default or 0.0 for column in spec.columns], dtype=dtype), shape).copy()
    return np.full(shape, "", dtype=dtype) if spec.dtype is DType.BYTES else np.zeros(shape, dtype=dtype)


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return tuple((rows if axis == 0 else 1) if size < 0 else size for axis, size in enumerate(spec.shape))


def _nbytes(spec: TensorSpec, rows: int) -> int:
    return prod(_shape(spec, rows)) * NUMPY_DTYPES[spec.dtype].itemsize
