"""The Open Inference Protocol's RPCs that look and change, rather than infer."""

from __future__ import annotations

from collections.abc import Callable

from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.release import release
from turnout_server.rpc.author import author
from turnout_server.rpc.open_inference.model_descriptions import config_of, metadata_of, statistics_of
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.serving.state import State
from turnout_server.transport.call import Call
from turnout_server.vocabulary.ask import NAME_LIMIT
from turnout_server.vocabulary.errors import (
    InvalidRequestError,
    NotSupportedError,
    SharedMemoryRegionNotFoundError,
)

SERVER_NAME = "turnout"
EXTENSIONS = ("model_configuration", "model_repository", "parameters", "statistics")
STATES = {
    State.STORED: "UNAVAILABLE",
    State.LOADING: "LOADING",
    State.AVAILABLE: "READY",
    State.UNLOADING: "UNLOADING",
    State.FAILED: "UNAVAILABLE",
}
"""The protocol's names for states."""

_LEVELS = ("debug", "info", "warning", "error")


class OpenInferenceAdmin:
    """Answers the RPCs on the server, its models, its repository, shared memory and settings."""

    def __init__(
        self,
        catalog: Catalog,
        administration: Administration,
        shared_memory: SharedMemory,
        *,
        ready: Callable[[], bool],
        log_level: str,
    ) -> None:
        """See `OpenInferenceServicer`."""
        self._catalog = catalog
        self._administration = administration
        self._regions = shared_memory
        self._ready = ready
        self._log_level = log_level

    # ------------------------------------------------------------ the server

    async def ServerLive(self, request: pb.ServerLiveRequest, call: Call) -> pb.ServerLiveResponse:
        """Say that the process is up."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, call: Call) -> pb.ServerReadyResponse:
        """Say whether the server takes requests."""
        return pb.ServerReadyResponse(ready=self._ready())

    async def ServerMetadata(self, request: pb.ServerMetadataRequest, call: Call) -> pb.ServerMetadataResponse:
        """Say which server this is and which extensions of the protocol it has."""
        extensions = EXTENSIONS + (("system_shared_memory",) if self._regions.enabled else ())
        return pb.ServerMetadataResponse(name=SERVER_NAME, version=release(), extensions=extensions)

    # ------------------------------------------------------------ models

    async def ModelReady(self, request: pb.ModelReadyRequest, call: Call) -> pb.ModelReadyResponse:
        """Say whether a request for a name would be answered now; what does not exist is not ready."""
        _require(request.name, "name")
        return pb.ModelReadyResponse(ready=self._catalog.is_ready(request.name, request.version))

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, call: Call) -> pb.ModelMetadataResponse:
        """Describe the inputs and outputs behind a name.

        Raises:
            InvalidRequestError: the name is empty.
            RouteNotFoundError, VersionNotFoundError, LabelNotFoundError, VersionUnavailableError: see `Catalog`.
        """
        _require(request.name, "name")
        return metadata_of(self._catalog.describe(request.name, request.version))

    async def ModelConfig(self, request: pb.ModelConfigRequest, call: Call) -> pb.ModelConfigResponse:
        """Describe a model in the terms of Triton's configuration.

        Raises:
            TurnoutError: as `ModelMetadata` says.
        """
        _require(request.name, "name")
        return pb.ModelConfigResponse(config=config_of(self._catalog.describe(request.name, request.version)))

    async def ModelStatistics(self, request: pb.ModelStatisticsRequest, call: Call) -> pb.ModelStatisticsResponse:
        """Return counts and durations; of every loaded version, for an empty name.

        Raises:
            RouteNotFoundError, VersionNotFoundError, LabelNotFoundError: there is no such thing.
        """
        if request.version:
            _require(request.name, "name")
        counted = self._catalog.statistics(request.name, request.version)
        return pb.ModelStatisticsResponse(model_stats=[statistics_of(key, counts) for key, counts in counted])

    # ------------------------------------------------------------ the repository

    async def RepositoryIndex(self, request: pb.RepositoryIndexRequest, call: Call) -> pb.RepositoryIndexResponse:
        """List every version and its state.

        Raises:
            NotSupportedError: a repository is named.
        """
        _refuse_repository(request.repository_name)
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=key.model, version=str(key.version), state=STATES[state], reason=detail
                )
                for key, state, detail in self._catalog.status()
                if state is State.AVAILABLE or not request.ready
            ]
        )

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, call: Call
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model and wait until it is available.

        Raises:
            InvalidRequestError: the name is empty.
            NotSupportedError: a repository is named, or the model's configuration or files are to be overridden.
            ChangesDisabledError, ModelNotFoundError, VersionUnavailableError: see `Administration.load`.
        """
        _refuse_repository(request.repository_name)
        _require(request.model_name, "model_name")
        if request.parameters:
            raise NotSupportedError("load parameters are not supported: a version is served as it was published")
        await self._administration.load(request.model_name, author(call, "RepositoryModelLoad"))
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, call: Call
    ) -> pb.RepositoryModelUnloadResponse:
        """Stop serving a model and wait until its memory has been given back.

        Raises:
            InvalidRequestError: the name is empty.
            NotSupportedError: a repository is named.
            ChangesDisabledError, ModelNotFoundError: see `Administration.unload`.
        """
        _refuse_repository(request.repository_name)
        _require(request.model_name, "model_name")
        await self._administration.unload(request.model_name, author(call, "RepositoryModelUnload"))
        return pb.RepositoryModelUnloadResponse()

    # ------------------------------------------------------------ shared memory

    async def SystemSharedMemoryStatus(
        self, request: pb.SystemSharedMemoryStatusRequest, call: Call
    ) -> pb.SystemSharedMemoryStatusResponse:
        """List the registered regions.

        Raises:
            SharedMemoryRegionNotFoundError: the one asked for is not there.
        """
        response = pb.SystemSharedMemoryStatusResponse()
        for region in self._regions.regions(request.name):
            status = response.regions[region.name]
            status.name, status.key = region.name, region.key
            status.offset, status.byte_size = region.offset, region.byte_size
        return response

    async def SystemSharedMemoryRegister(
        self, request: pb.SystemSharedMemoryRegisterRequest, call: Call
    ) -> pb.SystemSharedMemoryRegisterResponse:
        """Register a region.

        Raises:
            SharedMemoryDisabledError, SharedMemoryRegionExistsError, InvalidRequestError: see `SharedMemory.register`.
        """
        self._regions.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def SystemSharedMemoryUnregister(
        self, request: pb.SystemSharedMemoryUnregisterRequest, call: Call
    ) -> pb.SystemSharedMemoryUnregisterResponse:
        """Forget a region, or all; clients do this to be sure, so what is not there is no error."""
        self._regions.unregister(request.name)
        return pb.SystemSharedMemoryUnregisterResponse()

    async def CudaSharedMemoryStatus(
        self, request: pb.CudaSharedMemoryStatusRequest, call: Call
    ) -> pb.CudaSharedMemoryStatusResponse:
        """List no region.

        Raises:
            SharedMemoryRegionNotFoundError: one is asked for.
        """
        if request.name:
            raise SharedMemoryRegionNotFoundError(request.name[:NAME_LIMIT])
        return pb.CudaSharedMemoryStatusResponse()

    async def CudaSharedMemoryRegister(
        self, request: pb.CudaSharedMemoryRegisterRequest, call: Call
    ) -> pb.CudaSharedMemoryRegisterResponse:
        """Raise NotSupportedError."""
        raise NotSupportedError(
            "CUDA shared memory is not supported: models run on the CPU; use system shared memory, or send the tensors"
        )

    async def CudaSharedMemoryUnregister(
        self, request: pb.CudaSharedMemoryUnregisterRequest, call: Call
    ) -> pb.CudaSharedMemoryUnregisterResponse:
        """Do nothing: clients do this to be sure, whether they have registered any or not."""
        return pb.CudaSharedMemoryUnregisterResponse()

    # ------------------------------------------------------------ settings

    async def TraceSetting(self, request: pb.TraceSettingRequest, call: Call) -> pb.TraceSettingResponse:
        """Return the trace settings, which are the same for every model.

        Raises:
            NotSupportedError: a setting is to be changed.
            RouteNotFoundError, VersionUnavailableError: the model named is not there.
        """
        if request.settings:
            raise NotSupportedError("trace settings are fixed while the server runs; see the OTEL_* variables")
        if request.model_name:
            self._catalog.describe(request.model_name)
        response = pb.TraceSettingResponse()
        response.settings["trace_mode"].value.append("opentelemetry")
        return response

    async def LogSettings(self, request: pb.LogSettingsRequest, call: Call) -> pb.LogSettingsResponse:
        """Return the log settings.

        Raises:
            NotSupportedError: a setting is to be changed.
        """
        if request.settings:
            raise NotSupportedError("log settings are fixed while the server runs; see telemetry.log_level")
        level = _LEVELS.index(self._log_level)
        response = pb.LogSettingsResponse()
        for name in _LEVELS[1:]:
            response.settings[f"log_{name}"].bool_param = level <= _LEVELS.index(name)
        response.settings["log_verbose_level"].uint32_param = 1 if level == 0 else 0
        return response


def _require(name: str, field: str) -> None:
    if not name:
        raise InvalidRequestError(f"{field} is empty; expected a route or a model")


def _refuse_repository(name: str) -> None:
    if name:
        raise NotSupportedError("repository_name is not supported: there is one store; leave it empty")
