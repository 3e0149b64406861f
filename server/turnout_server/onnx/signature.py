"""The signature of a graph: read from it, and compared with what a manifest claims."""

from __future__ import annotations

from turnout_server.onnx.session import Argument, Session
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

_DTYPES = {
    "tensor(bool)": DType.BOOL,
    "tensor(uint8)": DType.UINT8,
    "tensor(uint16)": DType.UINT16,
    "tensor(uint32)": DType.UINT32,
    "tensor(uint64)": DType.UINT64,
    "tensor(int8)": DType.INT8,
    "tensor(int16)": DType.INT16,
    "tensor(int32)": DType.INT32,
    "tensor(int64)": DType.INT64,
    "tensor(float16)": DType.FP16,
    "tensor(bfloat16)": DType.BF16,
    "tensor(float)": DType.FP32,
    "tensor(double)": DType.FP64,
    "tensor(string)": DType.BYTES,
}


def read_signature(session: Session, batched: bool | None = None) -> Signature:
    """Return the signature that a session's graph has.

    Args:
        session: an open session.
        batched: whether rows are independent, which no graph says; None guesses yes where every input and output
            begins with an axis of one and the same symbolic size.

    Raises:
        InvalidModelError: an input, or every output, is not a tensor of a dtype that the protocol knows.
    """
    served = [argument for argument in session.get_outputs() if argument.type in _DTYPES] or session.get_outputs()
    arguments = [*session.get_inputs(), *served]
    if batched is None:
        leading = {argument.shape[0] if argument.shape else 1 for argument in arguments}
        batched = len(leading) == 1 and isinstance(leading.pop(), str)
    return Signature(
        inputs=tuple(_spec(argument) for argument in session.get_inputs()),
        outputs=tuple(_spec(argument) for argument in served),
        batched=batched,
    )


def left_out(session: Session) -> dict[str, str]:
    """Return the types of those outputs that no signature has, since they are no tensors, by name."""
    return {argument.name: argument.type for argument in session.get_outputs() if argument.type not in _DTYPES}


def _spec(argument: Argument) -> TensorSpec:
    dtype = _DTYPES.get(argument.type)
    if dtype is None:
        # skl2onnx and onnxmltools end classifiers so, unless told otherwise.
        advice = "; export it with zipmap=False" if argument.type.startswith("seq(map(") else ""
        raise InvalidModelError(f"{argument.name!r} is a {argument.type}; expected a tensor of a known dtype{advice}")
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in argument.shape)
    return TensorSpec(name=argument.name, dtype=dtype, shape=shape)


def check_signature(claimed: Signature, actual: Signature) -> None:
    """Compare what a manifest claims with what its graph has.

    Every input of the graph must be claimed, and every claimed output must exist; sizes must agree where both are
    fixed.

    Raises:
        InvalidModelError: they differ; the message names the tensor.
    """
    _check_side("input", claimed.inputs, actual.inputs)
    missing = {spec.name for spec in actual.inputs} - {spec.name for spec in claimed.inputs}
    if missing:
        raise InvalidModelError(f"the manifest leaves out the graph's input {min(missing)!r}")
    _check_side("output", claimed.outputs, actual.outputs)
    if not claimed.outputs:
        raise InvalidModelError("the manifest names no output")


def _check_side(side: str, claimed: tuple[TensorSpec, ...], actual: tuple[TensorSpec, ...]) -> None:
    by_name = {spec.name: spec for spec in actual}
    for spec in claimed:
        found = by_name.get(spec.name)
        if found is None:
            raise InvalidModelError(f"the graph has no {side} {spec.name!r}; it has {', '.join(by_name)}")
        if found.dtype != spec.dtype:
            raise InvalidModelError(f"{side} {spec.name!r} is {found.dtype} in the graph, {spec.dtype} in the manifest")
        if len(found.shape) != len(spec.shape) or any(
            have != want and -1 not in (have, want) for have, want in zip(found.shape, spec.shape, strict=True)
        ):
            raise InvalidModelError(
                f"{side} {spec.name!r} has shape {list(found.shape)} in the graph, {list(spec.shape)} in the manifest"
            )
