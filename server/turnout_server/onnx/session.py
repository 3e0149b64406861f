"""A servable over one ONNX Runtime session."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from turnout_server.store.manifest import Manifest, RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError, ModelFailedError, ModelRejectedInputError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Array, Arrays

_FATAL_ONLY = 4


class OnnxServable:
    """One version, able to predict. `run` may be called from several threads at once."""

    __slots__ = ("_session", "manifest", "output_names", "signature")

    def __init__(self, manifest: Manifest, session: ort.InferenceSession) -> None:
        self.manifest = manifest
        self.signature: Signature = manifest.signature
        self.output_names = tuple(spec.name for spec in manifest.signature.outputs)
        self._session: Any = session

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = ()) -> list[Array]:
        """Run the graph once, on the calling thread.

        Args:
            inputs: every input of the signature, with its dtype and shape.
            outputs: the outputs wanted; empty for all.

        Returns:
            The outputs in the order wanted.

        Raises:
            ModelRejectedInputError: the graph refused the values.
            ModelFailedError: it failed in another way; the cause is chained.
        """
        manifest = self.manifest
        try:
            result: list[Array] = self._session.run(outputs or self.output_names, inputs)
        except (ort_errors.InvalidArgument, ort_errors.Fail) as error:
            # Values out of range are the former, sizes that don't fit each other the latter; no memory is neither.
            # ONNX Runtime's text names nodes and files of the graph: it goes to the log through the chain, not out.
            raise ModelRejectedInputError(
                manifest.model, manifest.version, "values or sizes do not fit the graph"
            ) from error
        except Exception as error:
            raise ModelFailedError(manifest.model, manifest.version) from error
        return result

    def close(self) -> None:
        """Give the session's memory back to the system. No run may be under way."""
        self._session = None
        trim_memory()


def open_session(path: Path, options: RuntimeOptions) -> ort.InferenceSession:
    """Make a session for the graph at *path*.

    Raises:
        InvalidModelError: ONNX Runtime cannot load it.
    """
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.intra_op_threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _FATAL_ONLY
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    # A memory pattern is kept for every shape ever seen, and callers choose the shapes.
    settings.enable_mem_pattern = False
    # An arena never shrinks: one huge request would hold its memory for as long as the version lives.
    settings.enable_cpu_mem_arena = False
    try:
        return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidModelError(f"ONNX Runtime cannot load {path.name} ({type(error).__name__})") from error


def trim_memory() -> None:
    """Let the C library return freed memory to the system, where it can (glibc's `malloc_trim`)."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None
