"""onnxruntime-extensions: operators for texts, tokenizers among them, which graphs may be made of.

They are in a shared library of the installed package, and nowhere else: a graph names operators, and has no say in what
is loaded for them. A session gets the library only where its graph has such operators.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from turnout_server.vocabulary.errors import ConfigurationError, InvalidModelError, enumerated

PACKAGE = "onnxruntime_extensions"
DOMAINS = ("ai.onnx.contrib", "com.microsoft.extensions")
_LIBRARIES = ("_extensions_pydll*.so", "_extensions_pydll*.pyd")
INSTALL = "pip install 'turnout[extensions]'"


@functools.cache
def library() -> Path | None:
    """Return the package's shared library, which is not loaded; None where the package is not installed."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        return None
    directory = Path(found.origin).parent
    return next((each for pattern in _LIBRARIES for each in sorted(directory.glob(pattern))), None)


def require() -> None:
    """See that the package is there, where the configuration says that it is to be used.

    Raises:
        ConfigurationError: it is not.
    """
    if library() is None:
        raise ConfigurationError(f"onnx.extensions is true, and onnxruntime-extensions is not installed: {INSTALL}")


def operators_of(path: Path) -> tuple[str, ...]:
    """Return which of the extensions' operators the graph in the file *path* has; external data are not read."""
    model = onnx.load(path, load_external_data=False)
    own = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    nodes = (node for body in bodies for node in _nodes(body))
    found = {
        f"{node.domain}:{node.op_type}"
        for node in nodes
        if node.domain in DOMAINS and (node.domain, node.op_type) not in own
    }
    return tuple(sorted(found))


def library_for(path: Path, allowed: bool) -> Path | None:
    """Return what has to be loaded for the graph in the file *path*; None where nothing has.

    Raises:
        InvalidModelError: it has operators of the extensions, which are not allowed or not installed.
    """
    operators = operators_of(path)
    if not operators:
        return None
    needs = f"{path.name} needs operators of onnxruntime-extensions ({enumerated(operators)})"
    if not allowed:
        raise InvalidModelError(f"{needs}, which the configuration does not allow (onnx.extensions)")
    found = library()
    if found is None:
        raise InvalidModelError(f"{needs}, which is not installed: {INSTALL}")
    return found


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _nodes(graph.node)
