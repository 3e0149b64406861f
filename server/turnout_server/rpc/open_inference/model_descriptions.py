"""Models, as the Open Inference Protocol describes them: metadata, configuration, statistics."""

from __future__ import annotations

from turnout_server.gateway.catalog import Description
from turnout_server.instruments.statistics import Duration, VersionStatistics
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.store.manifest import MODEL_FILE
from turnout_server.vocabulary.signature import DType, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
MAX_BATCH_SIZE = 4096
"""Rows of a request that clients are told of. Load-testing tools choose batch sizes up to it."""

_DATA_TYPES = {
    dtype: pb.DataType.TYPE_STRING if dtype is DType.BYTES else pb.DataType.Value(f"TYPE_{dtype}") for dtype in DType
}


def metadata_of(description: Description) -> pb.ModelMetadataResponse:
    """Describe inputs and outputs; shapes include the batch axis as -1."""
    signature = description.manifest.signature
    return pb.ModelMetadataResponse(
        name=description.name,
        versions=[str(version) for version in description.versions],
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in signature.inputs],
        outputs=[_tensor(spec) for spec in signature.outputs],
    )


def config_of(description: Description) -> pb.ModelConfig:
    """Describe a model in Triton's terms: where `max_batch_size` is above 0, dims leave out the batch axis."""
    manifest = description.manifest
    signature = manifest.signature
    batched = signature.has_batch_axis and len(signature.rowwise) == len(signature.inputs)
    axes = slice(1, None) if batched else slice(None)
    config = pb.ModelConfig(
        name=description.name,
        platform=PLATFORM,
        backend=BACKEND,
        version_policy=pb.ModelVersionPolicy(specific=pb.ModelVersionPolicy.Specific(versions=description.versions)),
        max_batch_size=MAX_BATCH_SIZE if batched else 0,
        input=[
            pb.ModelInput(name=spec.name, data_type=_DATA_TYPES[spec.dtype], dims=spec.shape[axes])
            for spec in signature.inputs
        ],
        output=[
            pb.ModelOutput(name=spec.name, data_type=_DATA_TYPES[spec.dtype], dims=spec.shape[axes])
            for spec in signature.outputs
        ],
        instance_group=[pb.ModelInstanceGroup(name=description.name, count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
        default_model_filename=MODEL_FILE,
        parameters={"task": pb.ModelParameter(string_value=manifest.task.value)},
        model_transaction_policy=pb.ModelTransactionPolicy(decoupled=False),
    )
    if batched:
        config.dynamic_batching.SetInParent()
    return config


def statistics_of(key: VersionKey, counts: VersionStatistics) -> pb.ModelStatistics:
    """Return one version's counts."""
    return pb.ModelStatistics(
        name=key.model,
        version=str(key.version),
        last_inference=counts.last_inference_ms,
        inference_count=counts.inference_count,
        execution_count=counts.execution_count,
        inference_stats=pb.InferStatistics(
            success=_duration(counts.success),
            fail=_duration(counts.fail),
            queue=_duration(counts.queue),
            compute_input=_duration(counts.compute_input),
            compute_infer=_duration(counts.compute_infer),
            compute_output=_duration(counts.compute_output),
            cache_hit=pb.StatisticDuration(),
            cache_miss=pb.StatisticDuration(),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=rows,
                compute_input=_duration(batch.compute_input),
                compute_infer=_duration(batch.compute_infer),
                compute_output=_duration(batch.compute_output),
            )
            for rows, batch in sorted(counts.batches.items())
        ],
    )


def _tensor(spec: TensorSpec) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.dtype.value, shape=spec.shape)


def _duration(duration: Duration) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=duration.count, ns=duration.ns)
