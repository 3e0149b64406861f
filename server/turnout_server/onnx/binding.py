"""Sessions of ONNX Runtime's own Python binding, which brings an ONNX Runtime of its own into the process."""

from __future__ import annotations

from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from turnout_server.onnx.session import trim_memory
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError

_FATAL_ONLY = 4


class BindingSession(ort.InferenceSession):  # type: ignore[misc]
    """A session that says what it raises, and can be closed."""

    # Values out of range are the former, sizes that don't fit each other the latter; no memory is neither.
    rejections = (ort_errors.InvalidArgument, ort_errors.Fail)
    native = None

    def close(self) -> None:
        """Give its memory back to the system. No run may be under way."""
        self._sess = None
        trim_memory()


def open_session(path: Path, options: RuntimeOptions) -> BindingSession:
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
        return BindingSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InvalidModelError(f"ONNX Runtime cannot load {path.name} ({type(error).__name__})") from error
