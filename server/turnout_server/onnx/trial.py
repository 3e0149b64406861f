"""A version tried out: ONNX's own check, the session, the signature, and a warm-up that measures.

A hostile graph can do anything here: hang, take all memory, crash the process. A gateway therefore has it done in
children of its own (`turnout_server.onnx.children`). `turnout publish` does it in place: whoever is at the terminal
sees the crash and can end what hangs, nothing else is in that process, and what was staged has not appeared yet.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from turnout_server.onnx.by_value import is_by_value
from turnout_server.onnx.conversation import Step
from turnout_server.onnx.extensions import library_for
from turnout_server.onnx.loader import binding, open_servable
from turnout_server.onnx.said import what_was_said
from turnout_server.onnx.session import OnnxServable, OpenSession
from turnout_server.onnx.signature import left_out, read_signature
from turnout_server.store.manifest import MODEL_FILE, Manifest, RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError, TurnoutError, enumerated
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, bf16_of, fp32_of

WARM_UP_ROWS = (1, 64)
WARM_UP_RUNS = 5
WARM_UP_S = 1.0
"""A size whose runs have taken so long, in seconds, is not run again."""
MAX_WARM_UP_BYTES = 1 << 30
"""What a request of one row may need for its inputs."""
MANY_ROWS_BYTES = 1 << 26
"""What the inputs of the larger warm-up may take; where they take more, one row has to do."""
_COMPANY = 3
"""Rows that are run together to see whether they stay out of each other's way."""
_SHARE_OF_SPREAD = 1e-2
"""By how much of what rows differ by an answer may change in company and count as the same."""
_ROUNDING = 1e-5
"""By how much of itself besides: what sums in another order make of FP32."""
_ROUNDING_OF_HALF = 1e-2
"""The same of FP16 and BF16."""
_ROUNDING_AT_ZERO = 1e-6


class Loaded(NamedTuple):
    """A version in memory, and what its warm-up showed."""

    servable: OnnxServable
    measured: dict[int, int]
    """The best run time in nanoseconds, by number of rows."""
    independent: bool
    """Whether a row's answer was the same alone and in company, as the manifest says of a batched signature."""
    by_value: bool
    """Whether values may decide what a run costs, and not shapes alone."""
    needs: Mapping[int, int]
    """The most bytes that a run had, its inputs among them, by number of rows; none where nobody counts."""
    extensions: bool = False
    """Whether it has operators of onnxruntime-extensions."""


def load(
    directory: Path,
    manifest: Manifest,
    open_session: OpenSession | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
    extensions: bool = True,
) -> Loaded:
    """Load a version whose digests have been verified, and try it out.

    Args:
        directory: with its files.
        manifest: what it claims.
        open_session: opens the graph; None for ONNX Runtime's own binding.
        on_step: told of each step before it is taken.
        extensions: whether it may have operators of onnxruntime-extensions.

    Raises:
        InvalidModelError: the graph is broken, differs from the manifest, or fails in the warm-up.
    """
    on_step(Step.CHECK)
    check_graph(directory / MODEL_FILE)
    try:
        by_value = is_by_value(directory / MODEL_FILE)
        library = library_for(directory / MODEL_FILE, extensions)
    except OSError as error:  # removed, or a disk that fails, since it was checked
        raise InvalidModelError(f"{MODEL_FILE} cannot be read any more: {error.strerror}") from error
    on_step(Step.OPEN)
    servable = open_servable(directory, manifest, open_session or binding(), library)
    on_step(Step.RUN)
    measured, needs = warm_up(servable)
    independent = rows_are_independent(servable)
    return Loaded(servable, measured, independent, by_value, needs, library is not None)


def check_graph(path: Path) -> None:
    """Run ONNX's own check.

    Raises:
        InvalidModelError: it fails, or there is no such file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InvalidModelError(f"the version has no {path.name}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InvalidModelError(f"{path.name} is not a file")
    try:
        onnx.checker.check_model(str(path))
    except Exception as error:
        said = what_was_said(error, path.parent)
        raise InvalidModelError(f"{path.name} is not a valid ONNX model: {said}") from error


class Inspected(NamedTuple):
    """What a bare graph says of itself."""

    signature: Signature
    left_out: dict[str, str]
    """Types of outputs that cannot be served, by name."""


def inspect(
    path: Path, batched: bool | None = None, open_session: OpenSession | None = None, extensions: bool = True
) -> Signature:
    """Return the signature of the graph at *path*; see `look_at`."""
    return look_at(path, batched, open_session, extensions).signature


def look_at(
    path: Path, batched: bool | None = None, open_session: OpenSession | None = None, extensions: bool = True
) -> Inspected:
    """Return what the graph at *path* says, for publishing a bare file; see `read_signature`.

    Args:
        path: the graph.
        batched: whether rows are independent; None for a guess.
        open_session: opens the graph; None for ONNX Runtime's own binding.
        extensions: whether it may have operators of onnxruntime-extensions.

    Raises:
        InvalidModelError: the graph is broken or has inputs or outputs that cannot be served.
    """
    check_graph(path)
    session = (open_session or binding())(path, RuntimeOptions(), library_for(path, extensions))
    return Inspected(read_signature(session, batched), left_out(session))


def warm_up(servable: OnnxServable) -> tuple[dict[int, int], dict[int, int]]:
    """Run the graph on made-up inputs: each input's default, or zeros.

    Returns:
        The shortest run time in nanoseconds, by number of rows. The most bytes that a run had, likewise.

    Raises:
        InvalidModelError: a run fails.
    """
    best: dict[int, int] = {}
    needs: dict[int, int] = {}
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
                said = what_was_said(error.__cause__ or error)
                raise InvalidModelError(
                    f"the warm-up run with {rows} made-up {'row' if rows == 1 else 'rows'} failed: {said}"
                    f"; {_cure(specs, rows)}"
                ) from error
            times.append(time.perf_counter_ns() - started)
            if (taken := servable.run_bytes()) is not None:
                needs[rows] = max(needs.get(rows, 0), nbytes + taken)
        best[rows] = min(times)
    return best, needs


def _cure(specs: Sequence[TensorSpec], rows: int) -> str:
    """Say what may be done about a warm-up that fails."""
    if rows > 1:
        return "one row runs: export the graph with a free batch axis, or publish it with --no-batched"
    plain = [spec.name for spec in specs if spec.default is None and not any(one.default for one in spec.columns)]
    if not plain:
        return "it was given the manifest's defaults"
    given = "empty texts" if all(spec.dtype is DType.BYTES for spec in specs) else "zeros and empty texts"
    return f"it was given {given}; where it needs others, a default in the manifest may cure it: {enumerated(plain)}"


def rows_within(measured: Mapping[int, int], run_s: float = 1.0) -> int | None:
    """Return how many rows run for *run_s* seconds, in proportion to the largest number measured; a power of two.

    None where only single rows were measured: what a run costs whatever its size would count as each row's.
    """
    rows = max(measured, default=1)
    if rows < max(WARM_UP_ROWS):
        return None
    return 1 << max(int(run_s * 1e9 * rows / max(measured[rows], 1)), rows).bit_length() - 1


def rows_are_independent(servable: OnnxServable) -> bool:
    """Say whether made-up rows get the same answers together as each alone, up to rounding.

    A softmax or a normalisation over the batch axis shows here; a dependence that needs particular values does not.
    Without a batch axis, or where the rows do not run, the answer is False.
    """
    signature = servable.signature
    if not signature.has_batch_axis or sum(_nbytes(spec, _COMPANY) for spec in signature.inputs) > MANY_ROWS_BYTES:
        return False
    random = np.random.default_rng(0)
    together = {spec.name: _varied(spec.dtype, made_up(spec, _COMPANY), random) for spec in signature.inputs}
    dtypes = [spec.dtype for spec in signature.outputs]
    try:
        joint = servable.run(together)
        for row in range(_COMPANY):
            alone = servable.run(together | {name: together[name][row : row + 1] for name in signature.rowwise})
            if not all(_same(*each, row) for each in zip(dtypes, alone, joint, strict=True)):
                return False
    except TurnoutError:
        return False
    return True


def _varied(dtype: DType, array: Array, random: np.random.Generator) -> Array:
    """Return *array* with noise where it has floats; what integers and texts may be, only the graph knows."""
    if dtype is DType.BF16:
        return bf16_of(fp32_of(array) + random.standard_normal(array.shape))
    return array + random.standard_normal(array.shape).astype(array.dtype) if array.dtype.kind == "f" else array


def _same(dtype: DType, alone: Array, joint: Array, row: int) -> bool:
    if len(joint) != _COMPANY or alone.shape[1:] != joint.shape[1:] or len(alone) != 1:
        return False
    if dtype is DType.BF16:
        alone, joint = fp32_of(alone), fp32_of(joint)
    # Integers are often ranks or choices, which rounding may turn around.
    if alone.dtype.kind != "f":
        return True
    # By how much rows differ, not by how large they are: a price of 4,000 must not hide what a neighbour adds to it.
    rounding = _ROUNDING_OF_HALF if dtype in (DType.FP16, DType.BF16) else _ROUNDING
    one, all_rows = alone[0].astype(np.float64), joint.astype(np.float64)
    other = all_rows[row]
    numbers = np.where(np.isfinite(all_rows), all_rows, one)
    with np.errstate(invalid="ignore"):
        spread = numbers.max(axis=0) - numbers.min(axis=0)
        near = np.abs(one - other) <= _SHARE_OF_SPREAD * spread + rounding * np.abs(other) + _ROUNDING_AT_ZERO
    return bool(np.all(near | (one == other) | (np.isnan(one) & np.isnan(other))))


def made_up(spec: TensorSpec, rows: int) -> Array:
    """Return an array that fits *spec*: a free leading axis has *rows* rows, every other free axis has size 1.

    Raises:
        InvalidModelError: the default is not one.
    """
    shape = _shape(spec, rows)
    dtype = NUMPY_DTYPES[spec.dtype]
    if spec.dtype is DType.BF16:
        given = [column.default or 0.0 for column in spec.columns] or [float(spec.default or 0.0)]
        return np.broadcast_to(bf16_of(np.array(given)), shape).copy()
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
