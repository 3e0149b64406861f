"""Signatures by names."""

from __future__ import annotations

from tests.rpc.inference import identity
from turnout_server.rpc.open_inference import signatures
from turnout_server.rpc.open_inference.signatures import arrange


def test_a_signature_is_arranged_by_names_once() -> None:
    signature = identity(("x", "FP32", (-1, 4)), ("k", "INT64", (1,)))
    arranged = arrange(signature)
    assert list(arranged.inputs) == ["x", "k"]
    assert (arranged.inputs["x"].datatype, arranged.inputs["x"].shape) == ("FP32", (-1, 4))
    assert arranged.output_datatypes == {"x": "FP32", "k": "INT64"}
    assert arranged.rowwise == ("x",)
    assert arrange(signature) is arranged


def test_signatures_of_unloaded_versions_do_not_pile_up() -> None:
    kept = [arrange(identity(("x", "FP32", (number,)))) for number in range(signatures._LIMIT + 2)]
    assert len(kept) > signatures._LIMIT >= len(signatures._arranged)
