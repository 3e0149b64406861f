"""The engine's sessions: what ONNX Runtime's binding gives, to the bit, and what only they can do."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.onnx.graphs import FLOAT, INT64, graph, linear, lookup, manifest, saved, value
from turnout_server.onnx.binding import open_session as open_with_binding
from turnout_server.onnx.session import OnnxServable
from turnout_server.onnx.trial import made_up
from turnout_server.store.local import LocalFiles
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.tensors import NUMPY_DTYPES, Array

turnout_engine = pytest.importorskip("turnout_engine")

from turnout_server.onnx.engine import EngineSession, find_library, load, open_session  # noqa: E402

NODE = helper.make_node
STORE = Path(__file__).parents[2] / "model_store"
NUMBERS = {dtype: kind for dtype, kind in NUMPY_DTYPES.items() if dtype != "BYTES"}
SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (2, 0, 3), (2, 3, 4), (1, 1, 1, 1, 1, 1, 1, 1, 2)]
"""The last has more axes than stand in one piece."""


def opened(directory: Path, model: ModelProto) -> EngineSession:
    return open_session(saved(directory, model) / "model.onnx", RuntimeOptions())


def both(directory: Path, model: ModelProto) -> Callable[..., None]:
    """Return what runs a graph with both openers and compares what they give."""
    path = saved(directory, model) / "model.onnx"
    ours, theirs = (one(path, RuntimeOptions()) for one in (open_session, open_with_binding))
    names = [output.name for output in theirs.get_outputs()]

    def run(**inputs: Array) -> None:
        for one, other in zip(ours.run(names, inputs), theirs.run(names, inputs), strict=True):
            assert same(one, other)

    return run


def same(one: Array, other: Array) -> bool:
    """Say whether two arrays are equal to the bit."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return one.tolist() == other.tolist() if one.dtype == object else one.tobytes() == other.tobytes()


def any_bits(kind: np.dtype[Any], shape: tuple[int, ...], seed: int = 0) -> Array:
    """Return an array of any bits at all, or of truths."""
    random = np.random.default_rng(seed)
    if kind == np.bool_:
        return random.integers(0, 2, shape).astype(kind)
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(random.bytes(count * kind.itemsize), kind).reshape(shape).copy()


def handed_on(kind: int, shape: Sequence[str | int | None] | None = None) -> ModelProto:
    return graph([NODE("Identity", ["x"], ["y"])], [value("x", kind, shape)], [value("y", kind, shape)])


class TestAgreement:
    @pytest.mark.parametrize("model", ["price", "ranking", "recommendation"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_the_stores_models_answer_the_same(self, model: str, version: int) -> None:
        found, directory = LocalFiles(DirectoryStore(STORE)).verified(model, version)
        ours, theirs = (
            OnnxServable(found, one(directory / "model.onnx", found.runtime))
            for one in (open_session, open_with_binding)
        )
        random = np.random.default_rng(version)
        for rows in (1, 2, 3, 16, 65):
            inputs = {spec.name: made_up(spec, rows) for spec in found.signature.inputs}
            for name, array in inputs.items():
                if array.dtype.kind == "f":
                    inputs[name] = array + random.standard_normal(array.shape).astype(array.dtype)
            for one, other in zip(ours.run(inputs), theirs.run(inputs), strict=True):
                assert same(one, other)

    @pytest.mark.parametrize("dtype", NUMBERS)
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_numbers_come_out_as_they_went_in(self, tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
        kind = NUMBERS[dtype]
        session = opened(tmp_path, handed_on(helper.np_dtype_to_tensor_dtype(kind)))
        given = any_bits(kind, shape)
        (back,) = session.run(["y"], {"x": given})
        assert same(back, given)

    @pytest.mark.parametrize("dtype", [dtype for dtype in NUMBERS if dtype != "BOOL"])
    def test_sums_of_every_dtype_are_the_same(self, tmp_path: Path, dtype: str) -> None:
        kind = helper.np_dtype_to_tensor_dtype(NUMBERS[dtype])
        model = graph(
            [NODE("Cast", ["x"], ["f"], to=FLOAT), NODE("ReduceSum", ["f", "axes"], ["y"], keepdims=0)],
            [value("x", kind, ["n", "m"])],
            [value("y", FLOAT, None)],
            [numpy_helper.from_array(np.array([1]), "axes")],
        )
        run = both(tmp_path, model)
        for shape in ((1, 1), (3, 37), (0, 5), (64, 100)):
            run(x=np.random.default_rng(0).integers(0, 100, shape).astype(NUMBERS[dtype]))

    @pytest.mark.parametrize(
        "texts",
        [
            ["a"],
            ["", "é", "日本", "🎈"],
            ["one\0two", "\0", "\0\0"],
            [],
            ["x" * 100_000],
            [["a", "b"], ["", "d"]],
            "scalar",
        ],
        ids=["one", "unicode", "nul", "none", "long", "two axes", "no axis"],
    )
    def test_texts_come_out_as_they_went_in(self, tmp_path: Path, texts: object) -> None:
        both(tmp_path, handed_on(TensorProto.STRING))(x=np.array(texts, dtype=object))

    def test_what_is_no_text_becomes_one(self, tmp_path: Path) -> None:
        run = both(tmp_path, handed_on(TensorProto.STRING))
        run(x=np.array([1, None, 2.5, b"b"], dtype=object))
        run(x=np.array(["a", "bc"]))

    def test_arrays_are_read_however_they_lie(self, tmp_path: Path) -> None:
        run = both(tmp_path, handed_on(FLOAT))
        square = np.arange(36, dtype=np.float32).reshape(6, 6)
        for array in (square.T, square[::2], square[:, ::-1], np.broadcast_to(np.float32(3), (2, 3)), square[1:, 1:]):
            run(x=array)

    def test_shapes_may_change_from_run_to_run(self, tmp_path: Path) -> None:
        run = both(tmp_path, linear())
        for rows in (1, 1000, 0, 3, 1, 4096):
            run(x=np.random.default_rng(rows).random((rows, 2), dtype=np.float32))

    def test_many_inputs_and_outputs(self, tmp_path: Path) -> None:
        names = [f"x{number}" for number in range(20)]
        nodes = [NODE("Neg", [name], [f"y{name}"]) for name in names]
        outputs = [value(f"y{name}", FLOAT, ["n"]) for name in names]
        run = both(tmp_path, graph(nodes, [value(name, FLOAT, ["n"]) for name in names], outputs))
        run(**{name: np.full(3, number, np.float32) for number, name in enumerate(names)})

    @pytest.mark.parametrize("threads", [1, 4])
    def test_many_threads_get_what_one_gets(self, tmp_path: Path, threads: int) -> None:
        path = saved(tmp_path, linear(50)) / "model.onnx"
        options = RuntimeOptions(intra_op_threads=threads)
        ours, theirs = (one(path, options) for one in (open_session, open_with_binding))
        inputs = [np.random.default_rng(n).random((1 + n % 7 * 50, 50), dtype=np.float32) for n in range(200)]
        expected = [theirs.run(["y"], {"x": array})[0] for array in inputs]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda array: ours.run(["y"], {"x": array})[0], inputs))
        assert all(map(same, found, expected))

    @pytest.mark.parametrize("shape", [["n", 2, None], [], [3, "n", "m"], None], ids=str)
    def test_graphs_are_described_alike(self, tmp_path: Path, shape: list[int | str | None] | None) -> None:
        nodes = [
            NODE("Identity", ["x"], ["y"]),
            NODE("SequenceConstruct", ["x"], ["s"]),
            NODE("Optional", ["x"], ["o"]),
        ]
        tensor = value("x", FLOAT, shape)
        sequence = helper.make_sequence_type_proto(tensor.type)
        optional = helper.make_optional_type_proto(tensor.type)
        outputs = [helper.make_value_info(name, kind) for name, kind in (("s", sequence), ("o", optional))]
        path = saved(tmp_path, graph(nodes, [tensor], [value("y", FLOAT, shape), *outputs])) / "model.onnx"
        ours, theirs = (
            [(one.name, one.type) for one in (*session.get_inputs(), *session.get_outputs())]
            + [(one.name, list(one.shape)) for one in (session.get_inputs()[0], session.get_outputs()[0])]
            for session in (opening(path, RuntimeOptions()) for opening in (open_session, open_with_binding))
        )
        assert ours == theirs

    def test_a_classifiers_maps_are_described_alike(self, tmp_path: Path) -> None:
        zipmap = NODE("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
        kind = helper.make_map_type_proto(INT64, helper.make_tensor_type_proto(FLOAT, []))
        output = helper.make_value_info("y", helper.make_sequence_type_proto(kind))
        model = graph([zipmap], [value("x", FLOAT, ["n", 2])], [output])
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 1))
        path = saved(tmp_path, model) / "model.onnx"
        ours, theirs = (one(path, RuntimeOptions()).get_outputs()[0] for one in (open_session, open_with_binding))
        assert (ours.type, list(ours.shape)) == (theirs.type, list(theirs.shape))
        with pytest.raises(turnout_engine.OnnxRuntimeError):
            open_session(path, RuntimeOptions()).run(["y"], {"x": np.ones((1, 2), np.float32)})


class TestMemory:
    def test_where_an_input_lies_changes_no_bit(self, tmp_path: Path) -> None:
        """ONNX Runtime's sums over floats begin with what comes before a 16-byte border."""
        model = graph(
            [NODE("ReduceSum", ["x"], ["y"], keepdims=0)], [value("x", FLOAT, ["n"])], [value("y", FLOAT, [])]
        )
        session = opened(tmp_path, model)
        array = np.random.default_rng(0).standard_normal(481).astype(np.float32)
        found = set()
        for offset in range(17):
            room = np.empty(array.nbytes + 32, np.uint8)
            start = -room.ctypes.data % 16 + offset
            moved = room[start : start + array.nbytes].view(np.float32)
            moved[:] = array
            found.add(session.run(["y"], {"x": moved})[0].tobytes())
        assert len(found) == 1

    def test_an_output_that_is_an_input_has_memory_of_its_own(self, tmp_path: Path) -> None:
        session = opened(tmp_path, graph([], [value("x", FLOAT, ["n"])], [value("x", FLOAT, ["n"])]))
        given = np.arange(5, dtype=np.float32)
        (back,) = session.run(["x"], {"x": given})
        given[:] = 9
        assert back.tolist() == [0, 1, 2, 3, 4]

    def test_outputs_outlive_their_session(self, tmp_path: Path) -> None:
        constant = numpy_helper.from_array(np.arange(100_000, dtype=np.float32), "k")
        outputs = [value("y", FLOAT, ["n"]), value("k", FLOAT, [100_000])]
        model = graph([NODE("Neg", ["x"], ["y"])], [value("x", FLOAT, ["n"])], outputs, [constant])
        session = opened(tmp_path, model)
        given = np.arange(100_000, dtype=np.float32)
        less, same_again = session.run(["y", "k"], {"x": given})
        session.close()
        opened(tmp_path, model).run(["y", "k"], {"x": given * 0 + 7})
        assert np.array_equal(less, -given)
        assert np.array_equal(same_again, given)

    def test_outputs_are_not_copied_and_not_written_to(self, tmp_path: Path) -> None:
        session = opened(tmp_path, linear())
        made = session.native.run({"x": np.ones((3, 2), np.float32)}, ("y",))[0]
        one, other = np.asarray(made), np.asarray(made)
        assert one.ctypes.data == other.ctypes.data
        assert not one.flags.writeable
        del made, other
        assert one.tolist() == [[2], [2], [2]]

    def test_a_servable_shows_the_engine_its_own_session(self, tmp_path: Path) -> None:
        session = opened(tmp_path, linear())
        servable = OnnxServable(manifest(), session)
        assert isinstance(servable.native, turnout_engine.Session)
        assert OnnxServable(manifest(), open_with_binding(tmp_path / "model.onnx", RuntimeOptions())).native is None
        servable.close()
        assert servable.native is None

    def test_bfloat16_travels_as_its_bits(self, tmp_path: Path) -> None:
        session = opened(tmp_path, handed_on(TensorProto.BFLOAT16))
        bits = np.array([0x3F80, 0xC000, 0x7FC0], np.uint16)
        made = session.native.run({"x": bits}, ("y",))[0]
        assert (made.dtype, np.asarray(made).tolist()) == ("BF16", bits.tolist())


class TestErrors:
    @pytest.mark.parametrize(
        "inputs",
        [
            {"x": np.ones((1, 2))},
            {"x": np.ones((1, 3), np.float32)},
            {"x": np.ones(2, np.float32)},
            {"x": np.array([["a", "b"]], object)},
        ],
        ids=["dtype", "size", "axes", "texts"],
    )
    def test_what_does_not_fit_is_rejected_by_both(self, tmp_path: Path, inputs: dict[str, Array]) -> None:
        path = saved(tmp_path, linear()) / "model.onnx"
        for one in (open_session(path, RuntimeOptions()), open_with_binding(path, RuntimeOptions())):
            with pytest.raises(one.rejections):
                one.run(["y"], inputs)

    @pytest.mark.parametrize("inputs", [{}, {"x": np.ones(1, np.dtype(">f4"))}, {"x": np.ones(1, np.complex64)}])
    def test_what_no_signature_allows_fails(self, tmp_path: Path, inputs: dict[str, Array]) -> None:
        session = opened(tmp_path, linear())
        with pytest.raises((turnout_engine.OnnxRuntimeError, TypeError)) as caught:
            session.run(["y"], inputs)
        assert not isinstance(caught.value, session.rejections)

    def test_names_that_the_graph_lacks_are_rejected(self, tmp_path: Path) -> None:
        session = opened(tmp_path, linear())
        with pytest.raises(turnout_engine.InputRejectedError, match='no "z"'):
            session.run(["y"], {"z": np.ones((1, 2), np.float32)})
        with pytest.raises(turnout_engine.InputRejectedError, match='no "q"'):
            session.run(["q"], {"x": np.ones((1, 2), np.float32)})

    def test_onnx_runtimes_text_is_kept(self, tmp_path: Path) -> None:
        with pytest.raises(turnout_engine.InputRejectedError, match="secret_node"):
            opened(tmp_path, lookup()).run(["y"], {"i": np.array([99])})

    def test_texts_that_are_not_utf8_are_an_error(self, tmp_path: Path) -> None:
        constant = TensorProto(name="k", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xff"])
        model = graph([NODE("Identity", ["k"], ["y"])], [], [value("y", TensorProto.STRING, [1])], [constant])
        with pytest.raises(UnicodeDecodeError):
            opened(tmp_path, model).run(["y"], {})

    def test_another_library_is_refused(self, tmp_path: Path) -> None:
        assert load().startswith("1.")
        with pytest.raises(turnout_engine.OnnxRuntimeError, match="is loaded, not"):
            turnout_engine.load_onnxruntime(str(tmp_path / "other.so"))

    def test_nothing_is_loaded_that_would_report_to_its_vendor(self) -> None:
        code = (
            "import os, sys; sys.path[:] = sys.argv[2:]; del os.environ['ORT_DISABLE_TELEMETRY']\n"
            "import turnout_engine\n"
            "try: turnout_engine.load_onnxruntime(sys.argv[1])\n"
            "except turnout_engine.OnnxRuntimeError as error: print(error)"
        )
        command = [sys.executable, "-c", code, str(find_library()), *sys.path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.startswith("ORT_DISABLE_TELEMETRY is not set")) == (0, True), done.stderr


def counting() -> ModelProto:
    """`y` is `n`, counted one by one."""
    body = helper.make_graph(
        [NODE("Add", ["total", "one"], ["next"]), NODE("Identity", ["go"], ["on"])],
        "body",
        [value("at", INT64, []), value("go", TensorProto.BOOL, []), value("total", INT64, [])],
        [value("on", TensorProto.BOOL, []), value("next", INT64, [])],
    )
    constants = [
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.array(0), "zero"),
        numpy_helper.from_array(np.array(1), "one"),
    ]
    loop = NODE("Loop", ["n", "yes", "zero"], ["y"], body=body)
    return graph([loop], [value("n", INT64, [])], [value("y", INT64, [])], constants)


class TestTermination:
    def test_a_run_that_would_take_hours_is_ended(self, tmp_path: Path) -> None:
        session, options = opened(tmp_path, counting()), turnout_engine.RunOptions()
        caught: list[BaseException] = []

        def run() -> None:
            try:
                session.run(["y"], {"n": np.array(10**12)}, options)
            except BaseException as error:
                caught.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        # Also where the run has not begun yet; others go on.
        assert session.run(["y"], {"n": np.array(5)})[0] == 5
        options.terminate()
        thread.join(timeout=60)
        assert [type(error) for error in caught] == [turnout_engine.RunTerminatedError]

    def test_what_was_ended_may_run_again(self, tmp_path: Path) -> None:
        session, options = opened(tmp_path, counting()), turnout_engine.RunOptions()
        options.terminate()
        with pytest.raises(turnout_engine.RunTerminatedError):
            session.run(["y"], {"n": np.array(5)}, options)
        options.reset()
        assert session.run(["y"], {"n": np.array(5)}, options)[0] == 5


def test_serving_with_the_engine_imports_no_binding(tmp_path: Path) -> None:
    """It would map a second ONNX Runtime."""
    saved(tmp_path, linear())
    code = (
        "import sys; from pathlib import Path; sys.path[:] = sys.argv[2:]\n"
        "import turnout_server.app\n"
        "from turnout_server.onnx import engine\n"
        "from turnout_server.onnx.trial import inspect\n"
        "inspect(Path(sys.argv[1]), open_session=engine.open_session)\n"
        "print([name for name in sys.modules if name.startswith('onnxruntime')])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "model.onnx"), *sys.path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
