"""Sessions of ONNX Runtime's own Python binding, which brings an ONNX Runtime of its own into the process."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from turnout_server.onnx.said import what_was_said
from turnout_server.onnx.session import trim_memory
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.tensors import Array, Arrays

_FATAL_ONLY = 4
_BF16 = "tensor(bfloat16)"
_BF16_NUMBER = 16
"""ONNX's number for BF16."""


class BindingSession(ort.InferenceSession):  # type: ignore[misc]
    """A session that says what it raises, and can be closed."""

    # Values out of range are the former, sizes that don't fit each other the latter; no memory is neither.
    rejections = (ort_errors.InvalidArgument, ort_errors.Fail)
    native = None

    def run(self, outputs: Sequence[str], inputs: Arrays, options: object = None, /) -> list[Array]:
        """See `Session.run`. The binding has no BF16 in NumPy's arrays, but says where its own are."""
        types = {one.name: one.type for one in (*self.get_inputs(), *self.get_outputs())}
        if _BF16 not in types.values():
            return list(super().run(outputs, inputs, options))
        feeds = {name: _bf16(array) if types[name] == _BF16 else array for name, array in inputs.items()}
        if all(types[name] != _BF16 for name in outputs):
            return list(super().run(outputs, feeds, options))
        values = {name: each if isinstance(each, ort.OrtValue) else _value(each) for name, each in feeds.items()}
        made = self.run_with_ort_values(outputs, values, options)
        return [_bits(one) if one.data_type() == _BF16 else one.numpy() for one in made]

    def run_bytes(self) -> None:
        """Nobody counts."""

    def run_options(self) -> ort.RunOptions:
        """Return what runs can be ended by."""
        return ort.RunOptions()

    def terminate(self, options: ort.RunOptions) -> None:
        """End the runs with these options, soon, and let none begin. From any thread."""
        options.terminate = True

    def close(self) -> None:
        """Give its memory back to the system. No run may be under way."""
        self._sess = None
        trim_memory()


def _bf16(array: Array) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), _BF16_NUMBER)


def _value(array: Array) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _bits(value: ort.OrtValue) -> Array:
    """Return a copy of the elements of a BF16 tensor."""
    shape, size = value.shape(), value.tensor_size_in_bytes()
    raw = ctypes.string_at(value.data_ptr(), size) if size else b""
    return np.frombuffer(raw, "<u2").reshape(shape)


def open_session(path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> BindingSession:
    """Make a session for the graph at *path*; see `OpenSession`.

    Raises:
        InvalidModelError: ONNX Runtime cannot load it, or its binding cannot run it.
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
        if extensions is not None:
            settings.register_custom_ops_library(str(extensions))
        session = BindingSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        said = what_was_said(error, path.parent, None if extensions is None else extensions.parent)
        raise InvalidModelError(f"ONNX Runtime cannot load {path.name}: {said}") from error
    texts = any(one.type == "tensor(string)" for one in session.get_inputs())
    if texts and any(one.type == _BF16 for one in session.get_outputs()):
        raise InvalidModelError(
            "BF16 outputs of a graph that takes texts need the engine: ONNX Runtime's binding has no way"
        )
    return session
