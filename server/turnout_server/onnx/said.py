"""What ONNX and ONNX Runtime say when they cannot, as it can be shown: in one line, and without our paths."""

from __future__ import annotations

import re
from pathlib import Path

_MOST = 600
"""Characters of it that are shown."""
_AROUND = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : | \(ONNX Runtime's code \d+\)$")
"""What the binding writes before ONNX Runtime's text, and the engine after it."""


def what_was_said(error: BaseException, *directories: Path | None) -> str:
    """Return an error's own sentence; its class's name where it has none.

    Args:
        error: of ONNX, of ONNX Runtime's binding, or of the engine.
        directories: where graph and libraries are, which is nobody's business who may see why a version is not served.
    """
    text = _AROUND.sub("", " ".join(str(error).split()))
    for directory in filter(None, directories):
        for place in {str(directory), str(directory.absolute()), str(directory.resolve())}:
            text = text.replace(f"{place}/", "")
    text = "".join(character if character.isprintable() else "?" for character in text).strip()
    if not text:
        return type(error).__name__
    return text if len(text) <= _MOST else f"{text[:_MOST]}..."
