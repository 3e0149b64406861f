"""What a version's signature says of a request: how large it is, what may run with it, which outputs there are."""

from __future__ import annotations

from math import prod

from turnout_server.vocabulary.errors import UnknownOutputError
from turnout_server.vocabulary.signature import DType, Signature
from turnout_server.vocabulary.tensors import Arrays

_SHARED_BYTES = 1024
"""What inputs without a batch axis may take; to compare larger ones would cost more than a batch saves."""


class Measures:
    """How large requests of one signature are. Inputs have its names, dtypes and shapes."""

    __slots__ = ("_free_axes", "_leading", "_shared", "_texts", "_varying")

    def __init__(self, signature: Signature) -> None:
        """Look once at what never changes."""
        inputs, rowwise = signature.inputs, signature.rowwise
        self._free_axes = tuple(
            (spec.name, axes)
            for spec in inputs
            if (axes := tuple(axis for axis, size in enumerate(spec.shape) if size < 0))
        )
        self._varying = tuple(spec.name for spec in inputs if any(size < 0 for size in spec.shape[1:]))
        self._shared = tuple(spec.name for spec in inputs if spec.name not in rowwise)
        self._texts = tuple(spec.name for spec in inputs if spec.dtype is DType.BYTES)
        leading = rowwise or tuple(spec.name for spec in inputs)
        self._leading = leading[0] if leading else ""

    def rows(self, inputs: Arrays) -> int:
        """Return the batch size: how long the batch axis is; without one, the first axis that there is, else 1."""
        first = inputs.get(self._leading)
        if first is not None and first.ndim:
            return int(first.shape[0])
        return next((array.shape[0] for array in inputs.values() if array.ndim), 1)

    def nbytes(self, inputs: Arrays) -> int:
        """Return what the inputs take; arrays of texts do not count those themselves."""
        nbytes = sum([array.nbytes for array in inputs.values()])
        for name in self._texts:
            nbytes += sum(map(len, inputs[name].ravel().tolist()))
        return nbytes

    def size(self, inputs: Arrays, rows: int) -> int:
        """Return what the run time grows with: the free axes of the largest input, multiplied.

        That is the *rows*, and 1 at least, where no other axis is free.
        """
        if not self._varying:
            return rows or 1
        return max((prod(inputs[name].shape[axis] for axis in axes) for name, axes in self._free_axes), default=1)

    def key(self, inputs: Arrays, outputs: tuple[str, ...]) -> object:
        """Return what has to be equal for requests to run together; dtypes are the signature's already.

        None is a request that runs alone.
        """
        if not self._varying and not self._shared:
            return outputs
        shared = [inputs[name] for name in self._shared]
        if sum([array.nbytes for array in shared]) > _SHARED_BYTES:
            return None
        shapes = [inputs[name].shape[1:] for name in self._varying]
        return outputs, *shapes, *[(array.shape, *array.ravel().tolist()) for array in shared]


def outputs_wanted(known: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Return *wanted*, or all outputs when nothing was wanted in particular.

    Args:
        known: the version's outputs.
        wanted: those that a request asks for.

    Raises:
        UnknownOutputError: the version has no such output.
    """
    for name in wanted:
        if name not in known:
            raise UnknownOutputError(name, known)
    return wanted or known
