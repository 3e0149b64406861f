"""Models in Triton's terms."""

from __future__ import annotations

import pytest

from turnout_server.gateway.catalog import Description
from turnout_server.instruments.statistics import Duration, VersionStatistics
from turnout_server.rpc.open_inference import model_descriptions
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

X, K, Y = (TensorSpec(name, DType.FP32, shape) for name, shape in (("x", (-1, 4)), ("k", (1,)), ("y", (-1,))))


def described(*inputs: TensorSpec) -> Description:
    manifest = Manifest(1, "m", 2, Task.PRICE, "2026-01-01T00:00:00Z", (), Signature(inputs, (Y,)))
    return Description("r", (1, 2), manifest)


def test_metadata_shapes_include_the_batch_axis() -> None:
    metadata = model_descriptions.metadata_of(described(X, K))
    assert (metadata.name, list(metadata.versions)) == ("r", ["1", "2"])
    assert [list(tensor.shape) for tensor in metadata.inputs] == [[-1, 4], [1]]


@pytest.mark.parametrize(
    ("inputs", "max_batch_size", "dims"),
    [((X,), model_descriptions.MAX_BATCH_SIZE, [4]), ((X, K), 0, [-1, 4])],
)
def test_a_configuration_leaves_it_out_where_every_input_has_it(
    inputs: tuple[TensorSpec, ...], max_batch_size: int, dims: list[int]
) -> None:
    config = model_descriptions.config_of(described(*inputs))
    assert (config.max_batch_size, list(config.input[0].dims)) == (max_batch_size, dims)
    assert config.HasField("dynamic_batching") is bool(max_batch_size)


def test_statistics_are_sorted_by_batch_size() -> None:
    counts = VersionStatistics(inference_count=9, success=Duration(3, 50))
    for rows in (4, 1, 2):
        counts.of_batches(rows).compute_infer.add(rows * 10)
    told = model_descriptions.statistics_of(VersionKey("m", 2), counts)
    assert (told.version, told.inference_count, told.inference_stats.success.ns) == ("2", 9, 50)
    assert [(one.batch_size, one.compute_infer.ns) for one in told.batch_stats] == [(1, 10), (2, 20), (4, 40)]
