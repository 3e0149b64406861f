"""A store in a temporary directory, and drafts to publish in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.blobs.memory import MemoryBlobs
from turnout_server.store.blobs import Blobs
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.store.manifest import Manifest
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import BlobStore
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

SIGNATURE = Signature(
    inputs=(TensorSpec("carat", DType.FP32, (-1, 1), default=0.7),),
    outputs=(TensorSpec("price", DType.FP32, (-1,)),),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the store is; not there yet."""
    return tmp_path / "store"


@pytest.fixture
def draft(tmp_path: Path) -> Callable[..., Draft]:
    """Makes drafts: `draft()`, or with some fields of its own."""

    def make(**fields: Any) -> Draft:
        model, weights = tmp_path / "out.onnx", tmp_path / "out.bin"
        if not model.exists():
            model.write_bytes(b"graph" * 1000)
            weights.write_bytes(b"weights" * 1000)
        plain: dict[str, Any] = {
            "model": "price",
            "task": Task.PRICE,
            "signature": SIGNATURE,
            "files": {"model.onnx": model, "external/weights.bin": weights},
        }
        return Draft(**(plain | fields))

    return make


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what knows nothing of a directory on every backend."""
    if "blobs" in metafunc.fixturenames:
        kinds = ["directory"] if "root" in metafunc.fixturenames else ["directory", "memory"]
        metafunc.parametrize("blobs", kinds, indirect=True)


@pytest.fixture
def blobs(request: pytest.FixtureRequest) -> Blobs:
    """The blobs of an empty store: a directory's where the test asks for `root`, else those of each backend in turn."""
    if request.param == "memory":
        return MemoryBlobs()
    root: Path = request.getfixturevalue("root")
    return DirectoryBlobs(root)


@pytest.fixture
def add(blobs: Blobs, draft: Callable[..., Draft]) -> Callable[..., Manifest]:
    """Publishes a version of a model: `add("price")`, with no label but those that are given."""
    return lambda model="price", **options: publish(blobs, draft(model=model), **{"champion": False, **options})


@pytest.fixture
def store(blobs: Blobs, tmp_path: Path) -> BlobStore:
    """The store in `blobs`, empty; in a directory, that is there."""
    (tmp_path / "store").mkdir(exist_ok=True)
    return BlobStore(blobs)
