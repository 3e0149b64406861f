"""From a version's files to a servable, once a trial has shown that they are good: only the graph is opened here."""

from __future__ import annotations

from pathlib import Path

from turnout_server.onnx.session import OnnxServable, OpenSession
from turnout_server.onnx.signature import check_signature, read_signature
from turnout_server.store.manifest import MODEL_FILE, Manifest


def binding() -> OpenSession:
    """Return what opens sessions of ONNX Runtime's own Python binding, which is imported only where it is wanted.

    A process with the engine in it has an ONNX Runtime already; the binding would map another.
    """
    from turnout_server.onnx.binding import open_session

    return open_session


def open_servable(
    directory: Path, manifest: Manifest, open_session: OpenSession, extensions: Path | None = None
) -> OnnxServable:
    """Open a version's graph, and see that it does what its manifest says.

    Args:
        directory: with its files.
        manifest: what it claims.
        open_session: opens the graph.
        extensions: the library of operators that it needs; None where it needs none.

    Raises:
        InvalidModelError: ONNX Runtime cannot open the graph, or it differs from the manifest.
    """
    session = open_session(directory / MODEL_FILE, manifest.runtime, extensions)
    check_signature(manifest.signature, read_signature(session))
    return OnnxServable(manifest, session)
