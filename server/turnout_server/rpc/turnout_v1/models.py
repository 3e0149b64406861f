"""`turnout.v1.ModelService`."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from turnout.v1 import model_service_pb2 as pb
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.rpc.author import author
from turnout_server.rpc.turnout_v1.paging import page
from turnout_server.serving.state import State, VersionStatus
from turnout_server.store.manifest import Manifest
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import InvalidRequestError, ModelNotFoundError, TurnoutError
from turnout_server.vocabulary.signature import DType, Scalar, TensorSpec

_STATES = {
    State.STORED: pb.MODEL_STATE_STORED,
    State.LOADING: pb.MODEL_STATE_LOADING,
    State.AVAILABLE: pb.MODEL_STATE_AVAILABLE,
    State.UNLOADING: pb.MODEL_STATE_UNLOADING,
    State.FAILED: pb.MODEL_STATE_FAILED,
}


class ModelService:
    """Looks at the models of the store, and moves their labels."""

    def __init__(self, catalog: Catalog, administration: Administration) -> None:
        """Look in *catalog*, and change by *administration*."""
        self._catalog = catalog
        self._administration = administration

    async def ListModels(self, request: pb.ListModelsRequest, call: Call) -> pb.ListModelsResponse:
        """List models with their versions and labels, ordered by name."""
        names, next_token = page(self._catalog.models(), request.page_size, request.page_token)
        models = [await self._model(name, self._catalog.status(name)) for name in names]
        return pb.ListModelsResponse(models=models, next_page_token=next_token)

    async def GetModel(self, request: pb.GetModelRequest, call: Call) -> pb.GetModelResponse:
        """Return one model."""
        return pb.GetModelResponse(model=await self._require(request.model))

    async def SetLabel(self, request: pb.SetLabelRequest, call: Call) -> pb.SetLabelResponse:
        """Point a label at a version, or remove it."""
        for place, value in (("model", request.model), ("label", request.label)):
            if not value:
                raise InvalidRequestError(f"{place}: is empty")
        for place, number in (("version", request.version), ("expected_version", request.expected_version)):
            if number < 0:
                raise InvalidRequestError(f"{place}: found {number}; expected a version, or 0 for none")
        await self._administration.set_label(
            request.model,
            request.label,
            request.version or None,
            request.expected_version or None,
            request.HasField("expected_version"),
            author(call, "SetLabel"),
        )
        return pb.SetLabelResponse(model=await self._require(request.model))

    async def _require(self, name: str) -> pb.Model:
        if not name:
            raise InvalidRequestError("model: is empty; expected a model's name")
        statuses = self._catalog.status(name)
        if not statuses:
            raise ModelNotFoundError(name)
        return await self._model(name, statuses)

    async def _model(self, name: str, statuses: tuple[VersionStatus, ...]) -> pb.Model:
        versions = [await self._version(status) for status in reversed(statuses)]
        return pb.Model(name=name, versions=versions, labels=self._catalog.labels(name))

    async def _version(self, status: VersionStatus) -> pb.ModelVersion:
        """Return one version; one whose manifest cannot be read is listed all the same, and says so."""
        message = pb.ModelVersion(version=status.key.version, state=_STATES[status.state], state_detail=status.detail)
        try:
            _describe(message, await self._catalog.manifest(status.key))
        except TurnoutError as error:
            message.state_detail = status.detail or error.message
            if status.state is State.STORED:
                message.state = pb.MODEL_STATE_FAILED
        return message


def _describe(message: pb.ModelVersion, manifest: Manifest) -> None:
    message.task = manifest.task
    message.framework = manifest.lineage.framework
    message.metrics.update(manifest.lineage.metrics)
    message.owner = manifest.owner
    message.description = manifest.description
    message.inputs.extend(map(_tensor, manifest.signature.inputs))
    message.outputs.extend(map(_tensor, manifest.signature.outputs))
    created = _timestamp(manifest.created_at)
    if created is not None:
        message.create_time.CopyFrom(created)


def _tensor(spec: TensorSpec) -> pb.Tensor:
    return pb.Tensor(
        name=spec.name,
        datatype=spec.dtype,
        shape=spec.shape,
        columns=[column.name for column in spec.columns],
        default_value=_default(spec.default, spec.dtype),
        column_defaults={column.name: column.default for column in spec.columns if column.default is not None},
    )


def _default(value: Scalar | None, dtype: DType) -> pb.DefaultValue | None:
    match value:
        case None:
            return None
        case str():
            return pb.DefaultValue(text=value)
        case float():
            return pb.DefaultValue(number=value)
        case _ if dtype.startswith(("FP", "BF")):
            return pb.DefaultValue(number=float(value))
        case _ if -(2**63) <= value < 2**63:
            return pb.DefaultValue(integer=int(value))
    return pb.DefaultValue(number=float(value))


def _timestamp(text: str) -> Timestamp | None:
    """Return *text*, RFC 3339, as a timestamp; None where it is not one."""
    moment = Timestamp()
    try:
        moment.FromJsonString(text)
    except ValueError:
        return None
    return moment
