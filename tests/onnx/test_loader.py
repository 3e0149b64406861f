"""What has passed its trial is opened, and it still has to do what its manifest says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.onnx.graphs import linear, manifest, saved
from turnout_server.onnx.binding import open_session as opened_by_the_binding
from turnout_server.onnx.loader import binding, open_servable
from turnout_server.onnx.session import OpenSession, Session
from turnout_server.store.manifest import Manifest, RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError


def test_a_version_is_opened_with_its_own_options_and_runs(open_session: OpenSession, tmp_path: Path) -> None:
    of = manifest()
    opened: list[tuple[Path, RuntimeOptions]] = []

    def noted(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        opened.append((path, options))
        return open_session(path, options, extensions)

    servable = open_servable(saved(tmp_path, linear()), of, noted)
    assert opened == [(tmp_path / "model.onnx", of.runtime)]
    assert servable.signature == of.signature
    assert servable.run({"x": np.array([[1, 2]], np.float32)})[0].tolist() == [[3]]


def test_a_graph_of_another_signature_is_refused(open_session: OpenSession, tmp_path: Path) -> None:
    """As when the file was replaced after its trial."""
    of: Manifest = manifest()
    with pytest.raises(InvalidModelError, match=r"'x' has shape \[-1, 3\] in the graph, \[-1, 2\] in the manifest"):
        open_servable(saved(tmp_path, linear(width=3)), of, open_session)


def test_what_no_runtime_can_open_is_refused(open_session: OpenSession, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError):
        open_servable(saved(tmp_path, b"garbage"), manifest(), open_session)


def test_the_binding_opens_by_the_binding() -> None:
    assert binding() is opened_by_the_binding
