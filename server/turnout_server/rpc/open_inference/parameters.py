"""The Open Inference Protocol's parameters: small named values on requests and tensors.

The ones that Turnout knows are checked; all others are ignored, as they are meant for models, and an ONNX graph takes
none.
"""

from __future__ import annotations

from collections.abc import Mapping

from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import InvalidRequestError, NotSupportedError
from turnout_server.vocabulary.units import check_unit

Parameters = Mapping[str, pb.InferParameter]

_INTEGERS = ("int64_param", "uint64_param")


def integer(parameters: Parameters, key: str) -> int | None:
    """Return a parameter that counts something: at least 0, or None where it is not set.

    Raises:
        InvalidRequestError: it is negative or not an integer.
    """
    parameter = parameters.get(key)
    if parameter is None:
        return None
    kind = parameter.WhichOneof("parameter_choice")
    value: int = getattr(parameter, kind) if kind in _INTEGERS else -1
    if value < 0:
        raise InvalidRequestError(f"parameter {key}: expected an integer of at least 0{_found(parameter)}")
    return value


def boolean(parameters: Parameters, key: str) -> bool | None:
    """Return a parameter that is true or false, or None where it is not set.

    Raises:
        InvalidRequestError: it is neither.
    """
    parameter = parameters.get(key)
    if parameter is None:
        return None
    if parameter.WhichOneof("parameter_choice") != "bool_param":
        raise InvalidRequestError(f"parameter {key}: expected a bool{_found(parameter)}")
    return parameter.bool_param


def text(parameters: Parameters, key: str) -> str | None:
    """Return a parameter that is text, or None where it is not set.

    Raises:
        InvalidRequestError: it is not text.
    """
    parameter = parameters.get(key)
    if parameter is None:
        return None
    if parameter.WhichOneof("parameter_choice") != "string_param":
        raise InvalidRequestError(f"parameter {key}: expected a string{_found(parameter)}")
    return parameter.string_param


def unit(parameters: Parameters) -> str | None:
    """Return the unit that the request is for, or None where it is not set; numbers count as their decimal text.

    Raises:
        InvalidRequestError: it is neither text nor an integer, or too long.
    """
    parameter = parameters.get("unit_id")
    if parameter is None:
        return None
    kind = parameter.WhichOneof("parameter_choice")
    if kind in _INTEGERS:
        return str(getattr(parameter, kind))
    return check_unit(text(parameters, "unit_id") or "", "parameter unit_id")


def refuse_sequences(parameters: Parameters) -> None:
    """Refuse a request that is part of a sequence.

    Raises:
        NotSupportedError: it names a sequence: no model here keeps state between requests.
    """
    parameter = parameters.get("sequence_id")
    if parameter is None:
        return
    kind = parameter.WhichOneof("parameter_choice")
    if kind is not None and getattr(parameter, kind) not in (0, ""):
        raise NotSupportedError("sequence_id: sequences are not supported; models keep no state between requests")


def _found(parameter: pb.InferParameter) -> str:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        return ", found nothing"
    value = repr(getattr(parameter, kind))
    return f", found {value if len(value) <= 40 else value[:40] + '...'}"
