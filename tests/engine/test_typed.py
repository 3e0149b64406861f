"""What the engine reads and writes of the typed services is what Python reads and writes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.engine.test_oip import flipped
from tests.engine.wires import rewriter
from tests.rpc.inference import NUMPY, FakeCall, raw_bytes, texts
from tests.rpc.turnout_v1.typed_fakes import DECISION, FakeDataPlane
from turnout import v1 as pb
from turnout_server.engine import snapshot
from turnout_server.execution.measures import Measures, outputs_wanted
from turnout_server.rpc.turnout_v1.pricing import PricingService
from turnout_server.rpc.turnout_v1.ranking import RankingService
from turnout_server.rpc.turnout_v1.recommendation import RecommendationService
from turnout_server.vocabulary.errors import TurnoutError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

engine = pytest.importorskip("turnout_engine")

METADATA = {"x-turnout-unit": "theirs", "x-request-id": "their-id"}
NAMES = ("a", "b", "c", "d", "é")
NUMBERS = tuple(dtype for dtype in DType if dtype not in (DType.BYTES, DType.BF16))  # no task has BF16
FLOATS = (0.0, -0.0, 1.0, 2.0, -3.0, 0.5, 70000.0, 255.0, 1e-7, 2.0**31, 2.0**63, 2.0**64, -(2.0**63), 3e38)
ODD_FLOATS = (*FLOATS, float("nan"), float("inf"), float("-inf"))
EDGES = (127, 128, 255, 256, 65535, 65536, 2**24 + 1, 2**31, 2**32, 2**53 + 1, 2**63 - 1, -(2**63))
HALF_EDGES = (2049, 2051, 65519, -65520)
INTEGERS = (0, 1, 2, -1, *EDGES, *HALF_EDGES)


class Method(NamedTuple):
    """One of the methods."""

    path: str
    request: type[Any]
    answer: Callable[[Any, Any], Any]
    """Given the data plane and the request, a coroutine that never waits."""
    fields: Mapping[int, Any]
    """Which fields of the request are messages, and which fields of those."""


_COLUMN: dict[int, Any] = {2: {}, 3: {}, 4: {}}
RANK = Method(
    "turnout.v1.RankingService/Rank",
    pb.RankRequest,
    lambda plane, request: RankingService(plane).Rank(request, FakeCall(METADATA)),
    {1: {}, 3: _COLUMN, 4: _COLUMN, 6: {}},
)


PRICE = Method(
    "turnout.v1.PricingService/PredictPrice",
    pb.PredictPriceRequest,
    lambda plane, request: PricingService(plane).PredictPrice(request, FakeCall(METADATA)),
    {1: {}, 2: _COLUMN, 3: {}},
)
RECOMMEND = Method(
    "turnout.v1.RecommendationService/Recommend",
    pb.RecommendRequest,
    lambda plane, request: RecommendationService(plane).Recommend(request, FakeCall(METADATA)),
    {1: {}},
)


class Seen(NamedTuple):
    """What Python makes of a request."""

    fields: tuple[Any, ...]
    """What the engine is to say of it."""
    answer: Any
    error: TurnoutError | None


def in_python(method: Method, wire: bytes, signature: Signature, outputs: Arrays) -> Seen:
    """Return what becomes of a request where a model gives *outputs*.

    Raises:
        TurnoutError: it is refused before it runs.
    """
    plane = FakeDataPlane(signature, lambda _: outputs)
    answer, error = None, None
    try:
        method.answer(plane, method.request.FromString(wire)).send(None)
    except StopIteration as stop:
        answer = stop.value
    except TurnoutError as refused:
        if not plane.arrays:
            raise
        error = refused
    (query,), (arrays,) = plane.queries, plane.arrays
    measures = Measures(signature)
    rows = measures.rows(arrays)
    inputs = [
        (spec.dtype.value, list(arrays[spec.name].shape), raw_bytes(arrays[spec.name])) for spec in signature.inputs
    ]
    size = measures.size(arrays, rows)
    wanted = list(outputs_wanted(tuple(spec.name for spec in signature.outputs), query.outputs))
    return Seen((query.name, query.version, query.unit, query.request_id, inputs, rows, size, wanted), answer, error)


def natively(method: Method, wire: bytes, signature: Signature) -> tuple[Any, ...] | None:
    return engine.parse_typed(method.path, wire, METADATA, snapshot.signature(signature))


def check(method: Method, wire: bytes, signature: Signature, outputs: Arrays) -> bool:
    """Hold both against each other; return whether the engine took the request."""
    found = natively(method, wire, signature)
    if found is None:
        return False
    seen = in_python(method, wire, signature, outputs)
    assert found == seen.fields
    datatypes = {spec.name: spec.dtype.value for spec in signature.outputs}
    answer, fault = engine.answer_typed(
        method.path,
        wire,
        (*DECISION[:4], DECISION.reason.value, DECISION.assigned, DECISION.propensity),
        "the-request",
        [(name, datatypes[name], list(outputs[name].shape), raw_bytes(outputs[name])) for name in seen.fields[-1]],
    )
    if seen.error is not None:
        assert fault == (seen.error.reason, seen.error.message)
        assert answer is None
    else:
        assert fault is None
        assert answer == seen.answer.SerializeToString(deterministic=True)
    return True


# ---------------------------------------------------------------- features


@st.composite
def defaults(draw: st.DrawFn, dtype: DType) -> float | int | str | None:
    if draw(st.booleans()):
        return None
    if dtype is DType.BYTES:
        return draw(st.sampled_from(("", "Idéal")))
    return draw(st.sampled_from((0.0, 1.0, 0.5, -2.0, float("nan")) if dtype.startswith("FP") else (0, 1)))


@st.composite
def feature_inputs(draw: st.DrawFn) -> tuple[TensorSpec, ...]:
    """Return inputs that consist of features; a few share one."""
    specs: list[TensorSpec] = []
    for number in range(draw(st.integers(1, 3))):
        dtype = draw(st.one_of(st.just(DType.FP32), st.sampled_from(NUMBERS)))
        if draw(st.booleans()):
            names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
            columns = tuple(Column(name, draw(defaults(dtype))) for name in names)
            specs.append(TensorSpec(f"matrix-{number}", dtype, (-1, len(names)), columns=columns))
        else:
            name = draw(st.sampled_from([name for name in NAMES if name not in {spec.name for spec in specs}]))
            dtype = draw(st.sampled_from([dtype, dtype, DType.BYTES]))
            shape = draw(st.sampled_from([(-1,), (-1, 1)]))
            specs.append(TensorSpec(name, dtype, shape, default=draw(defaults(dtype))))
    return tuple(specs)


def known(inputs: Sequence[TensorSpec]) -> list[str]:
    named = [[column.name for column in spec.columns] or [spec.name] for spec in inputs]
    return list(dict.fromkeys(name for names in named for name in names))


TEXTS = st.sampled_from(["", "x", "漢字", "a\0b"])


@st.composite
def columns(draw: st.DrawFn, name: str, count: int, *, text: bool, odd: bool) -> pb.FeatureColumn:
    column = pb.FeatureColumn(name=name)
    kind = draw(st.integers(0, 9))
    if text and (kind > 1 or not odd):
        column.strings.values.extend(draw(st.lists(TEXTS, min_size=count, max_size=count)))
        return column
    match kind:
        case 0 if odd:
            column.strings.values.extend(["x"] * count)
        case 1 if odd:
            pass
        case 0 | 1 | 2:
            values = draw(st.lists(st.sampled_from(INTEGERS if odd else INTEGERS[:2]), min_size=count, max_size=count))
            column.integers.values.extend(values)
        case _:
            values = draw(st.lists(st.sampled_from(ODD_FLOATS if odd else FLOATS[:4]), min_size=count, max_size=count))
            column.floats.values.extend(values)
    return column


class Given(NamedTuple):
    """The features of a request."""

    columns: list[pb.FeatureColumn]
    matrix: pb.FeatureMatrix | None


@st.composite
def features(draw: st.DrawFn, inputs: Sequence[TensorSpec], rows: int, *, odd: bool) -> Given:
    """Return what a caller sends for *inputs*: as it should be, or *odd*."""
    names = draw(st.permutations(known(inputs))) if draw(st.booleans()) else known(inputs)
    if odd and draw(st.integers(0, 3)) == 0:
        names = [*names, draw(st.sampled_from(NAMES))][draw(st.integers(0, 1)) :]
    of_text = {spec.name for spec in inputs if spec.dtype is DType.BYTES}
    names = sorted(names, key=lambda name: name in of_text)
    numbers = len(names) if odd else sum(name not in of_text for name in names)
    packed = draw(st.integers(0, numbers)) if draw(st.booleans()) else 0
    counts = st.sampled_from([rows, rows, rows, 1, rows + 1, 0] if odd else [rows, rows, rows, 1])
    given = [draw(columns(name, draw(counts), text=name in of_text, odd=odd)) for name in names[packed:]]
    if not packed and draw(st.booleans()):
        return Given(given, None)
    count = draw(counts) * packed + (1 if odd and draw(st.integers(0, 9)) == 0 else 0)
    values = draw(st.lists(st.sampled_from(ODD_FLOATS if odd else FLOATS[:4]), min_size=count, max_size=count))
    return Given(given, pb.FeatureMatrix(names=names[:packed], values=values))


@st.composite
def selectors(draw: st.DrawFn) -> pb.Selector:
    return pb.Selector(
        name=draw(st.sampled_from(["r", "r", "price", "漢"])),
        version=draw(st.sampled_from(["", "1", "champion"])),
        unit=draw(st.sampled_from(["", "u", "ü" * 1024])),
    )


@st.composite
def numbers_a_row(draw: st.DrawFn, dtype: DType, rows: int, *, odd: bool) -> Array:
    shapes = [(rows,), (rows, 1)]
    if odd:
        shapes += [(rows + 1,), (), (rows, 2), (1, rows), (rows, 1, 1)]
    shape = draw(st.sampled_from(shapes))
    if dtype is DType.BYTES:
        return texts(["x"] * int(np.prod(shape)), shape)
    elements: Any = None
    if dtype.startswith("FP"):
        width = NUMPY[dtype.value]().itemsize * 8 if callable(NUMPY[dtype.value]) else 32
        special = st.sampled_from([0.0, -0.0, 1.0, float("nan"), float("inf"), float("-inf")])
        elements = st.one_of(special, st.floats(width=width))
    return draw(hnp.arrays(NUMPY[dtype.value], shape, elements=elements))


# ---------------------------------------------------------------- ranking


class Case(NamedTuple):
    """A request, whom it is for, and what that says."""

    request: Message
    signature: Signature
    outputs: Arrays


@st.composite
def rankings(draw: st.DrawFn, *, odd: bool) -> Case:
    inputs = draw(feature_inputs())
    rows = draw(st.integers(0, 5)) if draw(st.integers(0, 9)) else 40
    given = draw(features(inputs, rows, odd=odd))
    split = draw(st.integers(0, len(given.columns)))
    context = [one for one in given.columns[:split] if odd or _length(one) == 1]
    request = pb.RankRequest(
        selector=draw(selectors()),
        candidate_ids=[draw(st.sampled_from(["", "c", "é" * 70])) for _ in range(rows)],
        context_features=context,
        candidate_features=[one for one in given.columns if not any(one is other for other in context)],
        top_k=draw(st.sampled_from([0, 0, 1, 3, 2**31 - 1, *([-1] if odd else [])])),
        candidate_matrix=given.matrix,
    )
    names = draw(st.sampled_from([["score"], ["any"], ["x", "score"], *([["x", "y"]] if odd else [])]))
    others = (*NUMBERS, DType.BYTES)
    specs = tuple(
        TensorSpec(name, draw(st.sampled_from(others if odd or name == "x" else NUMBERS)), (-1,)) for name in names
    )
    outputs = {spec.name: draw(numbers_a_row(spec.dtype, rows, odd=odd)) for spec in specs}
    return Case(request, Signature(inputs, specs), outputs)


def _length(column: pb.FeatureColumn) -> int:
    kind = column.WhichOneof("values")
    return len(getattr(column, kind).values) if kind else 0


# ---------------------------------------------------------------- prices


@st.composite
def pricings(draw: st.DrawFn, *, odd: bool) -> Case:
    inputs = draw(feature_inputs())
    rows = draw(st.integers(0, 5)) if draw(st.integers(0, 9)) else 40
    given = draw(features(inputs, rows, odd=odd))
    request = pb.PredictPriceRequest(selector=draw(selectors()), features=given.columns, feature_matrix=given.matrix)
    counts = [_length(column) for column in given.columns]
    if given.matrix and given.matrix.names:
        counts.append(len(given.matrix.values) // len(given.matrix.names))
    names = draw(st.permutations(["price", "low", "high", "more"]))
    dtypes = [dtype for dtype in NUMBERS if odd or dtype is not DType.BOOL]
    specs = tuple(TensorSpec(name, draw(st.sampled_from(dtypes)), (-1,)) for name in names)
    outputs = {spec.name: draw(numbers_a_row(spec.dtype, max(counts, default=1), odd=odd)) for spec in specs}
    return Case(request, Signature(inputs, specs), outputs)


# ---------------------------------------------------------------- recommendations

WHOLE = tuple(dtype for dtype in NUMBERS if "INT" in dtype)
IDS = (
    "1",
    "7",
    "007",
    "-1",
    "-5",
    "x",
    "",
    "٣",
    "1.5",
    "+1",
    "-",
    "128",
    "300",
    "70000",
    str(2**31),
    str(2**64),
    "9" * 21,
)


@st.composite
def recommendations(draw: st.DrawFn, *, odd: bool) -> Case:
    dtypes = st.sampled_from([DType.INT64, DType.INT32, *(WHOLE if odd else ())])
    shape = (-1, -1)
    inputs = [
        TensorSpec("history", draw(st.one_of(dtypes, st.just(DType.BYTES))), shape),
        TensorSpec("exclude", draw(st.one_of(dtypes, st.just(DType.BYTES))), shape),
        TensorSpec("k", draw(dtypes), draw(st.sampled_from([(1,), (-1,), (), (1, 1)]))),
    ]
    request = pb.RecommendRequest(
        selector=draw(selectors()),
        history_item_ids=draw(st.lists(st.sampled_from(IDS), max_size=9)),
        excluded_item_ids=draw(st.lists(st.sampled_from(IDS), max_size=5)),
        top_k=draw(st.sampled_from([0, 1, 3, 1000, *([1001, -1] if odd else [])])),
    )
    width = draw(st.integers(0, 6))
    found = draw(st.sampled_from([(1, width)] * 3 + ([(2, width), (width,), ()] if odd else [])))
    other = draw(st.sampled_from([found] * 3 + ([(1, width + 1)] if odd else [])))
    ids, scores = draw(st.sampled_from((*WHOLE, DType.BYTES))), draw(st.sampled_from(NUMBERS[1:]))
    count = int(np.prod(found))
    if ids is DType.BYTES:
        items = texts(draw(st.lists(TEXTS, min_size=count, max_size=count)), found)
    else:
        some = st.sampled_from([1, 2, 127, *([] if ids.startswith("U") else [-1, -2])])
        items = draw(hnp.arrays(NUMPY[ids.value], found, elements=some))
    outputs = {"scores": draw(hnp.arrays(NUMPY[scores.value], other)), "item_ids": items}
    specs = (TensorSpec("scores", scores, shape), TensorSpec("item_ids", ids, shape))
    signature = Signature(tuple(draw(st.permutations(inputs))), specs, batched=draw(st.booleans()))
    return Case(request, signature, outputs)


def is_for_python(case: Case) -> bool:
    """Say whether the engine may leave a request to Python that Python takes."""
    request: Any = case.request
    if isinstance(request, pb.RecommendRequest):
        return False
    names = [spec.name for spec in case.signature.outputs]
    if isinstance(request, pb.RankRequest) and len(names) > 1 and "score" not in names:
        return True  # Python says so once it has run
    # Likewise.
    return any(spec.dtype is DType.BYTES for spec in case.signature.outputs if len(names) == 1 or spec.name != "x")


# ---------------------------------------------------------------- all of them

CASES = {"rank": (RANK, rankings), "price": (PRICE, pricings), "recommend": (RECOMMEND, recommendations)}
each = pytest.mark.parametrize("name", CASES)


def hold_alike(name: str, data: st.DataObject, *, odd: bool) -> None:
    """See that a request of this kind is taken where Python takes it, and answered as Python does."""
    method, cases = CASES[name]
    case = data.draw(cases(odd=odd))
    wire = case.request.SerializeToString()
    try:
        in_python(method, wire, case.signature, case.outputs)
    except TurnoutError:
        assert natively(method, wire, case.signature) is None
        return
    assert check(method, wire, case.signature, case.outputs) or is_for_python(case)


@each
@given(st.data())
@settings(max_examples=100)
def test_ordinary_requests_are_taken_and_answered_alike(name: str, data: st.DataObject) -> None:
    hold_alike(name, data, odd=False)


@each
@given(st.data())
@settings(max_examples=200)
def test_a_request_is_taken_exactly_where_python_takes_it(name: str, data: st.DataObject) -> None:
    hold_alike(name, data, odd=True)


@each
@pytest.mark.parametrize("how", ["flipped", "rewritten"])
@given(st.data(), st.integers(0, 2**32))
@settings(max_examples=25)
def test_what_is_taken_of_broken_messages_is_read_alike(how: str, name: str, data: st.DataObject, seed: int) -> None:
    method, cases = CASES[name]
    case = data.draw(cases(odd=False))
    dice = random.Random(seed)
    wire = case.request.SerializeToString()
    change = flipped if how == "flipped" else rewriter(method.fields)
    for _ in range(40):
        changed = change(wire, dice)
        try:
            check(method, changed, case.signature, case.outputs)
        except DecodeError as error:
            raise AssertionError("the engine takes what is no message") from error


def test_what_is_left_out_altogether_is_one_row_of_defaults() -> None:
    inputs = (TensorSpec("a", DType.FP32, (-1,), default=0.5), TensorSpec("b", DType.BYTES, (-1, 1), default="x"))
    outputs = {name: np.array([1.5], np.float32) for name in ("price", "low", "high")}
    signature = Signature(inputs, tuple(TensorSpec(name, DType.FP32, (-1,)) for name in outputs))
    request = pb.PredictPriceRequest(selector=pb.Selector(name="r"))
    assert check(PRICE, request.SerializeToString(), signature, outputs)


@pytest.mark.parametrize("hole", [0.25, float("nan")])
@pytest.mark.parametrize("names", [["a", "b"], ["b", "a"]])
def test_a_matrix_in_the_models_own_order_is_taken_as_it_is_unless_something_is_missing(
    names: list[str], hole: float
) -> None:
    matrix = TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a", 7.0), Column("b")))
    signature = Signature((matrix,), (TensorSpec("score", DType.FP32, (-1, 1)),))
    request = pb.RankRequest(
        selector=pb.Selector(name="r"),
        candidate_ids=["c", "d", "e"],
        candidate_matrix=pb.FeatureMatrix(names=names, values=[1, 2, hole, 4, 5, hole]),
    )
    outputs = {"score": np.array([[float("nan")], [1.0], [2.0]], np.float32)}
    assert check(RANK, request.SerializeToString(), signature, outputs)


@pytest.mark.parametrize(
    ("bounds", "taken"),
    [({"max_rows": 3, "max_elements": 6}, True), ({"max_rows": 2}, False), ({"max_elements": 5}, False)],
)
def test_rows_of_features_are_taken_as_far_as_their_versions_bounds_go(bounds: dict[str, int], taken: bool) -> None:
    matrix = TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a", 7.0), Column("b", 1.0)))
    signature = Signature((matrix,), (TensorSpec("score", DType.FP32, (-1, 1)),), **bounds)
    request = pb.RankRequest(selector=pb.Selector(name="r"), candidate_ids=["c", "d", "e"])
    assert check(RANK, request.SerializeToString(), signature, {"score": np.ones((3, 1), np.float32)}) == taken


@pytest.mark.parametrize(("history", "taken"), [(5, True), (6, False)])
def test_ids_are_counted_as_they_were_given(history: int, taken: bool) -> None:
    """Five are eight with their padding, and one that is no number is none."""
    ids = (TensorSpec("history", DType.INT64, (-1, -1)), TensorSpec("exclude", DType.INT64, (-1, -1)))
    outputs = (TensorSpec("item_ids", DType.INT64, (-1, -1)), TensorSpec("scores", DType.FP32, (-1, -1)))
    signature = Signature((*ids, TensorSpec("k", DType.INT64, (1,))), outputs, max_elements=6)
    given_ids = [*map(str, range(history - 1)), "no number"]
    request = pb.RecommendRequest(selector=pb.Selector(name="r"), history_item_ids=given_ids)
    answer = {"item_ids": np.array([[7]], np.int64), "scores": np.array([[1.0]], np.float32)}
    assert check(RECOMMEND, request.SerializeToString(), signature, answer) == taken
