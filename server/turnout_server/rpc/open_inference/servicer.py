"""`inference.GRPCInferenceService`: the Open Inference Protocol, as Triton's and KServe's clients use it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Protocol

from turnout_server.config import Answers
from turnout_server.gateway.administration import Administration
from turnout_server.gateway.catalog import Catalog
from turnout_server.rpc.elements import Message
from turnout_server.rpc.open_inference import codec as codec
from turnout_server.rpc.open_inference import parameters
from turnout_server.rpc.open_inference.admin import OpenInferenceAdmin
from turnout_server.rpc.open_inference.in_order import Room, answered_in_order
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.call import Call
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.query import Prediction, Query

STREAM_ROOM = Room(requests=16, nbytes=4 * 1024 * 1024)
"""What may be under way of one stream. Each request is held some four times over until its answer has been read."""

Watched = Callable[[], contextlib.AbstractContextManager[Message]]
"""Makes what a message is answered within."""


def _unwatched() -> contextlib.AbstractContextManager[Message]:
    return contextlib.nullcontext(Message())


class Infers(Protocol):
    """What answers queries: the data plane."""

    async def infer(self, query: Query) -> Prediction:
        """Serve *query*."""


class OpenInferenceServicer(OpenInferenceAdmin):
    """Answers every RPC of the service; those that infer are here, the others in `OpenInferenceAdmin`."""

    def __init__(
        self,
        data_plane: Infers,
        catalog: Catalog,
        administration: Administration,
        allow_shared_memory: bool = False,
        *,
        ready: Callable[[], bool] = lambda: True,
        log_level: str = "info",
        answers: Answers = "raw",
        watched: Watched = _unwatched,
    ) -> None:
        """Make a servicer.

        Args:
            data_plane: answers queries.
            catalog: what there is.
            administration: changes it.
            allow_shared_memory: whether clients on this machine may pass tensors in system shared memory.
            ready: says whether the server takes requests.
            log_level: the level that the process logs at, for `LogSettings`.
            answers: the form of outputs, where a request does not ask for one.
            watched: what each message of a stream is answered within; see `Messages`.
        """
        self._data_plane = data_plane
        self._answers = answers
        self._watched = watched
        self._shared_memory = SharedMemory(enabled=allow_shared_memory)
        super().__init__(catalog, administration, self._shared_memory, ready=ready, log_level=log_level)

    async def ModelInfer(self, request: pb.ModelInferRequest, call: Call) -> pb.ModelInferResponse:
        """Answer one request.

        Raises:
            TurnoutError: what kept it from being answered.
        """
        return await self._infer(request, call, pb.ModelInferResponse())

    async def _infer(
        self, request: pb.ModelInferRequest, call: Call, into: pb.ModelInferResponse
    ) -> pb.ModelInferResponse:
        prediction = await self._data_plane.infer(codec.decode(request, call, self._shared_memory))
        return codec.encode(request, prediction, self._shared_memory, into, self._answers)

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], call: Call
    ) -> AsyncGenerator[pb.ModelStreamInferResponse, None]:
        """Answer a stream's requests in order. An error is an answer too, and the stream goes on.

        Raises:
            TurnoutError: a request failed, and the caller's metadata said `triton_grpc_error: true`; the stream ends.
        """
        raises = call.metadata.get("triton_grpc_error", "").lower() == "true"

        async def answer(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            answer = pb.ModelStreamInferResponse()
            response = answer.infer_response
            with self._watched() as message:
                try:
                    await self._infer(request, call, response)
                except TurnoutError as error:
                    if raises:
                        raise
                    message.failed(error)
                    response.Clear()
                    answer.error_message = f"{error.reason}: {error.message}"
                    response.id = request.id
            if _asks_for_final(request):
                response.parameters["triton_final_response"].bool_param = True
            return answer

        async with contextlib.aclosing(
            answered_in_order(requests, answer, pb.ModelInferRequest.ByteSize, STREAM_ROOM)
        ) as answers:
            async for one in answers:
                yield one


def _asks_for_final(request: pb.ModelInferRequest) -> bool:
    """Say whether the answer is to be marked as the request's last; each is, as a request has one answer."""
    with contextlib.suppress(TurnoutError):
        return bool(parameters.boolean(request.parameters, "triton_enable_empty_final_response"))
    return False
