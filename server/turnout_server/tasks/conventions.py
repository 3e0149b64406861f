"""What a graph must look like for its task's typed service to be able to call it.

- price: every input is a feature, or a matrix of named ones; outputs `price`, `low` and `high`, a number a row.
- ranking: inputs as price; output `score`, or a single one of any name, a number a candidate.
- recommendation: inputs `history`, `exclude` and `k`; outputs `item_ids` and `scores`.
- tensors: anything.
"""

from __future__ import annotations

from turnout_server.tasks import price, ranking, recommendation
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

_A_NUMBER_A_ROW = ((-1,), (-1, 1))


def check_task(task: Task, signature: Signature) -> None:
    """Check that a model with *signature* can do *task*.

    Raises:
        InvalidModelError: it cannot; the message names the input or output, and says what is expected.
    """
    match task:
        case Task.PRICE:
            _check_features(task, signature)
            outputs = _outputs(task, signature, price.OUTPUTS)
            for name in price.OUTPUTS:
                _check_number_a_row(task, outputs[name])
        case Task.RANKING:
            _check_features(task, signature)
            outputs = {spec.name: spec for spec in signature.outputs}
            if len(outputs) != 1:
                outputs = _outputs(task, signature, (ranking.SCORE,))
            _check_number_a_row(task, outputs.get(ranking.SCORE) or signature.outputs[0])
        case Task.RECOMMENDATION:
            _check_recommendation(signature)
        case Task.TENSORS:
            pass


def _check_features(task: Task, signature: Signature) -> None:
    for spec in signature.inputs:
        if spec.dtype is DType.BF16:
            raise InvalidModelError(f"task {task}: input {spec.name!r} is {_shown(spec)}; features may be FP16 or FP32")
        if not spec.columns and spec.shape not in _A_NUMBER_A_ROW:
            raise InvalidModelError(
                f"task {task}: input {spec.name!r} of shape {list(spec.shape)} is no feature ([-1] or [-1, 1]); "
                "for a matrix, name its columns in the manifest"
            )
        if spec.shape[0] != -1:
            raise InvalidModelError(f"task {task}: input {spec.name!r} takes {spec.shape[0]} rows only; expected any")
        if spec.columns and spec.dtype is DType.BYTES:
            raise InvalidModelError(f"task {task}: input {spec.name!r} is a matrix of text; expected one of numbers")


def _check_recommendation(signature: Signature) -> None:
    task = Task.RECOMMENDATION
    inputs = {spec.name: spec for spec in signature.inputs}
    if inputs.keys() != {"history", "exclude", "k"}:
        raise InvalidModelError(f"task {task}: the inputs are {', '.join(inputs)}; expected history, exclude, k")
    for name in ("history", "exclude"):
        spec = inputs[name]
        if spec.dtype not in (DType.INT64, DType.INT32, DType.BYTES) or len(spec.shape) != 2 or spec.shape[1] != -1:
            raise InvalidModelError(f"task {task}: input {name!r} is {_shown(spec)}; expected INT64 or BYTES [-1, -1]")
    k = inputs["k"]
    if k.dtype not in (DType.INT64, DType.INT32) or any(size not in (1, -1) for size in k.shape):
        raise InvalidModelError(f"task {task}: input 'k' is {_shown(k)}; expected INT64 [1]")
    outputs = _outputs(task, signature, recommendation.OUTPUTS)
    for name in recommendation.OUTPUTS:
        if len(outputs[name].shape) != 2:
            raise InvalidModelError(f"task {task}: output {name!r} is {_shown(outputs[name])}; expected shape [-1, -1]")


def _outputs(task: Task, signature: Signature, wanted: tuple[str, ...]) -> dict[str, TensorSpec]:
    outputs = {spec.name: spec for spec in signature.outputs}
    for name in wanted:
        if name not in outputs:
            raise InvalidModelError(f"task {task}: there is no output {name!r}; the graph has {', '.join(outputs)}")
    return outputs


def _check_number_a_row(task: Task, spec: TensorSpec) -> None:
    if spec.dtype in (DType.BYTES, DType.BOOL, DType.BF16) or spec.shape not in _A_NUMBER_A_ROW:
        raise InvalidModelError(f"task {task}: output {spec.name!r} is {_shown(spec)}; expected FP32 [-1]")


def _shown(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"
