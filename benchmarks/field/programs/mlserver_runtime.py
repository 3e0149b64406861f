"""An MLServer runtime over ONNX Runtime, written as its documentation has users write one. Runs in MLServer's venv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput
from onnx_session import Session


class OnnxModel(MLModel):
    """One ONNX file, whose path is the `uri` of the model's settings."""

    async def load(self) -> bool:
        """Open the session."""
        self._session = Session(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the graph on one request."""
        outputs = self._session.run({one.name: decode(one) for one in payload.inputs})
        return InferenceResponse(
            model_name=self.name,
            outputs=[NumpyCodec.encode_output(name, array) for name, array in outputs.items()],
        )


def decode(request_input: RequestInput) -> np.ndarray:
    """Return one input as an array of its shape."""
    if request_input.datatype == "BYTES":
        return np.array(StringCodec.decode_input(request_input), dtype=object).reshape(request_input.shape)
    return NumpyCodec.decode_input(request_input)
