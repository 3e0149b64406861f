"""The Open Inference Protocol's requests and answers to and from the domain's.

Answers are raw, or in the request's form where the server is told so (`as_sent`). Two things stand above that: the
request parameter `binary_data_output` asks for one form outright, and as FP16 and BF16 have no typed form, an answer
with such an output is raw.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Mapping
from functools import partial

from turnout_server.config import Answers
from turnout_server.rpc.open_inference import parameters, raw_tensors, typed_tensors
from turnout_server.rpc.open_inference.shared_memory import Place, SharedMemory, place_of
from turnout_server.rpc.open_inference.signatures import Input, arrange
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.call import REQUEST_ID_KEY, UNIT_KEY, Call
from turnout_server.vocabulary.ask import NAME_LIMIT
from turnout_server.vocabulary.decision import Decision
from turnout_server.vocabulary.errors import InvalidInputError, InvalidRequestError, NotSupportedError, enumerated
from turnout_server.vocabulary.extent import Extent
from turnout_server.vocabulary.query import Prediction, Prepare, Query
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Array, Arrays

TENSOR_LIMIT = 10_000
"""Inputs, or outputs wanted, of one request. A message has room for millions of empty ones, which take seconds to
look through."""
EMPTY_LIMIT = 1 << 24
"""What the sizes other than 0 of an empty tensor may multiply to. It takes no bytes to claim more, and what a graph
makes of it may not be empty."""

_RAW_ONLY = ("FP16", "BF16")


# ---------------------------------------------------------------- requests


def decode(request: pb.ModelInferRequest, call: Call, shared_memory: SharedMemory) -> Query:
    """Return what *request* asks for. Its tensors are decoded in `Query.prepare`, against the assigned version.

    Inputs in shared memory are copied here, so that the caller may write there again once it has the answer.

    Raises:
        InvalidRequestError: a name is missing or too long, there are too many tensors, an output is wanted twice, or a
            parameter is wrong.
        NotSupportedError: the request uses sequences or classification.
        SharedMemoryDisabledError, SharedMemoryRegionNotFoundError: a tensor is in shared memory that is not there.
    """
    _check_count("inputs", len(request.inputs))
    _check_count("outputs", len(request.outputs))
    metadata = call.metadata
    unit, deadline, priority = metadata.get(UNIT_KEY, ""), call.deadline, 0
    given = request.parameters
    if given:
        parameters.refuse_sequences(given)
        parameters.boolean(given, "binary_data_output")  # a wrong one should not wait until the model has run
        unit = parameters.unit(given) or unit
        deadline = _sooner(deadline, parameters.integer(given, "timeout"))
        priority = parameters.integer(given, "priority") or 0
    return Query(
        name=request.model_name,
        version=request.model_version,
        prepare=partial(prepare, request, _inputs_in_shared_memory(request, shared_memory)),
        outputs=_outputs_wanted(request, shared_memory) if request.outputs else (),
        unit=unit,
        request_id=request.id or metadata.get(REQUEST_ID_KEY, ""),
        headers=metadata,
        principal=call.principal,
        deadline=deadline,
        priority=priority,
    )


def copied(message: bytes) -> Prepare:
    """Return what makes the inputs of a request that was answered once already, and had none in shared memory."""
    return partial(prepare, pb.ModelInferRequest.FromString(message), {})


def prepare(request: pb.ModelInferRequest, shared: Mapping[int, bytes], signature: Signature) -> Arrays:
    """Return the inputs in *request* as arrays that fit *signature*; numbers are read-only views.

    Args:
        request: the whole request.
        shared: the bytes of inputs that were in shared memory, by the input's position.
        signature: the assigned version's.

    Raises:
        InvalidRequestError: `raw_input_contents` does not match the inputs.
        InvalidInputError: an input is unknown, missing, doubled, or of the wrong dtype, shape or size.
        TooLargeError: the inputs have more rows or elements than the signature allows.
    """
    known = arrange(signature)
    raw = request.raw_input_contents
    inputs = request.inputs
    if raw and len(raw) + len(shared) != len(inputs):
        raise InvalidRequestError(
            f"raw_input_contents has {len(raw)} entries for {len(inputs) - len(shared)} inputs; expected one for each"
        )
    rest = iter(raw)
    arrays: dict[str, Array] = {}
    extent = Extent(signature)
    for index, tensor in enumerate(inputs):
        name = tensor.name
        spec = known.inputs.get(name)
        if spec is None:
            problem = f"the model has no such input; it has {enumerated(list(known.inputs))}"
            raise InvalidInputError(_shown(name), problem)
        if name in arrays:
            raise InvalidInputError(name, "is there twice")
        if tensor.datatype != spec.datatype:
            raise InvalidInputError(name, f"expected datatype {spec.datatype}, found {_shown(tensor.datatype)!r}")
        shape = tuple(tensor.shape)
        count = _count(spec, shape)
        extent.add(name, shape, rowwise=name in known.rowwise)
        data = shared[index] if index in shared else next(rest, None)
        if data is None:
            if count and not tensor.HasField("contents"):
                raise InvalidInputError(name, "has neither contents nor raw_input_contents")
            flat = typed_tensors.decode(name, spec.datatype, spec.dtype, count, tensor.contents)
        elif tensor.HasField("contents"):
            raise InvalidInputError(name, "has contents beside raw bytes; send one of them")
        else:
            flat = raw_tensors.decode(name, spec.dtype, count, data)
        arrays[name] = flat.reshape(shape)
    if len(arrays) != len(known.inputs):
        raise InvalidInputError.missing([name for name in known.inputs if name not in arrays])
    if len(known.rowwise) > 1:
        _check_rows(known.rowwise, arrays)
    return arrays


def _count(spec: Input, shape: tuple[int, ...]) -> int:
    """Return how many elements *shape* has; Python's integers do not overflow."""
    if len(shape) != len(spec.shape):
        raise InvalidInputError(
            spec.name, f"expected {len(spec.shape)} dimensions {list(spec.shape)}, found {len(shape)}"
        )
    count = 1
    for found, wanted in zip(shape, spec.shape, strict=True):
        if found < 0 or (found != wanted and wanted >= 0):
            raise InvalidInputError(
                spec.name, f"expected shape {list(spec.shape)} (-1 is any size), found {list(shape)}"
            )
        count *= found
    if not count and math.prod(size for size in shape if size) > EMPTY_LIMIT:
        raise InvalidInputError(spec.name, f"shape {list(shape)} is empty, yet its other sizes are beyond reason")
    return count


def _check_rows(names: tuple[str, ...], arrays: Arrays) -> None:
    first = names[0]
    rows = arrays[first].shape[0]
    for name in names[1:]:
        if arrays[name].shape[0] != rows:
            raise InvalidInputError(name, f"has {arrays[name].shape[0]} rows, but {first!r} has {rows}")


def _sooner(deadline: float | None, timeout_us: int | None) -> float | None:
    """Return the earlier of the call's deadline and the request's own, on the clock of `time.monotonic`."""
    if not timeout_us:
        return deadline
    own = time.monotonic() + timeout_us / 1e6
    return own if deadline is None else min(own, deadline)


def _inputs_in_shared_memory(request: pb.ModelInferRequest, shared_memory: SharedMemory) -> dict[int, bytes]:
    shared: dict[int, bytes] = {}
    total = 0
    for index, tensor in enumerate(request.inputs):
        if tensor.parameters and (place := place_of(tensor.parameters)) is not None:
            total += place.byte_size
            if total > shared_memory.max_request_bytes:  # one region may be named by many inputs
                raise InvalidRequestError(
                    f"a request may bring {shared_memory.max_request_bytes} bytes in shared memory; found {total}"
                )
            shared[index] = shared_memory.read(place)
    return shared


def _outputs_wanted(request: pb.ModelInferRequest, shared_memory: SharedMemory) -> tuple[str, ...]:
    wanted: dict[str, None] = {}
    for output in request.outputs:
        _check_length("an output's name", output.name)
        if output.name in wanted:
            raise InvalidRequestError(f"output {output.name!r} is wanted twice")
        if output.parameters:
            if parameters.integer(output.parameters, "classification"):
                raise NotSupportedError(f"output {output.name!r}: classification is not supported")
            if (place := place_of(output.parameters)) is not None:
                shared_memory.check(place)  # before the model runs, rather than after
        wanted[output.name] = None
    return tuple(wanted)


def _check_length(what: str, name: str) -> None:
    if len(name) > NAME_LIMIT:
        raise InvalidRequestError(f"{what} has {len(name)} characters; at most {NAME_LIMIT} are allowed")


def _check_count(what: str, count: int) -> None:
    if count > TENSOR_LIMIT:
        raise InvalidRequestError(f"{what}: found {count}; one request may have at most {TENSOR_LIMIT}")


def _shown(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else f"{name[:NAME_LIMIT]}..."


# ---------------------------------------------------------------- answers


def encode(
    request: pb.ModelInferRequest,
    prediction: Prediction,
    shared_memory: SharedMemory,
    into: pb.ModelInferResponse | None = None,
    answers: Answers = "raw",
) -> pb.ModelInferResponse:
    """Return the answer to *request*. Outputs that were wanted in shared memory are written there.

    Args:
        request: what was asked.
        prediction: the answer.
        shared_memory: the regions.
        into: an empty message to make it in; None for a new one.
        answers: the form of outputs, where the request does not ask for one.

    Raises:
        InvalidRequestError: an output is larger than its place in shared memory.
        SharedMemoryDisabledError, SharedMemoryRegionNotFoundError: that place has gone while the model ran.
    """
    response = pb.ModelInferResponse() if into is None else into
    response.MergeFromString(_head_of(prediction.decision))
    response.parameters["turnout_request_id"].string_param = prediction.request_id
    if request.id:
        response.id = request.id
    datatypes = arrange(prediction.signature).output_datatypes
    raw = _answers_raw(request, answers) or any(datatypes[name] in _RAW_ONLY for name in prediction.outputs)
    places = _output_places(request)
    for name, array in prediction.outputs.items():
        output = response.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        place = places.get(name)
        if place is not None:
            _write_to_shared_memory(output, array, place, shared_memory)
            if raw:
                response.raw_output_contents.append(b"")  # readers count on one entry an output
        elif raw:
            response.raw_output_contents.append(raw_tensors.encode(array))
        else:
            typed_tensors.encode(datatypes[name], array, output.contents)
    return response


@functools.lru_cache(maxsize=4096)
def _head_of(decision: Decision) -> bytes:
    """Return what says who answered, written: the same for every request that is decided alike."""
    head = pb.ModelInferResponse(model_name=decision.model, model_version=str(decision.version))
    head.parameters["turnout_route"].string_param = decision.route
    head.parameters["turnout_target"].string_param = decision.target
    head.parameters["turnout_reason"].string_param = decision.reason.value
    head.parameters["turnout_assigned_target"].string_param = decision.assigned
    if decision.propensity is not None:
        head.parameters["turnout_propensity"].double_param = decision.propensity
    return head.SerializeToString()


def _answers_raw(request: pb.ModelInferRequest, answers: Answers) -> bool:
    if request.parameters and (asked := parameters.boolean(request.parameters, "binary_data_output")) is not None:
        return asked
    return (
        answers == "raw"
        or bool(request.raw_input_contents)
        or not any(tensor.HasField("contents") for tensor in request.inputs)
    )


def _output_places(request: pb.ModelInferRequest) -> dict[str, Place]:
    return {
        output.name: place
        for output in request.outputs
        if output.parameters and (place := place_of(output.parameters)) is not None
    }


def _write_to_shared_memory(
    output: pb.ModelInferResponse.InferOutputTensor, array: Array, place: Place, shared_memory: SharedMemory
) -> None:
    data = raw_tensors.encode(array)
    if len(data) > place.byte_size:
        raise InvalidRequestError(
            f"output {output.name!r} has {len(data)} bytes, but its shared memory has room for {place.byte_size}"
        )
    shared_memory.write(place, data)
    output.parameters["shared_memory_region"].string_param = place.region
    output.parameters["shared_memory_byte_size"].int64_param = len(data)
    if place.offset:
        output.parameters["shared_memory_offset"].int64_param = place.offset
