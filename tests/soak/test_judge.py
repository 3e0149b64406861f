"""A right answer passes, and each way of being wrong is found out."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest

from tests.soak import judge
from tests.soak.asks import Ask, Composer
from tests.soak.judge import Served, Verdict, Wanted
from tests.soak.models import MODELS, Model
from tests.soak.shelf import LABELS, ROUTES, Shelf
from turnout.v1 import pricing_service_pb2, ranking_service_pb2, recommendation_service_pb2, served_pb2
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.vocabulary.tensors import Arrays

GOOD, BROKEN, UNHEARD = 2, 3, 9


@pytest.fixture
def shelf() -> Shelf:
    """Every model has versions 1 and 2, of which 2 is the champion, and a broken version 3."""
    shelf = Shelf()
    for name in MODELS:
        for version, label in enumerate(reversed(LABELS), 1):
            shelf.add(name, version)
            shelf.point(name, label, version)
        shelf.broken[name].add(BROKEN)
    return shelf


def answered(ask: Ask, model: Model, given: Arrays, version: int = GOOD) -> oip.ModelInferResponse:
    """Return the right answer to *ask*, raw."""
    assert ask.message is not None
    response = oip.ModelInferResponse(model_name=model.name, model_version=str(version), id=ask.message.id)
    for name, value in (("route", ""), ("target", ""), ("reason", "PINNED")):
        response.parameters[f"turnout_{name}"].string_param = value
    outputs = model.answer(version, given)
    for spec in model.signature.outputs:
        array = outputs[spec.name]
        response.outputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
        if array.dtype.hasobject:
            coded = [text.encode() for text in array.reshape(-1)]
            response.raw_output_contents.append(b"".join(len(one).to_bytes(4, "little") + one for one in coded))
        else:
            response.raw_output_contents.append(array.tobytes())
    return response


def asked(model: Model, shelf: Shelf, caller: str = "test") -> tuple[Ask, Arrays, Callable[..., Verdict]]:
    """Return a request for the champion with some rows, its inputs, and its judge."""
    random = Random(5)
    wanted = Wanted(model, "", "champion")
    given = model.draw(random)
    while not all(array.size for array in given.values()):
        given = model.draw(random)
    ask = Composer(random, shelf, caller).pinned(model, "champion")
    assert ask.message is not None
    id = ask.message.id
    return ask, given, lambda response: judge.inference(response, wanted, given, (), id, shelf)


every_model = pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)


@every_model
def test_the_right_answer_passes(model: Model, shelf: Shelf) -> None:
    ask, given, verdict = asked(model, shelf)
    served = Served("", "", model.name, GOOD, "PINNED")
    assert verdict(answered(ask, model, given)) == Verdict([], served)


@every_model
def test_the_answer_of_another_version_than_is_named_is_wrong(model: Model, shelf: Shelf) -> None:
    ask, given, verdict = asked(model, shelf)
    response = answered(ask, model, given, version=GOOD - 1)
    response.model_version = str(GOOD)
    assert verdict(response).problems


@every_model
def test_an_answer_to_other_rows_is_wrong(model: Model, shelf: Shelf) -> None:
    ask, given, verdict = asked(model, shelf)
    others = {name: array.copy() for name, array in given.items()}
    for array in others.values():
        array.reshape(-1)[-1:] = "another's" if array.dtype.hasobject else (5 if array.reshape(-1)[-1] != 5 else 6)
    if model.name == "recommendation":
        others["history"] = np.array([[101] * 20], np.int64)
    assert verdict(answered(ask, model, others)).problems


@pytest.mark.parametrize("version", [BROKEN, UNHEARD])
def test_a_version_that_must_not_answer_is_found_out(version: int, shelf: Shelf) -> None:
    model = MODELS["table"]
    ask, given, verdict = asked(model, shelf)
    assert "answered for" in verdict(answered(ask, model, given, version)).problems[0]


def test_a_label_s_answer_comes_from_a_version_that_had_the_label(shelf: Shelf) -> None:
    model = MODELS["table"]
    ask, given, verdict = asked(model, shelf)
    assert verdict(answered(ask, model, given, version=1)).problems
    shelf.point("table", "champion", 1)
    assert not verdict(answered(ask, model, given, version=1)).problems


def scramble_id(response: oip.ModelInferResponse) -> None:
    response.id = "another's"


def another_model(response: oip.ModelInferResponse) -> None:
    response.model_name = "wide"


def another_reason(response: oip.ModelInferResponse) -> None:
    response.parameters["turnout_reason"].string_param = "FALLBACK"


def a_route(response: oip.ModelInferResponse) -> None:
    response.parameters["turnout_route"].string_param = "table-split"


def nobody(response: oip.ModelInferResponse) -> None:
    response.parameters.clear()


def no_version(response: oip.ModelInferResponse) -> None:
    response.model_version = "champion"


def lost_output(response: oip.ModelInferResponse) -> None:
    del response.outputs[-1], response.raw_output_contents[-1]


def other_order(response: oip.ModelInferResponse) -> None:
    first = oip.ModelInferResponse.InferOutputTensor()
    first.CopyFrom(response.outputs[0])
    del response.outputs[0]
    response.outputs.append(first)


def other_dtype(response: oip.ModelInferResponse) -> None:
    response.outputs[0].datatype = "INT32"


def other_shape(response: oip.ModelInferResponse) -> None:
    response.outputs[0].shape[0] += 1


def cut_short(response: oip.ModelInferResponse) -> None:
    response.raw_output_contents[0] = response.raw_output_contents[0][:-1]


def one_bit(response: oip.ModelInferResponse) -> None:
    raw = bytearray(response.raw_output_contents[0])
    raw[2] ^= 0x40
    response.raw_output_contents[0] = bytes(raw)


@pytest.mark.parametrize(
    "harm",
    [
        *(scramble_id, another_model, another_reason, a_route, nobody, no_version),
        *(lost_output, other_order, other_dtype, other_shape, cut_short, one_bit),
    ],
)
def test_every_harm_to_an_answer_is_found_out(harm: Callable[[oip.ModelInferResponse], None], shelf: Shelf) -> None:
    model = MODELS["table"]
    ask, given, verdict = asked(model, shelf)
    response = answered(ask, model, given)
    harm(response)
    assert verdict(response).problems


@pytest.mark.parametrize(
    ("wanted", "served", "right"),
    [
        (("table-split", "u", False), ("table-split", "champion", 2, "SPLIT"), True),
        (("table-split", "", False), ("table-split", "champion", 2, "UNSTICKY"), True),
        (("table-split", "", True), ("table-split", "challenger", 1, "OVERRIDE"), True),
        (("table-split", "u", False), ("table-split", "champion", 2, "UNSTICKY"), False),
        (("table-split", "u", False), ("table-split", "champion", 1, "SPLIT"), False),
        (("table-split", "u", False), ("wide-split", "champion", 2, "SPLIT"), False),
        (("table-split", "u", False), ("table-split", "nobody", 2, "SPLIT"), False),
        (("table-split", "u", False), ("table-split", "champion", 2, "FALLBACK"), False),
        (("table-split", "", True), ("table-split", "challenger", 1, "SPLIT"), False),
    ],
)
def test_a_route_s_answer_says_rightly_who_gave_it_and_why(
    wanted: tuple[str, str, bool], served: tuple[str, str, int, str], right: bool, shelf: Shelf
) -> None:
    route, unit, overridden = wanted
    of, target, version, reason = served
    asked_for = Wanted(ROUTES[route].model, route, "", unit, overridden)
    problems = judge.judge_served(Served(of, target, "table", version, reason), asked_for, shelf)
    assert (not problems) is right


# ---------------------------------------------------------------- typed services


def by(model: str) -> served_pb2.Served:
    return served_pb2.Served(model=model, version=GOOD, reason=served_pb2.REASON_PINNED)


def test_prices_are_judged_row_by_row(shelf: Shelf) -> None:
    model = MODELS["price"]
    given = {"carat": np.array([[1], [2]], np.float32), "cut": np.array([["Ideal"], ["Fair"]], object)}
    answer = model.answer(GOOD, given)
    rows = [dict(zip(answer, row, strict=True)) for row in zip(*answer.values(), strict=True)]
    wanted = Wanted(model, "", "champion")

    def problems(prices: list[dict[str, float]]) -> list[str]:
        response = pricing_service_pb2.PredictPriceResponse(prices=prices, served=by("price"))
        return judge.prices(response.SerializeToString(), wanted, given, shelf).problems

    assert not problems(rows)
    assert problems(rows[::-1])
    assert problems(rows[:1])
    assert problems([rows[0], rows[1] | {"low": 0.0}])


def test_ranks_are_judged_in_their_order(shelf: Shelf) -> None:
    model = MODELS["ranking"]
    given = {"features": np.array([[1, 0, 0], [2, 5, 0], [1, 0, 0]], np.float32)}
    scores = model.answer(GOOD, given)["score"]
    ids = ["a", "b", "c"]
    right = [{"id": ids[place], "score": scores[place], "index": place} for place in (1, 0, 2)]
    wanted = Wanted(model, "", "champion")

    def problems(candidates: list[dict[str, object]], top_k: int = 0) -> list[str]:
        response = ranking_service_pb2.RankResponse(candidates=candidates, served=by("ranking"))
        return judge.ranks(response.SerializeToString(), wanted, given, ids, top_k, shelf).problems

    assert not problems(right)
    assert not problems(right[:2], top_k=2)
    assert problems(right[:2])
    assert problems([right[0], right[2], right[1]])
    assert problems([right[0] | {"score": 0.0}, *right[1:]])


def test_recommendations_are_judged_without_padding(shelf: Shelf) -> None:
    model = MODELS["recommendation"]
    given = {
        "history": np.array([[105]], np.int64),
        "exclude": np.array([[101]], np.int64),
        "k": np.array([10], np.int64),
    }
    answer = model.answer(GOOD, given)
    pairs = zip(answer["item_ids"][0].tolist(), answer["scores"][0].tolist(), strict=True)
    right = [{"item_id": str(item), "score": score} for item, score in pairs if item != -1]
    wanted = Wanted(model, "", "champion")

    def problems(items: list[dict[str, object]]) -> list[str]:
        response = recommendation_service_pb2.RecommendResponse(items=items, served=by("recommendation"))
        return judge.recommended(response.SerializeToString(), wanted, given, shelf).problems

    assert len(right) == 9
    assert not problems(right)
    assert problems(right[1:])
    assert problems([right[1], right[0], *right[2:]])
    assert problems([*right, {"item_id": "-1", "score": -1e9}])


def test_what_is_no_message_is_no_answer(shelf: Shelf) -> None:
    given = MODELS["price"].draw(Random(1))
    assert judge.prices(b"\xff\xff", Wanted(MODELS["price"], "", ""), given, shelf).problems
