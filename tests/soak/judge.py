"""Whether an answer is the right one: pure, so that wrong answers can be made up to see that they are found out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from google.protobuf.message import DecodeError

from tests.soak.models import Model
from tests.soak.shelf import Shelf
from turnout.v1 import pricing_service_pb2, ranking_service_pb2, recommendation_service_pb2, served_pb2
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array, Arrays

TYPED_FIELDS = {
    "BOOL": "bool_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the protocol has the elements of the datatypes that the models have; FP16 is raw only."""


class Served(NamedTuple):
    """Who answered, and why."""

    route: str
    target: str
    model: str
    version: int
    reason: str


class Verdict(NamedTuple):
    """What there is to say of an answer."""

    problems: list[str]
    """What is wrong with it; empty for the right one."""
    served: Served | None = None
    """Who gave it, where it says so."""


class Wanted(NamedTuple):
    """Who was asked, in which way."""

    model: Model
    route: str
    """Empty for a request that names the model."""
    selector: str
    """A version's number or label; empty for none."""
    unit: str = ""
    overridden: bool = False
    """Whether the request has the header that an override of the route is for."""


Judge = Callable[[bytes, Shelf], Verdict]


def same(found: Array, expected: Array) -> bool:
    """Say whether two tensors are equal: numbers up to rounding, texts to the letter."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    if expected.dtype.hasobject:
        return bool((found == expected).all())
    return bool(np.allclose(found, expected, rtol=1e-6, atol=1e-6))


def judge_served(served: Served, wanted: Wanted, shelf: Shelf) -> list[str]:
    """Return what is wrong with who answered."""
    problems = []
    if served.model != wanted.model.name:
        problems.append(f"{served.model} answered for {wanted.model.name}")
    if served.route != wanted.route:
        problems.append(f"the answer names the route {served.route!r}, not {wanted.route!r}")
    bare = "champion" if shelf.labelled[wanted.model.name, "champion"] and not wanted.route else ""
    if served.version not in shelf.may_answer(wanted.model.name, wanted.selector or bare):
        problems.append(f"version {served.version} answered for {wanted.model.name} {wanted.selector!r}")
    if not wanted.route:
        allowed = "PINNED" if wanted.selector else "NAMED"
    elif wanted.overridden:
        allowed = "OVERRIDE"
    else:
        allowed = "SPLIT" if wanted.unit else "UNSTICKY"
    if served.reason != allowed:
        problems.append(f"the reason is {served.reason}, not {allowed}")
    if wanted.route and served.version not in shelf.labelled[served.model, served.target]:
        problems.append(f"version {served.version} was never the {served.target!r} of {served.model}")
    return problems


# ---------------------------------------------------------------- the Open Inference Protocol


def inference(
    response: oip.ModelInferResponse, wanted: Wanted, given: Arrays, outputs: Sequence[str], id: str, shelf: Shelf
) -> Verdict:
    """Judge the answer to ModelInfer.

    Args:
        response: the answer.
        wanted: who was asked.
        given: the inputs.
        outputs: the outputs asked for, in order; empty for all.
        id: the request's.
        shelf: who may have answered.
    """
    parameters = {name: value.string_param for name, value in response.parameters.items()}
    try:
        served = Served(
            parameters["turnout_route"],
            parameters["turnout_target"],
            response.model_name,
            int(response.model_version),
            parameters["turnout_reason"],
        )
    except (KeyError, ValueError):
        return Verdict([f"it does not say who answered: {parameters}, {response.model_version!r}"])
    problems = judge_served(served, wanted, shelf)
    if response.id != id:
        problems.append(f"the id is {response.id!r}, not {id!r}")
    expected = wanted.model.answer(served.version, given)
    names = tuple(outputs) or tuple(spec.name for spec in wanted.model.signature.outputs)
    if tuple(output.name for output in response.outputs) != names:
        return Verdict([*problems, f"the outputs are {[output.name for output in response.outputs]}"], served)
    for index, name in enumerate(names):
        found = _tensor(response, index, wanted.model)
        if found is None or not same(found, expected[name]):
            problems.append(f"{name} is {_short(found)}, not {_short(expected[name])}")
    return Verdict(problems, served)


def _tensor(response: oip.ModelInferResponse, index: int, model: Model) -> Array | None:
    """Return one output; None for one that is malformed."""
    output = response.outputs[index]
    spec = next(spec for spec in model.signature.outputs if spec.name == output.name)
    if output.datatype != spec.dtype.value:
        return None
    dtype = NUMPY_DTYPES[spec.dtype]
    try:
        if len(response.raw_output_contents) > index:
            raw = response.raw_output_contents[index]
            flat = _texts(_split(raw)) if dtype.hasobject else np.frombuffer(raw, dtype)
        else:
            values = getattr(output.contents, TYPED_FIELDS[output.datatype])
            flat = _texts(values) if dtype.hasobject else np.array(values, dtype)
        return flat.reshape(tuple(output.shape))
    except (KeyError, ValueError):
        return None


def _texts(elements: Sequence[bytes]) -> Array:
    texts = np.empty(len(elements), object)
    texts[:] = [element.decode() for element in elements]
    return texts


def _split(raw: bytes) -> list[bytes]:
    elements = []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        elements.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return elements


# ---------------------------------------------------------------- typed services


def prices(raw: bytes, wanted: Wanted, given: Arrays, shelf: Shelf) -> Verdict:
    """Judge the answer to PredictPrice; *given* is what the model should have got."""
    response, served, problems = _typed(raw, pricing_service_pb2.PredictPriceResponse, wanted, shelf)
    if served is not None:
        expected = wanted.model.answer(served.version, given)
        found = {name: np.array([getattr(one, name) for one in response.prices], np.float32) for name in expected}
        problems += [f"{name} is {_short(found[name])}" for name in expected if not same(found[name], expected[name])]
    return Verdict(problems, served)


def ranks(raw: bytes, wanted: Wanted, given: Arrays, ids: Sequence[str], top_k: int, shelf: Shelf) -> Verdict:
    """Judge the answer to Rank; *given* is what the model should have got."""
    response, served, problems = _typed(raw, ranking_service_pb2.RankResponse, wanted, shelf)
    if served is not None:
        scores = wanted.model.answer(served.version, given)["score"]
        best = np.argsort(-scores, kind="stable")[: top_k or None]
        expected = [(ids[place], float(scores[place]), int(place)) for place in best]
        found = [(one.id, one.score, one.index) for one in response.candidates]
        if found != expected:
            problems.append(f"the order is {found[:4]}, not {expected[:4]}")
    return Verdict(problems, served)


def recommended(raw: bytes, wanted: Wanted, given: Arrays, shelf: Shelf) -> Verdict:
    """Judge the answer to Recommend; *given* is what the model should have got."""
    response, served, problems = _typed(raw, recommendation_service_pb2.RecommendResponse, wanted, shelf)
    if served is not None:
        answer = wanted.model.answer(served.version, given)
        pairs = zip(answer["item_ids"][0].tolist(), answer["scores"][0].tolist(), strict=True)
        expected = [(str(item), score) for item, score in pairs if item != -1]
        found = [(one.item_id, one.score) for one in response.items]
        if found != expected:
            problems.append(f"the items are {found[:4]}, not {expected[:4]}")
    return Verdict(problems, served)


def _typed(raw: bytes, kind: Any, wanted: Wanted, shelf: Shelf) -> tuple[Any, Served | None, list[str]]:
    try:
        response = kind.FromString(raw)
    except DecodeError:
        return None, None, ["the answer is no message"]
    by = response.served
    reason = served_pb2.Reason.Name(by.reason).removeprefix("REASON_")
    served = Served(by.route, by.target, by.model, by.version, reason)
    return response, served, judge_served(served, wanted, shelf)


def _short(array: Array | None) -> str:
    if array is None:
        return "malformed"
    return f"{array.dtype}{list(array.shape)} {array.reshape(-1)[:4].tolist()}"
