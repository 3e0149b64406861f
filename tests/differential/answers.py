"""What comes back of a call, in a form in which two of them can be compared."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

from tests.differential.calls import STREAM, Call
from tests.e2e.probes import PATIENCE_S
from turnout.v1 import model_service_pb2
from turnout_server.rpc.stubs import open_inference_pb2 as pb

DETAILS_KEY = "grpc-status-details-bin"
KNOWN_DETAILS = (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo)
SHOWN_CHARACTERS = 1500
TOO_LONG = "essage larger than max"
"""What transports say by themselves, each with numbers, trailers and a prefix of its own."""
_RETRIED = re.compile(r"(is not available: )(?:FAILED|LOADING)\b.*")
_RETRIED_STATES = (model_service_pb2.MODEL_STATE_LOADING, model_service_pb2.MODEL_STATE_FAILED)


class Answer(NamedTuple):
    """What a caller sees."""

    code: str
    message: str = ""
    details: tuple[str, ...] = ()
    """Of the rich status, as text."""
    trailers: tuple[tuple[str, str | bytes], ...] = ()
    """The others, and what came ahead of the answer."""
    responses: tuple[bytes, ...] = ()
    """Parsed and written again, so that bytes are equal where all fields are, NaNs included."""

    def shown(self, method: str) -> str:
        """Return it for people to read."""
        lines = [f"{self.code} {self.message!r}", *self.details, *map(str, self.trailers)]
        lines += [str(_response_class(method).FromString(raw)) for raw in self.responses]
        return _cut("\n".join(lines))


def ask(channel: grpc.Channel, call: Call) -> Answer:
    """Send *call*, wait for its end, and return that."""
    compression = grpc.Compression.Gzip if call.gzip else grpc.Compression.NoCompression
    options: dict[str, Any] = {"metadata": call.metadata, "compression": compression}
    responses: list[bytes] = []
    rpc: Any
    try:
        if call.method == STREAM:
            rpc = channel.stream_stream(f"/{call.method}")(iter(call.messages), timeout=PATIENCE_S, **options)
            responses.extend(rpc)
        else:
            # Without a timeout of its own, the call may say what it likes of one in its metadata.
            rpc = channel.unary_unary(f"/{call.method}").future(call.messages[0], **options)
            responses.append(rpc.result(PATIENCE_S))
    except grpc.RpcError as error:
        rpc = error
    if TOO_LONG in (rpc.details() or ""):
        return Answer(rpc.code().name, TOO_LONG)
    trailers = [(key, value) for key, value in rpc.trailing_metadata() or () if key != DETAILS_KEY]
    return Answer(
        rpc.code().name,
        _steady(rpc.details() or ""),
        _details(rpc),
        (*sorted(trailers), *sorted(map(tuple, rpc.initial_metadata() or ()))),
        tuple(_rewritten(call.method, raw) for raw in responses),
    )


def shown(call: Call) -> str:
    """Return *call* for people to read."""
    lines = [call.method, f"about: {call.about or 'nothing'}", *map(str, call.metadata)]
    for raw in call.messages:
        try:
            lines.append(str(_class(call.method, "input_type").FromString(raw)))
        except (DecodeError, KeyError):
            lines.append(f"not parsable: {raw[:200]!r}")
    return _cut("\n".join(lines))


def _details(rpc: Any) -> tuple[str, ...]:
    found = [value for key, value in rpc.trailing_metadata() or () if key == DETAILS_KEY]
    lines: list[str] = []
    for value in found:
        status = status_pb2.Status.FromString(value)
        lines.append(f"{status.code} {_steady(status.message)}")
        for detail in status.details:
            for known in KNOWN_DETAILS:
                message = known()
                if detail.Unpack(message):
                    lines.append(f"{detail.type_url} {message}")
                    break
            else:
                lines.append(str(detail))
    return tuple(lines)


def _rewritten(method: str, raw: bytes) -> bytes:
    message: Any = _response_class(method).FromString(raw)
    if isinstance(message, pb.ModelStreamInferResponse) and message.error_message:
        message.error_message = _steady(message.error_message)
    elif isinstance(message, pb.RepositoryIndexResponse):
        for model in message.models:
            if model.state != "READY":
                model.state = model.reason = ""
    elif isinstance(message, model_service_pb2.GetModelResponse):
        _steady_model(message.model)
    elif isinstance(message, model_service_pb2.ListModelsResponse):
        for one in message.models:
            _steady_model(one)
    written: bytes = message.SerializeToString(deterministic=True)
    return written


def _steady(text: str) -> str:
    """Leave out whether a version that does not load is being tried again at this moment."""
    return _RETRIED.sub(r"\1...", text)


def _steady_model(model: model_service_pb2.Model) -> None:
    for version in model.versions:
        if version.state in _RETRIED_STATES:
            version.ClearField("state")
            version.ClearField("state_detail")


def _response_class(method: str) -> type[Message]:
    return _class(method, "output_type")


def _class(method: str, side: str) -> type[Message]:
    service, name = method.split("/")
    descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[name]
    return GetMessageClass(getattr(descriptor, side))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]} ... ({len(text)} characters)"
