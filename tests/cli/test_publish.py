from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.conftest import Run
from tests.e2e import graphs
from turnout_server.store.store import DirectoryStore

RANKING_MANIFEST = {"signature": {"inputs": [{"name": "features", "columns": [{"name": "a"}, {"name": "b"}]}]}}


def saved(model: onnx.ModelProto, directory: Path, name: str = "graph.onnx") -> Path:
    directory.mkdir(exist_ok=True)
    onnx.save(model, directory / name)
    return directory / name


def written(document: object, directory: Path) -> Path:
    file = directory / "manifest.json"
    file.write_text(json.dumps(document))
    return file


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    return saved(graphs.echo(["FP32"]), tmp_path / "out")


def with_external_data(directory: Path) -> Path:
    """A graph whose weights, also those inside a branch, are in files beside it."""
    weights = numpy_helper.from_array(np.full(1000, 2.0, np.float32), "weights")
    inner = numpy_helper.from_array(np.full(1000, 3.0, np.float32), "inner")
    branch = [
        helper.make_graph(
            [
                helper.make_node("Constant", [], [f"{name}_value"], value=inner),
                helper.make_node("Identity", [f"{name}_value"], [name]),
            ],
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1000])],
        )
        for name in ("then", "other")
    ]
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "zero"], ["positive"]),
            helper.make_node("If", ["positive"], ["chosen"], then_branch=branch[0], else_branch=branch[1]),
            helper.make_node("Mul", ["weights", "chosen"], ["six"]),
            helper.make_node("Mul", ["x", "six"], ["y"]),
        ],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1000])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1000])],
        [weights, numpy_helper.from_array(np.float32(0), "zero")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    directory.mkdir(exist_ok=True)
    path = directory / "big.onnx"
    onnx.save_model(
        model, path, save_as_external_data=True, location="big.bin", size_threshold=100, convert_attribute=True
    )
    return path


def test_a_bare_file_is_enough_and_stdout_is_the_version(run: Run, tmp_path: Path, echo: Path) -> None:
    """A script can capture the number; the store is made if it is not there."""
    store = tmp_path / "new"
    assert run("publish", echo, "--model", "echo", "--store", store).out == "1\n"
    assert run("publish", echo, "--model", "echo", "--store", store).out == "2\n"
    manifest = DirectoryStore(store).verify("echo", 2)
    assert [(one.name, one.dtype, one.shape) for one in manifest.signature.inputs] == [("in_fp32", "FP32", (-1, -1))]
    assert (manifest.task, manifest.signature.batched) == ("tensors", True)


def test_labels_owner_description_and_extra_files_are_kept(run: Run, store: Path, echo: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("one\n")
    options = ("--label", "new", "--label", "best", "--owner", "me", "--description", "echoes", "--file", words)
    ran = run("publish", echo, "-m", "echo", "--no-batched", *options, "--json")
    manifest = DirectoryStore(store).verify("echo", 2)
    assert (manifest.owner, manifest.description, manifest.signature.batched) == ("me", "echoes", False)
    assert {entry.path for entry in manifest.files} == {"model.onnx", "words.txt"}
    assert DirectoryStore(store).labels("echo") == {"champion": 1, "new": 2, "best": 2}
    assert (ran.json["version"], ran.json["labels"]) == (2, ["new", "best"])


def test_a_first_version_is_the_champion_unless_told_otherwise(run: Run, store: Path, echo: Path) -> None:
    ran = run("publish", echo, "--model", "fresh", "--json")
    assert ran.json["labels"] == ["champion"]
    assert "champion) in" in ran.err
    assert run("publish", echo, "--model", "fresh").err.count("traffic moves") == 0
    assert DirectoryStore(store).labels("fresh") == {"champion": 1}


def test_that_traffic_moves_is_said(run: Run, store: Path, echo: Path) -> None:
    assert run("publish", echo, "--model", "bare", "--no-champion", "--json").json["labels"] == []
    ran = run("publish", echo, "--model", "bare")
    assert "that traffic moves from version 1 to version 2" in ran.err
    assert f"turnout label bare champion 1 --store {store}" in ran.err
    assert DirectoryStore(store).labels("bare") == {}
    assert "traffic moves" not in run("publish", echo, "--model", "bare", "--label", "champion").err


def test_traffic_does_not_move_strictly(run: Run, store: Path, echo: Path, tmp_path: Path) -> None:
    measured = tmp_path / "measured.yaml"
    measured.write_text("lineage: {metrics: {rmse: 1.0}}")
    publish = ("publish", echo, "--model", "bare", "--manifest", measured, "--strict")
    assert run(*publish, "--no-champion").code == 0
    refused = run(*publish)
    assert (refused.code, refused.out) == (65, "")
    assert refused.err.count("that traffic moves from version 1 to version 2") == 1
    assert DirectoryStore(store).versions("bare") == (1,)
    assert run(*publish, "--label", "champion").code == 0


def test_bounds_of_a_request_are_kept(run: Run, store: Path, echo: Path, tmp_path: Path) -> None:
    """What the command line says goes before what the manifest does."""
    partial = written({"signature": {"max_rows": 7, "max_elements": 9}}, tmp_path)
    run("publish", echo, "--model", "m", "--store", store, "--manifest", partial, "--max-rows", "5")
    kept = DirectoryStore(store).manifest("m", 1).signature
    assert (kept.max_rows, kept.max_elements) == (5, 9)


def test_rows_are_proposed_by_the_first_runs_where_none_are_given(run: Run, store: Path, echo: Path) -> None:
    publish = ("publish", echo, "--model", "m", "--store", store)
    assert "--max-rows" in run(*publish).err
    assert "--max-rows" not in run(*publish, "--max-rows", "5").err


def test_external_data_comes_along_and_the_version_stands_on_its_own(run: Run, store: Path, tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "out")
    assert (path.parent / "big.bin").stat().st_size >= 4000
    assert run("publish", path, "-m", "big").out == "1\n"
    for file in path.parent.iterdir():
        file.unlink()
    assert {entry.path for entry in DirectoryStore(store).verify("big", 1).files} == {"model.onnx", "big.bin"}


def test_external_data_that_is_missing_or_elsewhere_is_named(run: Run, store: Path, tmp_path: Path) -> None:
    path = with_external_data(tmp_path / "out")
    (path.parent / "big.bin").unlink()
    missing = run("publish", path, "-m", "big")
    assert (missing.code, "'big.bin' is not beside it" in missing.err) == (65, True)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../../secret"
    path.write_bytes(model.SerializeToString())
    outside = run("publish", path, "-m", "big")
    assert (outside.code, "outside the model's directory" in outside.err) == (65, True)


def test_the_manifest_fills_in_what_no_graph_says(run: Run, store: Path, tmp_path: Path) -> None:
    document = {
        "model": "price",
        "task": "price",
        "signature": {"inputs": [{"name": "carat", "default": 0.7}]},
        "lineage": {"framework": "sklearn 1.9", "metrics": {"rmse": 500.5}},
        "owner": "pricing",
    }
    file = saved(graphs.price(1200.0), tmp_path / "out")
    assert run("publish", file, "--manifest", written(document, tmp_path), "--owner", "me").out == "3\n"
    manifest = DirectoryStore(store).manifest("price", 3)
    assert [(spec.name, spec.default) for spec in manifest.signature.inputs] == [("carat", 0.7), ("cut", None)]
    assert (manifest.lineage.metrics, manifest.owner, manifest.task) == ({"rmse": 500.5}, "me", "price")


def test_an_earlier_versions_manifest_is_a_template(run: Run, store: Path, tmp_path: Path) -> None:
    template = store / "models/ranking/1/manifest.json"
    file = saved(graphs.ranking([1, 1, 1]), tmp_path / "out")
    assert run("publish", file, "--manifest", template).out == "3\n"
    before, after = (DirectoryStore(store).manifest("ranking", version) for version in (1, 3))
    assert (after.signature, after.lineage, after.task) == (before.signature, before.lineage, before.task)


@pytest.mark.parametrize(
    ("task", "graph", "names"),
    [
        ("price", graphs.echo(["FP32"], ("n",)), "no output 'price'"),
        ("price", graphs.echo(["FP32"]), "name its columns"),
        ("ranking", graphs.ranking([1, 2]), "name its columns"),
        ("ranking", graphs.echo(["BYTES"], ("n",)), "expected FP32 [-1]"),
        ("ranking", graphs.echo(["FP32", "FP64"], ("n",)), "no output 'score'"),
        ("recommendation", graphs.echo(["INT64"]), "expected history, exclude, k"),
    ],
)
def test_a_graph_that_cannot_do_its_task_is_refused(
    run: Run, store: Path, tmp_path: Path, task: str, graph: onnx.ModelProto, names: str
) -> None:
    ran = run("publish", saved(graph, tmp_path / "out"), "-m", "new", "--task", task)
    assert (ran.code, ran.out) == (65, "")
    assert names in ran.err
    assert "new" not in DirectoryStore(store).models()


@pytest.mark.parametrize(
    ("task", "graph"),
    [("price", graphs.price(1.0)), ("recommendation", graphs.recommendation(1.0)), ("tensors", graphs.slow())],
)
def test_a_graph_that_can_do_its_task_is_published(
    run: Run, store: Path, tmp_path: Path, task: str, graph: onnx.ModelProto
) -> None:
    assert run("publish", saved(graph, tmp_path / "out"), "-m", "new", "--task", task).out == "1\n"


def test_a_ranking_needs_its_columns_named(run: Run, store: Path, tmp_path: Path) -> None:
    file = saved(graphs.ranking([1, 2]), tmp_path / "out")
    manifest = written(RANKING_MANIFEST, tmp_path)
    assert run("publish", file, "-m", "new", "--task", "ranking", "--manifest", manifest).out == "1\n"


def test_a_version_that_fails_its_warm_up_never_appears(run: Run, store: Path, tmp_path: Path) -> None:
    """It reshapes to seven columns what the warm-up gives one."""
    nodes = [helper.make_node("Reshape", ["x", "seven"], ["y"])]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "fails",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["m", 7])],
            [helper.make_tensor("seven", TensorProto.INT64, [2], [-1, 7])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    ran = run("publish", saved(model, tmp_path / "out"), "-m", "fails", "--label", "champion")
    assert (ran.code, ran.out) == (65, "")
    assert "warm-up" in ran.err
    assert not (store / "models/fails").exists()


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "object"),
        ({"tusk": "price"}, "unknown field `tusk`"),
        ({"task": "prize"}, "prize"),
        ({"signature": {"inputs": [{"name": "other"}]}}, "the graph has no 'other'; it has in_fp32"),
        ({"signature": {"inputs": 3}}, "$.signature.inputs"),
        ({"signature": {"inputs": [{"name": "in_fp32", "dtype": "INT8"}]}}, "in_fp32"),
        ({"signature": {"inputs": [{"name": "in_fp32", "shape": [3]}]}}, "in_fp32"),
        ({"signature": {"inputs": [{"name": "in_fp32", "default": "text"}]}}, "default"),
        ({"lineage": {"metrics": {"rmse": "low"}}}, "$.lineage.metrics"),
        ({"runtime": {"intra_op_threads": 0}}, "$.runtime.intra_op_threads"),
        ({"model": "../x"}, "model"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_place_is_named(
    run: Run, store: Path, echo: Path, tmp_path: Path, document: object, says: str
) -> None:
    model = () if isinstance(document, dict) and "model" in document else ("-m", "new")
    ran = run("publish", echo, *model, "--manifest", written(document, tmp_path))
    assert (ran.code, ran.out, ran.err.count("\n")) == (65, "", 1)
    assert says in ran.err
    assert "new" not in DirectoryStore(store).models()
