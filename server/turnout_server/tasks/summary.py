"""An answer in short, as JSON: what somebody looks at who wonders why two answers differ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from turnout_server.tasks import price, ranking, recommendation
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.tensors import BF16_BITS, Array, Arrays, numbers_of

MAX_BYTES = 1024
"""Bytes of one summary."""

_SHOWN = 10
_MAX_CHARACTERS = 40
"""Of one item id."""


def summary(task: str, outputs: Arrays) -> str:
    """Return *outputs* as a JSON object of at most `MAX_BYTES` ASCII characters.

    - recommendation: the first `item_ids` of the first list, with their `scores`;
    - ranking: the `positions` of the best candidates, with their `scores`;
    - price: `price`, `low` and `high` of the first rows;
    - tensors, and whatever is none of these: each output's `dtype`, `shape` and first `values`. Text is not shown,
      since nobody can know what is in it.

    BF16 are `BF16_BITS`, and shown as the numbers they are. Ten of each are shown, or fewer where they would not fit.
    Numbers that are not finite are texts: `"nan"`, `"inf"`.
    """
    dtypes = {name: "bfloat16" if each.dtype == BF16_BITS else str(each.dtype) for name, each in outputs.items()}
    outputs = numbers_of(outputs)
    for shown in (_SHOWN, 5, 2, 1, 0):
        text = json.dumps(_short(task, outputs, dtypes, shown), separators=(",", ":"), allow_nan=False)
        if len(text) <= MAX_BYTES:
            return text
    return json.dumps({"outputs": len(outputs)}, separators=(",", ":"))


def _short(task: str, outputs: Arrays, dtypes: Mapping[str, str], shown: int) -> dict[str, Any]:
    match task:
        case Task.RECOMMENDATION if outputs.keys() >= set(recommendation.OUTPUTS):
            return {name: _first(outputs[name], shown, text=True) for name in recommendation.OUTPUTS}
        case Task.RANKING if len(outputs) == 1 or ranking.SCORE in outputs:
            scores = next(iter(outputs.values())) if len(outputs) == 1 else outputs[ranking.SCORE]
            if scores.dtype.kind in "fiub":
                best = ranking.order(scores.reshape(-1).astype(float), max(shown, 1))[:shown]
                return {"positions": [each.position for each in best], "scores": [_number(each.score) for each in best]}
        case Task.PRICE if outputs.keys() >= set(price.OUTPUTS):
            return {name: _first(outputs[name], shown) for name in price.OUTPUTS}
    return {
        name: {"dtype": dtypes[name], "shape": list(output.shape), "values": _first(output, shown)}
        for name, output in outputs.items()
    }


def _first(output: Array, shown: int, *, text: bool = False) -> list[Any]:
    """Return the first *shown* elements of the first row, or of all if there is one dimension."""
    row = output[:1].reshape(-1) if text else output.reshape(-1)
    if row.dtype.kind not in "fiub" and not text:
        return []
    return [_number(each) for each in row[:shown].tolist()]


def _number(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_MAX_CHARACTERS]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
