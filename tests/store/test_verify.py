"""Whether a version's files are still the ones that were published."""

from __future__ import annotations

import pytest

from turnout_server.store.blobs import Node
from turnout_server.store.manifest import FileEntry, Manifest
from turnout_server.store.verify import check_digests
from turnout_server.vocabulary.errors import DigestMismatchError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task

GOOD = (5, "a" * 64)
ENTRIES = (FileEntry("model.onnx", GOOD[1], GOOD[0]), FileEntry("words/en.txt", GOOD[1], GOOD[0]))
MANIFEST = Manifest(1, "price", 3, Task.TENSORS, "2026-01-01T00:00:00Z", ENTRIES, Signature((), ()))
WHOLE = {"manifest.json": Node.FILE, "model.onnx": Node.FILE, "words": Node.FOLDER, "words/en.txt": Node.FILE}


def test_what_was_published_is_in_order() -> None:
    check_digests(WHOLE, lambda path, most: GOOD, MANIFEST)


@pytest.mark.parametrize(
    ("found", "measured", "problem"),
    [
        ({key: node for key, node in WHOLE.items() if key != "words/en.txt"}, GOOD, "words/en.txt: is missing"),
        (WHOLE | {"more": Node.FILE}, GOOD, "more: is not in the manifest"),
        (WHOLE | {"model.onnx": Node.LINK}, GOOD, "model.onnx: is a symbolic link"),
        (WHOLE | {"empty": Node.FOLDER}, GOOD, "empty: is not in the manifest"),
        (WHOLE, (6, GOOD[1]), "has 6 bytes, and the manifest says 5"),
        (WHOLE, (5, "b" * 64), f"has SHA-256 {'b' * 64}"),
    ],
)
def test_a_difference_is_named(found: dict[str, Node], measured: tuple[int, str], problem: str) -> None:
    with pytest.raises(DigestMismatchError) as caught:
        check_digests(found, lambda path, most: measured, MANIFEST)
    assert problem in caught.value.message
    assert caught.value.message.startswith("price version 3: ")
