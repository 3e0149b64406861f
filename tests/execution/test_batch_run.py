"""Requests run together, and each gets what it would have got alone."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.world import SIGNATURE, Predictor, manifest
from turnout_server.execution.batch_run import execute
from turnout_server.scheduling.item import Item
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

WITH_K = Signature((*SIGNATURE.inputs, TensorSpec("k", DType.INT64, ())), SIGNATURE.outputs)


def item(*values: float, outputs: tuple[str, ...] = (), **more: Array) -> Item:
    """Return a request with a row for each of *values*."""
    x = np.array(values, np.float32).reshape(-1, 1)
    return Item({"x": x, **more}, outputs, len(values), x.nbytes, None, lambda *answer: None)


class Fussy(Predictor):
    """Refuses whole batches in which a row is negative; remembers what it was given."""

    def __init__(self, signature: Signature = SIGNATURE) -> None:
        super().__init__(manifest(signature=signature))
        self.seen: list[Arrays] = []

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = ()) -> list[Array]:
        self.seen.append(inputs)
        if (inputs["x"] < 0).any():
            raise ValueError("negative")
        return super().run(inputs, outputs)


@given(st.lists(st.lists(st.floats(0, 1e6, width=32), max_size=5), min_size=1, max_size=8))
def test_each_request_gets_its_own_rows_in_order(requests: list[list[float]]) -> None:
    items = [item(*values) for values in requests]
    predictor = Fussy()
    (together,) = execute(predictor, items)
    assert predictor.runs == 1
    for one, answer in zip(items, together.answers, strict=True):
        alone = Fussy().run(one.inputs)
        assert [part.tolist() for part in answer] == [part.tolist() for part in alone]


@given(st.lists(st.lists(st.floats(-1, 9, width=32), min_size=1, max_size=3), min_size=2, max_size=8))
def test_only_the_guilty_fail(requests: list[list[float]]) -> None:
    items = [item(*values) for values in requests]
    executions = execute(Fussy(), items)
    assert [one for execution in executions for one in execution.items] == items
    guilty = [any(value < 0 for value in values) for values in requests]
    if not any(guilty):
        assert len(executions) == 1
        return
    assert [isinstance(execution.error, ValueError) for execution in executions] == guilty
    for execution, values in zip(executions, requests, strict=True):
        if execution.error is None:
            ((y, _),) = execution.answers
            assert y.ravel().tolist() == pytest.approx([value * 10 for value in values])


def test_a_graph_that_does_not_give_a_row_for_a_row_is_run_one_by_one() -> None:
    """Who gets which row of a sum over the batch? Nobody; so each gets its own sum."""

    class Summing(Fussy):
        def run(self, inputs: Arrays, outputs: tuple[str, ...] = ()) -> list[Array]:
            return [inputs["x"].sum(keepdims=True)]

    executions = execute(Summing(), [item(1, 2), item(3, 4)])
    assert [execution.answers[0][0].item() for execution in executions] == [3, 7]


def test_inputs_without_a_batch_axis_are_passed_once() -> None:
    k = np.array(3)
    predictor = Fussy(WITH_K)
    execute(predictor, [item(1, k=k), item(2, 3, k=k)])
    (seen,) = predictor.seen
    assert seen["x"].ravel().tolist() == [1, 2, 3]
    assert seen["k"] is k


def test_only_the_outputs_wanted_are_computed() -> None:
    (execution,) = execute(Fussy(), [item(1, outputs=("version",)), item(2, outputs=("version",))])
    assert [[part.tolist() for part in answer] for answer in execution.answers] == [[[1]], [[1]]]


def test_a_lone_request_is_run_as_it_came() -> None:
    """Nothing is copied."""
    predictor, lone = Fussy(), item(1)
    execute(predictor, [lone])
    assert predictor.seen == [lone.inputs]
    assert predictor.seen[0]["x"] is lone.inputs["x"]


def test_the_time_is_divided_among_what_it_went_into() -> None:
    """The clock's readings are 10 apart: at the start, joined, run, taken apart."""
    ticks = count(100, 10)
    (together,) = execute(Fussy(), [item(1), item(2)], lambda: next(ticks))
    assert (together.started_ns, together.input_ns, together.infer_ns, together.output_ns) == (100, 10, 10, 10)
    ticks = count(100, 10)
    first, second = execute(Fussy(), [item(-1), item(2)], lambda: next(ticks))
    assert (first.infer_ns, first.answers, second.infer_ns) == (10, (), 10)
    assert first.started_ns < second.started_ns
