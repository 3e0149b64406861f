"""A composed graph does what it was composed of, and a wrong one is found out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from pipelines import export
from pipelines.export import Graph
from pipelines.report import PipelineError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

SIGNATURE = Signature(
    inputs=(TensorSpec("features", DType.FP32, (-1, 2)),),
    outputs=(TensorSpec("score", DType.FP32, (-1,)),),
)


def summing() -> onnx.ModelProto:
    """Return a model that adds up two features; a missing one counts 10 or 20."""
    graph = Graph()
    filled = export.fill_missing(graph, "features", [10.0, 20.0])
    added = graph.add("MatMul", filled, graph.constant(np.ones((2, 1), dtype=np.float32)))
    export.flatten(graph, added, output="score")
    return graph.close("sum", SIGNATURE)


def score(model: onnx.ModelProto, rows: list[list[float]]) -> list[float]:
    """Return the scores of *rows*."""
    matrix = np.array(rows, dtype=np.float32).reshape(-1, 2)
    return [float(value) for value in export.run(model, {"features": matrix})["score"]]


def test_a_missing_feature_counts_as_its_default() -> None:
    nan = float("nan")
    assert score(summing(), [[1, 2], [nan, 2], [1, nan], [nan, nan]]) == [3, 12, 21, 30]


def test_any_number_of_rows_is_answered() -> None:
    rows = export.CHUNK * 2 + 1
    assert score(summing(), [[1, row] for row in range(rows)]) == [row + 1 for row in range(rows)]


def test_a_spliced_model_answers_as_it_did_alone_even_twice() -> None:
    graph = Graph()
    first = graph.splice(summing(), "features")
    second = graph.splice(summing(), "features", output="score")
    graph.add("Add", first, second, output="score")
    assert score(graph.close("twice", SIGNATURE), [[1, 2], [3, 4]]) == [6, 14]


def test_an_export_within_the_tolerance_passes_and_says_how_far_off_it_is() -> None:
    feed = {"features": np.array([[1, 2], [3, 4]], dtype=np.float32)}
    far = export.verify(summing(), feed, {"score": np.array([3.0, 7.25])}, relative=0.0, absolute=0.3)
    assert far == pytest.approx(0.25)


@pytest.mark.parametrize("answer", [[3.0, 7.5], [3.0, float("nan")], [3.0, float("inf")]])
def test_an_export_beyond_the_tolerance_is_refused_and_the_row_named(answer: list[float]) -> None:
    feed = {"features": np.array([[1, 2], [3, 4]], dtype=np.float32)}
    with pytest.raises(PipelineError, match="score differs beyond the tolerance in 1 of 2 rows; row 1"):
        export.verify(summing(), feed, {"score": np.array(answer)}, relative=0.0, absolute=0.3)


def test_an_export_of_another_shape_is_refused() -> None:
    feed = {"features": np.array([[1, 2], [3, 4]], dtype=np.float32)}
    with pytest.raises(PipelineError, match=r"score is float32 \(2,\), expected float32 \(2, 1\)"):
        export.verify(summing(), feed, {"score": np.array([[3.0], [7.0]])}, relative=1.0, absolute=1.0)


def test_a_graph_that_is_not_well_formed_is_refused() -> None:
    graph = Graph()
    graph.add("Relu", "nowhere", output="score")
    with pytest.raises(onnx.checker.ValidationError):
        graph.close("broken", SIGNATURE)
