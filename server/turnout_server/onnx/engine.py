"""Sessions of the engine, over the shared library in ONNX Runtime's package; its Python binding is never imported."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import turnout_engine

from turnout_server.onnx.said import what_was_said
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.tensors import Array, Arrays

_LIBRARIES = ("libonnxruntime.so.*", "libonnxruntime.*.dylib", "libonnxruntime.so", "libonnxruntime.dylib")


class EngineArgument(NamedTuple):
    """An input or output of a graph, as `turnout_server.onnx.session.Argument`."""

    name: str
    type: str
    shape: list[int | str | None]


class EngineSession:
    """A session of the engine's, as `turnout_server.onnx.session.Session`."""

    __slots__ = ("native",)

    rejections = (turnout_engine.InputRejectedError,)

    def __init__(self, session: turnout_engine.Session) -> None:
        self.native = session

    def get_inputs(self) -> list[EngineArgument]:
        """Return what must be given, in the graph's order."""
        return [EngineArgument(*each) for each in self.native.inputs]

    def get_outputs(self) -> list[EngineArgument]:
        """Return what comes out, in the graph's order."""
        return [EngineArgument(*each) for each in self.native.outputs]

    def run(
        self, outputs: Sequence[str], inputs: Arrays, options: turnout_engine.RunOptions | None = None, /
    ) -> list[Array]:
        """Run the graph once, on the calling thread, and return the outputs in the order wanted, read-only.

        Args:
            outputs: their names.
            inputs: every input.
            options: to end the run with; None where nobody will.
        """
        made = self.native.run(dict(inputs), tuple(outputs), options)
        return [np.asarray(one) if one.dtype != "BYTES" else _texts(one) for one in made]

    def run_bytes(self) -> int:
        """Return the most bytes that this thread's last run had, beside its inputs."""
        return turnout_engine.last_run_bytes()

    def run_options(self) -> turnout_engine.RunOptions:
        """Return what runs can be ended by."""
        return turnout_engine.RunOptions()

    def terminate(self, options: turnout_engine.RunOptions) -> None:
        """End the runs with these options, soon, and let none begin. From any thread."""
        options.terminate()

    def close(self) -> None:
        """Give its memory back to the system; other threads run meanwhile."""
        self.native.close()


def _texts(tensor: turnout_engine.Tensor) -> Array:
    made = np.empty(tensor.shape, dtype=object)
    made.reshape(-1)[:] = tensor.texts()
    return made


def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> EngineSession:
    """Make a session for the graph at *path*; see `turnout_server.onnx.session.OpenSession`.

    Raises:
        InvalidModelError: ONNX Runtime cannot load it.
        OSError: ONNX Runtime itself is not there.
    """
    load()
    try:
        library = None if extensions is None else str(extensions)
        return EngineSession(turnout_engine.Session(str(path), options.intra_op_threads, options.spinning, library))
    except Exception as error:
        said = what_was_said(error, path.parent, None if extensions is None else extensions.parent)
        raise InvalidModelError(f"ONNX Runtime cannot load {path.name}: {said}") from error


@functools.cache
def load() -> str:
    """Load ONNX Runtime for the engine, once, and return its version.

    Raises:
        ModuleNotFoundError: its package is not installed.
        OSError: the package has no shared library, or one that cannot be loaded.
    """
    library = find_library()
    try:
        return turnout_engine.load_onnxruntime(str(library))
    except turnout_engine.OnnxRuntimeError as error:
        raise OSError(f"cannot load {library.name}: {error}") from error


def find_library() -> Path:
    """Return the shared library in ONNX Runtime's package, which is not imported.

    Raises:
        ModuleNotFoundError: the package is not installed.
        OSError: it has no shared library.
    """
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
    directory = Path(found.origin).with_name("capi")
    for pattern in _LIBRARIES:
        for library in sorted(directory.glob(pattern)):
            return library
    raise OSError("onnxruntime's package has no shared library")
