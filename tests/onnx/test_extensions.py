"""Graphs may have onnxruntime-extensions' operators where that is allowed; the library is the installed package's."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.onnx.graphs import graph, linear, manifest, saved, value
from turnout_server.onnx import extensions
from turnout_server.onnx.children import Children
from turnout_server.onnx.extensions import library_for, operators_of
from turnout_server.onnx.session import OpenSession
from turnout_server.onnx.trial import inspect, load
from turnout_server.vocabulary.errors import ConfigurationError, InvalidModelError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

TEXT = TensorProto.STRING
SIGNATURE = Signature((TensorSpec("text", DType.BYTES, (-1,)),), (TensorSpec("upper", DType.BYTES, (-1,)),))
installed = pytest.mark.skipif(extensions.library() is None, reason="onnxruntime-extensions is not installed")


def upper(domain: str = "ai.onnx.contrib") -> ModelProto:
    """`upper` [n] is `text` [n] in capital letters, by an operator that ONNX Runtime itself does not have."""
    nodes = [helper.make_node("StringUpper", ["text"], ["upper"], domain=domain)]
    model = graph(nodes, [value("text", TEXT, ["n"])], [value("upper", TEXT, ["n"])])
    model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def branching() -> ModelProto:
    """The operator is in a branch inside a function."""
    branches = {
        name: helper.make_graph(
            [helper.make_node("StringUpper", ["text"], [name], domain="ai.onnx.contrib")],
            name,
            [],
            [value(name, TEXT, ["n"])],
        )
        for name in ("then_branch", "else_branch")
    }
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.contrib", 1)]
    body = [helper.make_node("If", ["which"], ["upper"], **branches)]
    function = helper.make_function("own", "f", ["which", "text"], ["upper"], body, imports)
    nodes = [helper.make_node("f", ["which", "text"], ["upper"], domain="own")]
    inputs = [value("which", TensorProto.BOOL, []), value("text", TEXT, ["n"])]
    model = graph(nodes, inputs, [value("upper", TEXT, ["n"])])
    model.functions.append(function)
    model.opset_import.extend([helper.make_opsetid("own", 1), imports[1]])
    return model


@installed
def test_a_graph_with_such_an_operator_is_tried_out_and_runs(open_session: OpenSession, tmp_path: Path) -> None:
    loaded = load(saved(tmp_path, upper()), manifest(SIGNATURE), open_session)
    assert loaded.extensions
    assert loaded.servable.run({"text": np.array(["red shoes", "ß"], object)})[0].tolist() == ["RED SHOES", "ß"]


@installed
def test_what_is_not_allowed_is_refused_by_the_operators_name(open_session: OpenSession, tmp_path: Path) -> None:
    path = saved(tmp_path, upper())
    with pytest.raises(InvalidModelError, match=r"'ai\.onnx\.contrib:StringUpper'.*does not allow"):
        load(path, manifest(SIGNATURE), open_session, extensions=False)
    with pytest.raises(InvalidModelError, match="does not allow"):
        inspect(path / "model.onnx", open_session=open_session, extensions=False)
    assert inspect(path / "model.onnx", open_session=open_session) == SIGNATURE


@installed
@pytest.mark.parametrize("allowed", [True, False])
def test_a_child_holds_to_the_configuration(tmp_path: Path, allowed: bool) -> None:
    path = saved(tmp_path, upper())
    with contextlib.closing(Children("binding", 60.0, 1 << 30, allowed)) as children:
        if allowed:
            assert children.try_out(path, manifest(SIGNATURE)).extensions
        else:
            with pytest.raises(InvalidModelError, match="does not allow"):
                children.try_out(path, manifest(SIGNATURE))


def test_what_is_not_installed_is_named_with_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extensions, "library", lambda: None)
    with pytest.raises(InvalidModelError, match=r"StringUpper.*not installed: pip install 'turnout\[extensions\]'"):
        library_for(saved(tmp_path, upper()) / "model.onnx", allowed=True)
    with pytest.raises(ConfigurationError, match="pip install"):
        extensions.require()


def test_other_graphs_get_no_library(tmp_path: Path) -> None:
    assert library_for(saved(tmp_path, linear()) / "model.onnx", allowed=False) is None


def test_an_import_alone_is_no_need(tmp_path: Path) -> None:
    model = linear()
    model.opset_import.append(helper.make_opsetid("com.microsoft.extensions", 1))
    assert operators_of(saved(tmp_path, model) / "model.onnx") == ()


def test_operators_are_found_in_branches_and_functions(tmp_path: Path) -> None:
    assert operators_of(saved(tmp_path, branching()) / "model.onnx") == ("ai.onnx.contrib:StringUpper",)


def test_a_models_own_function_of_such_a_name_is_none(tmp_path: Path) -> None:
    model = upper()
    body = [helper.make_node("Identity", ["text"], ["upper"])]
    imports = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("ai.onnx.contrib", "StringUpper", ["text"], ["upper"], body, imports))
    assert operators_of(saved(tmp_path, model) / "model.onnx") == ()
