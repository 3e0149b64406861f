"""Requests, made up at random: what is sent, how it may end, and how its answer is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TypeVar

import numpy as np

from tests.soak import judge
from tests.soak.judge import TYPED_FIELDS, Verdict, Wanted
from tests.soak.models import MODELS, Model
from tests.soak.shelf import LABELS, OVERRIDE, ROUTES, Shelf
from turnout.v1 import (
    features_pb2,
    pricing_service_pb2,
    ranking_service_pb2,
    recommendation_service_pb2,
    served_pb2,
)
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.vocabulary.signature import DType
from turnout_server.vocabulary.tensors import Array, Arrays

T = TypeVar("T")
Metadata = tuple[tuple[str, str], ...]

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"
PRICE = "turnout.v1.PricingService/PredictPrice"
RANK = "turnout.v1.RankingService/Rank"
RECOMMEND = "turnout.v1.RecommendationService/Recommend"

ANSWERED = frozenset({"OK"})
INVALID = frozenset({"INVALID_ARGUMENT"})
MISSING = frozenset({"NOT_FOUND"})
NUMBERED = frozenset({"OK", "NOT_FOUND", "UNAVAILABLE"})
"""A version asked for by its number may be there, may be gone, or may be in the store without being loaded."""
DEADLINED = frozenset({"OK", "DEADLINE_EXCEEDED"})
DROPPED = tuple(MODELS[name] for name in ("table", "wide", "slow", "price"))
"""The models whose callers may give up, so that the counts of all others can be compared exactly."""


@dataclass
class Ask:
    """One request."""

    what: str
    """Its kind, for reports and to see that every kind came up."""
    method: str
    payload: bytes
    name: str
    """The route or model asked for; empty where there is none."""
    codes: frozenset[str]
    """How it may end, besides being refused for lack of room."""
    judge: Callable[[bytes, Shelf], Verdict] | None = None
    """Judges an answer; None where there must be none."""
    metadata: Metadata = ()
    timeout_s: float | None = None
    """The call's deadline, in seconds from its start; None for none."""
    message: oip.ModelInferRequest | None = None
    """What `payload` is, where a stream could carry it too."""
    judge_message: Callable[[oip.ModelInferResponse, Shelf], Verdict] | None = None
    """Judges the answer that a stream carries."""
    rows: int = 0
    """How many rows an answer counts for in the statistics."""


class Composer:
    """Makes up requests; the same ones for the same random numbers and the same shelf."""

    def __init__(self, random: Random, shelf: Shelf, caller: str) -> None:
        """Begin; *caller* goes into the ids of requests."""
        self._random = random
        self._shelf = shelf
        self._caller = caller
        self._made = 0

    # ------------------------------------------------------------ requests that should be answered

    def plain(self, among: Sequence[Model] = ()) -> Ask:
        """Return a request of the Open Inference Protocol to any route or model, or to a model out of *among*."""
        return self._plain(self._wanted(among))

    def streamed(self, among: Sequence[Model] = ()) -> Ask:
        """Return the same for a stream, whose requests have no headers of their own."""
        return self._plain(self._wanted(among)._replace(overridden=False))

    def pinned(self, model: Model, selector: str) -> Ask:
        """Return a request to a version of *model*: by its number, by a label, or by neither."""
        return self._plain(Wanted(model, "", selector))

    def _plain(self, wanted: Wanted) -> Ask:
        given = wanted.model.draw(self._random)
        outputs = self._outputs(wanted.model)
        raw = self._random.random() < 0.6
        message = self._message(wanted, given, outputs, raw)
        if self._random.random() < 0.3:
            message.parameters["priority"].int64_param = self._random.randint(0, 12)
        codes = ANSWERED
        if wanted.selector.isdigit():
            codes = NUMBERED
        elif wanted.route and ROUTES[wanted.route].comes_and_goes:
            codes |= MISSING
        what = f"{'raw' if raw else 'typed'} {wanted.route or wanted.model.name}"
        return self._ask(what, message, wanted, given, outputs, codes)

    def to_slow(self) -> Ask:
        """Return a request that takes some milliseconds."""
        return self.plain([MODELS["slow"]])

    def hurried(self) -> Ask:
        """Return a request whose deadline may be too close: the call's own, or the parameter."""
        ask = self.plain(DROPPED)
        ask.codes |= DEADLINED
        if self._random.random() < 0.5:
            ask.what = "hurried by its deadline"
            ask.timeout_s = self._random.choice((0.0005, 0.002, 0.005, 0.02, 0.1))
        else:
            ask.what = "hurried by its parameter"
            assert ask.message is not None
            ask.message.parameters["timeout"].int64_param = self._random.choice((1, 200, 2_000, 20_000, 10_000_000))
            ask.payload = ask.message.SerializeToString()
        return ask

    def price(self) -> Ask:
        """Return a call of PredictPrice."""
        wanted = self._wanted([MODELS["price"]])
        given = wanted.model.draw(self._random)
        request = pricing_service_pb2.PredictPriceRequest(selector=self._selector(wanted))
        request.features.append(_floats("carat", given["carat"][:, 0]))
        if not len(given["carat"]) or self._random.random() < 0.7:
            cuts = given["cut"][:, 0].tolist()
            request.features.append(
                features_pb2.FeatureColumn(name="cut", strings=features_pb2.StringValues(values=cuts))
            )
        else:
            given["cut"][:] = "Ideal"
        return self._typed("price", PRICE, request.SerializeToString(), wanted, partial(judge.prices, given=given))

    def rank(self) -> Ask:
        """Return a call of Rank."""
        wanted = self._wanted([MODELS["ranking"]])
        given = wanted.model.draw(self._random)
        features = given["features"]
        ids = [f"c{number}" for number in range(len(features))]
        top_k = self._random.choice((0, 1, 5))
        request = ranking_service_pb2.RankRequest(selector=self._selector(wanted), candidate_ids=ids, top_k=top_k)
        request.candidate_features.append(_floats("price", features[:, 0]))
        if self._random.random() < 0.5:
            request.candidate_features.append(_floats("discount", features[:, 1]))
        else:
            features[:, 1] = 0.0
        hour = float(self._random.randint(0, 23))
        features[:, 2] = hour
        request.context_features.append(_floats("hour", np.array([hour], np.float32)))
        judged = partial(judge.ranks, given=given, ids=ids, top_k=top_k)
        return self._typed("rank", RANK, request.SerializeToString(), wanted, judged)

    def recommend(self) -> Ask:
        """Return a call of Recommend."""
        wanted = self._wanted([MODELS["recommendation"]])
        given = wanted.model.draw(self._random)
        request = recommendation_service_pb2.RecommendRequest(
            selector=self._selector(wanted),
            history_item_ids=list(map(str, given["history"][0].tolist())),
            excluded_item_ids=list(map(str, given["exclude"][0].tolist())),
            top_k=int(given["k"][0]),
        )
        judged = partial(judge.recommended, given=given)
        return self._typed("recommend", RECOMMEND, request.SerializeToString(), wanted, judged)

    # ------------------------------------------------------------ requests that should not

    def defective(self, streamed: bool = False) -> Ask:
        """Return a request with something wrong; with *streamed*, one that leaves a stream whole."""
        defects = STREAMED if streamed else DEFECTS
        what = self._random.choice(sorted(defects))
        defect = defects[what]
        model = MODELS[defect.model] if defect.model else self._random.choice(_PLAIN)
        wanted = Wanted(model, "", self._random.choice(LABELS))
        given = model.draw(self._random)
        message = self._message(wanted, given, (), raw=True)
        payload = defect.harm(message) or message.SerializeToString()
        name = message.model_name if message.model_name in MODELS else ""
        return Ask(f"defect: {what}", defect.method, payload, name, defect.codes, message=message)

    # ------------------------------------------------------------ their parts

    def _wanted(self, among: Sequence[Model]) -> Wanted:
        random = self._random
        models = list(among) or list(MODELS.values())
        routes = [route for route in ROUTES.values() if route.model in models]
        if routes and random.random() < 0.6:
            route = random.choice(routes)
            unit = f"unit-{random.randint(1, 50)}" if random.random() < 0.7 else ""
            return Wanted(route.model, route.name, "", unit, overridden=random.random() < 0.1)
        model = random.choice(models)
        selector = random.choice(("", *LABELS, str(random.choice(self._shelf.good[model.name][-6:]))))
        return Wanted(model, "", selector)

    def _outputs(self, model: Model) -> tuple[str, ...]:
        names = [spec.name for spec in model.signature.outputs]
        if self._random.random() < 0.7:
            return ()
        return tuple(self._random.sample(names, self._random.randint(1, len(names))))

    def _message(self, wanted: Wanted, given: Arrays, outputs: Sequence[str], raw: bool) -> oip.ModelInferRequest:
        self._made += 1
        message = oip.ModelInferRequest(
            model_name=wanted.route or wanted.model.name,
            model_version=wanted.selector,
            id=f"{self._caller}-{self._made}",
        )
        if wanted.unit:
            message.parameters["unit_id"].string_param = wanted.unit
        for spec in wanted.model.signature.inputs:
            array = given[spec.name]
            tensor = message.inputs.add(name=spec.name, datatype=spec.dtype.value, shape=array.shape)
            if raw or spec.dtype is DType.FP16:
                message.raw_input_contents.append(_raw(array))
            else:
                values = array.reshape(-1).tolist()
                coded = [value.encode() for value in values] if array.dtype.hasobject else values
                tensor.contents.SetInParent()
                getattr(tensor.contents, TYPED_FIELDS[tensor.datatype]).extend(coded)
        for name in outputs:
            message.outputs.add(name=name)
        return message

    def _ask(
        self,
        what: str,
        message: oip.ModelInferRequest,
        wanted: Wanted,
        given: Arrays,
        outputs: Sequence[str],
        codes: frozenset[str],
    ) -> Ask:
        judged = partial(judge.inference, wanted=wanted, given=given, outputs=outputs, id=message.id)

        def judge_bytes(raw: bytes, shelf: Shelf) -> Verdict:
            return judged(oip.ModelInferResponse.FromString(raw), shelf=shelf)

        def judge_message(response: oip.ModelInferResponse, shelf: Shelf) -> Verdict:
            return judged(response, shelf=shelf)

        return Ask(
            what,
            INFER,
            message.SerializeToString(),
            message.model_name,
            codes,
            judge_bytes,
            _metadata(wanted),
            message=message,
            judge_message=judge_message,
            rows=_rows(given),
        )

    def _selector(self, wanted: Wanted) -> served_pb2.Selector:
        name = wanted.route or wanted.model.name
        return served_pb2.Selector(name=name, version=wanted.selector, unit=wanted.unit)

    def _typed(self, what: str, method: str, payload: bytes, wanted: Wanted, judged: Callable[..., Verdict]) -> Ask:
        def judge_bytes(raw: bytes, shelf: Shelf) -> Verdict:
            return judged(raw, wanted=wanted, shelf=shelf)

        codes = NUMBERED if wanted.selector.isdigit() else ANSWERED
        name = wanted.route or wanted.model.name
        return Ask(what, method, payload, name, codes, judge_bytes, _metadata(wanted))


def _metadata(wanted: Wanted) -> Metadata:
    return (OVERRIDE,) if wanted.overridden else ()


def _rows(given: Arrays) -> int:
    first = next(iter(given.values()))
    return len(first) if first.ndim else 1


def _raw(array: Array) -> bytes:
    if not array.dtype.hasobject:
        return array.tobytes()
    coded = [text.encode() for text in array.reshape(-1).tolist()]
    return b"".join(len(text).to_bytes(4, "little") + text for text in coded)


def _floats(name: str, values: Array) -> features_pb2.FeatureColumn:
    return features_pb2.FeatureColumn(name=name, floats=features_pb2.FloatValues(values=values.tolist()))


# ---------------------------------------------------------------- defects


@dataclass(frozen=True)
class Defect:
    """Something that can be wrong with a request."""

    harm: Callable[[oip.ModelInferRequest], bytes | None]
    """Harms a message, or returns what to send in place of one."""
    codes: frozenset[str] = INVALID
    model: str = ""
    """The model that it is possible with; empty for any plain one."""
    method: str = INFER


_PLAIN = [MODELS[name] for name in ("table", "blend", "words", "half", "slow", "whole", "nosy")]


def _set(**fields: object) -> Callable[[oip.ModelInferRequest], None]:
    def harm(message: oip.ModelInferRequest) -> None:
        for name, value in fields.items():
            setattr(message, name, value)

    return harm


def _input(change: Callable[[oip.ModelInferRequest.InferInputTensor], object]) -> Callable[..., None]:
    def harm(message: oip.ModelInferRequest) -> None:
        change(message.inputs[0])

    return harm


def _drop_input(message: oip.ModelInferRequest) -> None:
    del message.inputs[0], message.raw_input_contents[0]


def _double_input(message: oip.ModelInferRequest) -> None:
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


def _few_bytes(message: oip.ModelInferRequest) -> None:
    message.raw_input_contents[0] += b"\0"


def _both_forms(message: oip.ModelInferRequest) -> None:
    message.inputs[0].contents.fp32_contents.append(1.0)


def _unknown_output(message: oip.ModelInferRequest) -> None:
    message.outputs.add(name="nothing")


def _wild_priority(message: oip.ModelInferRequest) -> None:
    message.parameters["priority"].string_param = "high"


def _sequence(message: oip.ModelInferRequest) -> None:
    message.parameters["sequence_id"].int64_param = 7


def _out_of_range(message: oip.ModelInferRequest) -> None:
    message.raw_input_contents[0] = b"\xff\xff\xff\x7f" + bytes(4) + message.raw_input_contents[0][8:]


def _price_of_a_table(message: oip.ModelInferRequest) -> bytes:
    return pricing_service_pb2.PredictPriceRequest(selector=served_pb2.Selector(name="table")).SerializeToString()


def _unknown_feature(message: oip.ModelInferRequest) -> bytes:
    request = pricing_service_pb2.PredictPriceRequest(selector=served_pb2.Selector(name="price"))
    request.features.append(_floats("weight", np.ones(1, np.float32)))
    return request.SerializeToString()


STREAMED = {
    "wrong dtype": Defect(_input(lambda tensor: setattr(tensor, "datatype", "UINT8"))),
    "one dimension too many": Defect(_input(lambda tensor: tensor.shape.append(1))),
    "other width": Defect(_input(lambda tensor: tensor.shape.__setitem__(1, 3)), model="table"),
    "seven rows of eight": Defect(_input(lambda tensor: tensor.shape.__setitem__(0, 7)), model="fixed"),
    "absurd rows": Defect(_input(lambda tensor: tensor.shape.__setitem__(0, 2**40))),
    "unknown input": Defect(_input(lambda tensor: setattr(tensor, "name", "nothing"))),
    "missing input": Defect(_drop_input),
    "doubled input": Defect(_double_input),
    "a byte too many": Defect(_few_bytes),
    "raw and typed": Defect(_both_forms),
    "unknown output": Defect(_unknown_output),
    "wild priority": Defect(_wild_priority),
    "value out of range": Defect(_out_of_range, model="picky"),
    "no name": Defect(_set(model_name="", model_version="")),
    "unknown name": Defect(_set(model_name="nothing", model_version=""), MISSING),
    "unknown label": Defect(_set(model_version="nobody"), MISSING),
    "unknown version": Defect(_set(model_version="99999"), MISSING),
    "sequence": Defect(_sequence, frozenset({"UNIMPLEMENTED"})),
}
"""What is wrong with one request of a stream, and costs the others nothing."""
DEFECTS = STREAMED | {
    "no message": Defect(lambda message: b"\xff\xff\xff"),
    "another task": Defect(_price_of_a_table, method=PRICE),
    "unknown feature": Defect(_unknown_feature, method=PRICE),
    "unknown method": Defect(
        lambda message: b"", frozenset({"UNIMPLEMENTED"}), method="inference.GRPCInferenceService/Nothing"
    ),
}
"""What can be wrong with a request."""


def deck(random: Random, cards: Sequence[T]) -> list[T]:
    """Return *cards* in a random order: every one comes up, whatever the seed."""
    return random.sample(list(cards), len(cards))
