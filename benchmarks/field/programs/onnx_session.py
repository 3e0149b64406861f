"""The session that every server but Turnout runs its models in, with the options that Turnout gives its own.

It runs in the rivals' environments, which have no Turnout, so the options stand here a second time; a test compares
them with Turnout's. Needs onnxruntime and NumPy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

DTYPES = {
    "INT64": np.dtype("<i8"),
    "FP32": np.dtype("<f4"),
}
"""NumPy's dtypes by the Open Inference Protocol's names, for the inputs and outputs of the benchmark's models; BYTES
have a form of their own."""
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}


class Session:
    """One ONNX file, able to run; answers with its outputs by name."""

    def __init__(self, path: Path) -> None:
        self._session = open_session(path)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the graph on *inputs* by name; text is an object array of `str`."""
        return dict(zip(self._outputs, self._session.run(self._outputs, inputs), strict=True))


def open_session(path: Path) -> Any:
    """Make a session for the graph at *path*: one thread, no spinning, no arena, no memory patterns."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.enable_mem_pattern = False
    settings.enable_cpu_mem_arena = False
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def models_in(directory: Path) -> dict[str, Path]:
    """Return the ONNX files of *directory* by model."""
    return {path.stem: path for path in sorted(directory.glob("*.onnx"))}
