"""What a version or a label stands for."""

from __future__ import annotations

import pytest

from turnout_server.vocabulary.versions import VersionKey, resolve


@pytest.mark.parametrize(
    ("model", "selector", "found"),
    [
        ("price", 7, VersionKey("price", 7)),
        ("price", "champion", VersionKey("price", 3)),
        ("price", "nope", None),
        ("nope", "champion", None),
    ],
)
def test_a_number_is_itself_and_a_label_what_it_names(
    model: str, selector: int | str, found: VersionKey | None
) -> None:
    assert resolve(model, selector, {"price": {"champion": 3}}) == found


def test_a_version_is_not_named_twice() -> None:
    key = VersionKey("price", 3)
    assert key.without_name("price version 3: model.onnx: is gone") == "model.onnx: is gone"
    assert key.without_name("price version 31: model.onnx: is gone") == "price version 31: model.onnx: is gone"


def test_a_version_is_called_by_model_and_number() -> None:
    assert str(VersionKey("price", 3)) == "price version 3"
