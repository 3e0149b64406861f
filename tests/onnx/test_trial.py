"""What passes its trial is what the manifest says, and has run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.onnx.graphs import FLOAT, INT64, LINEAR, LOOKUP, graph, linear, lookup, manifest, saved, value
from turnout_server.onnx import trial
from turnout_server.onnx.session import OpenSession
from turnout_server.onnx.trial import inspect, load, made_up
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import bf16_of, fp32_of


def signature_of(inputs: str, outputs: str, batched: bool = True) -> Signature:
    """Read `x FP32 -1 2, z INT64 -1`."""

    def specs(text: str) -> tuple[TensorSpec, ...]:
        words = [part.split() for part in text.split(",") if part.strip()]
        return tuple(TensorSpec(name, DType(dtype), tuple(map(int, shape))) for name, dtype, *shape in words)

    return Signature(specs(inputs), specs(outputs), batched)


def test_a_good_version_loads_and_its_run_times_are_measured(open_session: OpenSession, tmp_path: Path) -> None:
    servable, times, independent, _, needs, _ = load(saved(tmp_path, linear()), manifest(), open_session)
    assert sorted(times) == [1, 64]
    assert all(ns > 0 for ns in times.values())
    assert independent
    taken = servable.run_bytes()
    assert sorted(needs) == ([] if taken is None else [1, 64])
    assert all(nbytes >= rows * 12 for rows, nbytes in needs.items())  # two numbers in, and one out
    assert servable.run({"x": np.array([[1, 2], [3, 4]], np.float32)})[0].tolist() == [[3], [7]]


@pytest.mark.parametrize("raw", [b"", b"garbage", b"\x00" * 1000, b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"])
def test_what_is_no_model_is_refused(open_session: OpenSession, tmp_path: Path, raw: bytes) -> None:
    with pytest.raises(InvalidModelError, match=r"model\.onnx is not a valid ONNX model"):
        load(saved(tmp_path, raw), manifest(), open_session)


def test_a_truncated_model_is_refused(open_session: OpenSession, tmp_path: Path) -> None:
    raw = linear().SerializeToString()
    with pytest.raises(InvalidModelError):
        load(saved(tmp_path, raw[: len(raw) // 2]), manifest(), open_session)


def test_a_version_without_a_graph_is_refused(open_session: OpenSession, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match=r"has no model\.onnx"):
        load(tmp_path, manifest(), open_session)


def test_a_graph_that_goes_away_while_it_is_looked_at_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that finds a file, and a second one that does not, would end in an error that nobody expects."""
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    (tmp_path / "store").write_text("no directory")
    for path in (tmp_path / "model.onnx", tmp_path / "store" / "model.onnx", tmp_path):
        with pytest.raises(InvalidModelError):
            trial.check_graph(path)


@pytest.mark.parametrize("dims", [[2**40], [2**33, 2**33], [-5], [10**9]])
def test_a_weight_that_claims_to_be_huge_is_refused(open_session: OpenSession, tmp_path: Path, dims: list[int]) -> None:
    weight = TensorProto(name="w", data_type=FLOAT, dims=dims, raw_data=b"\0" * 8)
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    model = graph(nodes, [value("x", FLOAT, ["n"])], [value("y", FLOAT, ["n"])], [weight])
    with pytest.raises(InvalidModelError, match="not a valid ONNX model"):
        load(saved(tmp_path, model), manifest(), open_session)


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (signature_of("x FP64 -1 2", "y FP32 -1 1"), "input 'x' is FP32 in the graph, FP64 in the manifest"),
        (signature_of("x FP32 -1 3", "y FP32 -1 1"), r"input 'x' has shape \[-1, 2\] in the graph, \[-1, 3\]"),
        (signature_of("x FP32 -1", "y FP32 -1 1"), "input 'x' has shape"),
        (signature_of("z FP32 -1 2", "y FP32 -1 1"), "the graph has no input 'z'; it has x"),
        (signature_of("", "y FP32 -1 1"), "the manifest leaves out the graph's input 'x'"),
        (signature_of("x FP32 -1 2", "q FP32 -1 1"), "the graph has no output 'q'; it has y"),
        (signature_of("x FP32 -1 2", "y INT64 -1 1"), "output 'y' is FP32 in the graph, INT64 in the manifest"),
        (signature_of("x FP32 -1 2", ""), "the manifest names no output"),
    ],
)
def test_a_graph_that_does_not_do_what_its_manifest_says_is_refused(
    open_session: OpenSession, tmp_path: Path, signature: Signature, problem: str
) -> None:
    with pytest.raises(InvalidModelError, match=problem):
        load(saved(tmp_path, linear()), manifest(signature), open_session)


def test_a_size_that_the_graph_leaves_open_may_be_fixed_by_the_manifest(
    open_session: OpenSession, tmp_path: Path
) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = graph(nodes, [value("x", FLOAT, ["n", "m"])], [value("y", FLOAT, ["n", "m"])])
    servable, *_ = load(saved(tmp_path, model), manifest(signature_of("x FP32 -1 7", "y FP32 -1 7")), open_session)
    assert servable.signature.inputs[0].shape == (-1, 7)


def test_a_graph_that_fails_in_the_warm_up_is_refused_with_onnx_runtimes_own_text(
    open_session: OpenSession, tmp_path: Path
) -> None:
    """And the default that it was given is not blamed on zeros."""
    spec = TensorSpec("i", DType.INT64, (-1,), default=99)
    with pytest.raises(InvalidModelError, match="the warm-up run with 1 made-up row failed: ") as caught:
        load(saved(tmp_path, lookup()), manifest(Signature((spec,), LOOKUP.outputs)), open_session)
    assert "Gather node" in caught.value.message
    assert "idx=99 must be within the inclusive range [-5,4]" in caught.value.message
    assert caught.value.message.endswith("; it was given the manifest's defaults")


def text_to_number() -> ModelProto:
    """Triton's `simple_string` in short: a text that is no number fails it, and the empty one is none."""
    nodes = [helper.make_node("Cast", ["text"], ["y"], to=FLOAT)]
    return graph(nodes, [value("text", TensorProto.STRING, ["n"])], [value("y", FLOAT, ["n"])])


def test_a_default_in_the_manifest_cures_a_graph_that_needs_other_values_than_zeros(
    open_session: OpenSession, tmp_path: Path
) -> None:
    outputs = (TensorSpec("y", DType.FP32, (-1,)),)
    plain = Signature((TensorSpec("text", DType.BYTES, (-1,)),), outputs)
    with pytest.raises(InvalidModelError, match=r"a default in the manifest may cure it: 'text'$"):
        load(saved(tmp_path, text_to_number()), manifest(plain), open_session)
    cured = Signature((TensorSpec("text", DType.BYTES, (-1,), default="0"),), outputs)
    assert sorted(load(tmp_path, manifest(cured), open_session).measured) == [1, 64]


def test_the_checkers_own_sentence_is_shown_without_our_paths(open_session: OpenSession, tmp_path: Path) -> None:
    model = graph([helper.make_node("MatMul", ["x"], ["y"])], [value("x", FLOAT, ["n"])], [value("y", FLOAT, ["n"])])
    with pytest.raises(
        InvalidModelError, match=r"is not a valid ONNX model: .*MatMul.* has input size 1 not in"
    ) as one:
        load(saved(tmp_path, model), manifest(), open_session)
    with pytest.raises(InvalidModelError, match="is not a valid ONNX model: ") as other:
        load(saved(tmp_path, b"garbage"), manifest(), open_session)
    assert str(tmp_path) not in one.value.message + other.value.message


def test_what_onnx_runtime_cannot_load_is_told_in_its_words(open_session: OpenSession, tmp_path: Path) -> None:
    """The checker knows nothing of other domains' operators."""
    node = helper.make_node("Nothing", ["x"], ["y"], domain="elsewhere")
    model = graph([node], [value("x", FLOAT, ["n"])], [value("y", FLOAT, ["n"])])
    model.opset_import.append(helper.make_opsetid("elsewhere", 1))
    with pytest.raises(InvalidModelError, match=r"cannot load model\.onnx: .*elsewhere:Nothing") as caught:
        load(saved(tmp_path, model), manifest(), open_session)
    assert str(tmp_path) not in caught.value.message


def test_a_graph_of_one_fixed_row_is_no_batched_model(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = graph(nodes, [value("x", FLOAT, [1, 2])], [value("y", FLOAT, [1, 2])])
    with pytest.raises(InvalidModelError, match=r"warm-up run with 64 made-up rows failed: .*--no-batched"):
        load(saved(tmp_path, model), manifest(signature_of("x FP32 -1 2", "y FP32 -1 2")), open_session)
    _, times, *_ = load(
        saved(tmp_path, model), manifest(signature_of("x FP32 1 2", "y FP32 1 2", batched=False)), open_session
    )
    assert list(times) == [1]


def test_a_row_of_absurd_size_is_refused_before_it_is_made(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = graph(nodes, [value("x", FLOAT, ["n", "m"])], [value("y", FLOAT, ["n", "m"])])
    size = 10**12
    with pytest.raises(InvalidModelError, match=f"take {4 * size} bytes"):
        load(saved(tmp_path, model), manifest(signature_of(f"x FP32 -1 {size}", f"y FP32 -1 {size}")), open_session)


def test_a_graph_that_vanishes_while_it_is_tried_out_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its version is removed in that moment."""
    directory = saved(tmp_path, linear())
    monkeypatch.setattr(trial, "check_graph", lambda path: path.unlink())
    with pytest.raises(InvalidModelError, match="cannot be read any more: No such file or directory"):
        load(directory, manifest())


def test_large_rows_are_warmed_up_one_at_a_time(
    open_session: OpenSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "MANY_ROWS_BYTES", 64 * 8 - 1)
    _, times, *_ = load(saved(tmp_path, linear()), manifest(), open_session)
    assert list(times) == [1]


def of_rows(*nodes: NodeProto, axis: int = 0) -> ModelProto:
    """Return a graph of *nodes* that claims to give a row of `y` for a row of `x`."""
    io = value("x", FLOAT, ["n", 2]), value("y", FLOAT, ["n", 2])
    return graph(list(nodes), [io[0]], [io[1]], [numpy_helper.from_array(np.array(axis), "axis")])


NODE = helper.make_node
LESS_THE_MEAN = NODE("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1), NODE("Sub", ["x", "m"], ["y"])


def far_from_zero(*nodes: NodeProto) -> tuple[NodeProto, ...]:
    """Return nodes that make 4,000 more of `s` than *nodes* do, as of prices."""
    return *nodes, NODE("Constant", [], ["level"], value_float=4000.0), NODE("Add", ["s", "level"], ["y"])


@pytest.mark.parametrize(
    ("model", "independent"),
    [
        (of_rows(NODE("Relu", ["x"], ["y"])), True),
        (of_rows(NODE("Softmax", ["x"], ["y"], axis=1)), True),
        (of_rows(NODE("Softmax", ["x"], ["y"], axis=0)), False),
        (of_rows(NODE("CumSum", ["x", "axis"], ["y"])), False),
        (of_rows(*LESS_THE_MEAN), False),
        (of_rows(*far_from_zero(NODE("Relu", ["x"], ["s"]))), True),
        (of_rows(*far_from_zero(NODE("CumSum", ["x", "axis"], ["s"]))), False),
        (of_rows(NODE("Log", ["x"], ["y"])), True),
        (of_rows(NODE("Constant", [], ["nothing"], value_float=0.0), NODE("Div", ["x", "nothing"], ["y"])), True),
    ],
    ids=[
        *("relu", "softmax of a row", "softmax of the batch", "sum so far", "less the mean of all"),
        *("relu far from zero", "sum so far, far from zero", "not a number at times", "infinite"),
    ],
)
def test_rows_that_change_each_others_answers_are_noticed(
    open_session: OpenSession, tmp_path: Path, model: ModelProto, independent: bool
) -> None:
    """Whatever the manifest says: requests of such a version must not run together."""
    assert (
        load(saved(tmp_path, model), manifest(signature_of("x FP32 -1 2", "y FP32 -1 2")), open_session).independent
        is independent
    )


@pytest.mark.parametrize(("axis", "independent"), [(1, True), (0, False)])
def test_rows_of_bf16_that_change_each_others_answers_are_noticed(
    open_session: OpenSession, tmp_path: Path, axis: int, independent: bool
) -> None:
    number = TensorProto.BFLOAT16
    nodes = [
        NODE("Cast", ["x"], ["wide"], to=FLOAT),
        NODE("Softmax", ["wide"], ["soft"], axis=axis),
        NODE("Cast", ["soft"], ["y"], to=number),
    ]
    model = graph(nodes, [value("x", number, ["n", 2])], [value("y", number, ["n", 2])])
    loaded = load(saved(tmp_path, model), manifest(signature_of("x BF16 -1 2", "y BF16 -1 2")), open_session)
    assert loaded.independent is independent
    (back,) = loaded.servable.run({"x": bf16_of(np.array([[0.0, 0.0]]))})
    assert fp32_of(back).tolist() == [[0.5, 0.5] if axis else [1.0, 1.0]]


def test_a_version_without_a_batch_axis_has_no_independent_rows(open_session: OpenSession, tmp_path: Path) -> None:
    loaded = load(
        saved(tmp_path, linear()), manifest(signature_of("x FP32 -1 2", "y FP32 -1 1", batched=False)), open_session
    )
    assert not loaded.independent


@pytest.mark.parametrize("elements", ["STRING", "FLOAT16", "BFLOAT16", "BOOL", "UINT8", "INT16", "UINT64", "DOUBLE"])
def test_every_dtype_loads_and_runs(open_session: OpenSession, tmp_path: Path, elements: str) -> None:
    number = getattr(TensorProto, elements)
    dtype = {"STRING": "BYTES", "FLOAT16": "FP16", "BFLOAT16": "BF16", "DOUBLE": "FP64"}.get(elements, elements)
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = graph(nodes, [value("x", number, ["n"])], [value("y", number, ["n"])])
    signature = signature_of(f"x {dtype} -1", f"y {dtype} -1")
    assert inspect(saved(tmp_path, model) / "model.onnx", open_session=open_session) == signature
    servable, *_ = load(tmp_path, manifest(signature), open_session)
    made = made_up(signature.inputs[0], 3)
    (back,) = servable.run({"x": made})
    assert back.tolist() == made.tolist()
    assert back.dtype == made.dtype


def test_weights_in_a_file_of_their_own_are_found_beside_the_graph(open_session: OpenSession, tmp_path: Path) -> None:
    model = linear()
    raw = numpy_helper.to_array(model.graph.initializer[0]) * 10
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(raw, "w"))
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    servable, *_ = load(tmp_path, manifest(), open_session)
    assert servable.run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[20]]


def test_weights_outside_the_version_are_refused(open_session: OpenSession, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.ones((2, 1), np.float32).tobytes())
    version = tmp_path / "3"
    version.mkdir()
    model = linear()
    weight = TensorProto(name="w", data_type=FLOAT, dims=[2, 1], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../weights.bin")
    model.graph.initializer[0].CopyFrom(weight)
    with pytest.raises(InvalidModelError):
        load(saved(version, model), manifest(), open_session)


def test_an_output_that_is_no_tensor_is_left_out_where_there_are_others(
    open_session: OpenSession, tmp_path: Path
) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["s"]), helper.make_node("Identity", ["x"], ["y"])]
    outputs = [helper.make_tensor_sequence_value_info("s", FLOAT, None), value("y", FLOAT, ["n"])]
    path = saved(tmp_path, graph(nodes, [value("x", FLOAT, ["n"])], outputs))
    looked = trial.look_at(path / "model.onnx", open_session=open_session)
    assert looked == (signature_of("x FP32 -1", "y FP32 -1"), {"s": "seq(tensor(float))"})
    servable = load(path, manifest(looked.signature), open_session).servable
    assert [one.tolist() for one in servable.run({"x": np.ones(2, np.float32)})] == [[1, 1]]


def test_an_output_that_is_no_tensor_cannot_be_served(open_session: OpenSession, tmp_path: Path) -> None:
    nodes = [helper.make_node("SequenceConstruct", ["x"], ["y"])]
    sequence = helper.make_tensor_sequence_value_info("y", FLOAT, None)
    model = graph(nodes, [value("x", FLOAT, ["n"])], [sequence])
    with pytest.raises(InvalidModelError, match="'y' is a seq"):
        inspect(saved(tmp_path, model) / "model.onnx", open_session=open_session)


@pytest.mark.parametrize(
    ("model", "batched"),
    [
        (linear(), True),
        (graph([helper.make_node("Size", ["x"], ["y"])], [value("x", FLOAT, ["n"])], [value("y", INT64, [])]), False),
    ],
)
def test_rows_are_taken_as_independent_where_all_begin_with_the_same_axis(
    open_session: OpenSession, tmp_path: Path, model: onnx.ModelProto, batched: bool
) -> None:
    path = saved(tmp_path, model) / "model.onnx"
    assert inspect(path, open_session=open_session).batched is batched
    assert inspect(path, batched=not batched, open_session=open_session).batched is not batched


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        (TensorSpec("x", DType.FP32, (-1, 2)), [[0, 0], [0, 0]]),
        (TensorSpec("x", DType.BYTES, (-1, 1), default="Ideal"), [["Ideal"], ["Ideal"]]),
        (TensorSpec("x", DType.BYTES, (-1,)), ["", ""]),
        (TensorSpec("x", DType.FP32, (-1, 2), columns=(Column("a"), Column("b", 12.0))), [[0, 12], [0, 12]]),
        (TensorSpec("x", DType.INT64, ()), 0),
        (TensorSpec("x", DType.INT64, (3, -1)), [[0], [0], [0]]),
    ],
)
def test_made_up_inputs_are_the_defaults_or_zeros(spec: TensorSpec, made: object) -> None:
    assert made_up(spec, 2).tolist() == made


def test_a_default_that_its_dtype_cannot_hold_is_told() -> None:
    with pytest.raises(InvalidModelError, match="input 'x': its default 300 is no INT8"):
        made_up(TensorSpec("x", DType.INT8, (-1,), default=300), 1)


def test_the_signature_that_was_read_is_the_one_that_was_meant(open_session: OpenSession, tmp_path: Path) -> None:
    assert inspect(saved(tmp_path, linear()) / "model.onnx", open_session=open_session) == LINEAR
