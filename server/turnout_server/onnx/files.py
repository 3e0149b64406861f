"""The files that a graph consists of: itself, and the external data that it refers to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
from onnx import external_data_helper

from turnout_server.onnx.said import what_was_said
from turnout_server.store.manifest import MODEL_FILE
from turnout_server.vocabulary.errors import InvalidModelError


def files_of(path: Path) -> dict[str, Path]:
    """Return the files to publish for the graph at *path*: their paths inside the version, and where they are now.

    Raises:
        InvalidModelError: the graph cannot be read, or its external data is not there or outside its directory.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise InvalidModelError(f"{path} is not an ONNX model: {what_was_said(error, path.parent)}") from error
    files = {MODEL_FILE: path}
    for location in sorted(set(_locations(model))):
        inside = PurePosixPath(location)
        if inside.is_absolute() or ".." in inside.parts or not inside.parts:
            raise InvalidModelError(f"{path}: its external data {location!r} is outside the model's directory")
        source = path.parent / inside
        if not source.is_file():
            raise InvalidModelError(f"{path}: its external data {str(inside)!r} is not beside it")
        if str(inside) == MODEL_FILE:
            raise InvalidModelError(f"{path}: its external data is called {MODEL_FILE}, as the graph itself will be")
        files[str(inside)] = source
    return files


def _locations(model: onnx.ModelProto) -> Iterator[str]:
    tensors = [*_tensors(model.graph), *(found for one in model.functions for found in _in_nodes(one.node))]
    for tensor in tensors:
        if external_data_helper.uses_external_data(tensor):
            yield next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _in_nodes(graph.node)


def _in_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _tensors(graph)
