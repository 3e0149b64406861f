"""A KServe model server over ONNX Runtime, written as its documentation has users write one. Runs in KServe's venv.

    python kserve_server.py --directory DIRECTORY [--uvloop] --grpc_port PORT ...

Further arguments are KServe's own. It listens on all interfaces: it has no setting for that.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelServer, model_server
from onnx_session import DATATYPES, Session, models_in


class OnnxModel(Model):
    """One ONNX file."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._session = Session(path)
        self.load()

    def predict(self, payload: InferRequest, headers: dict[str, str] | None = None) -> InferResponse:
        """Run the graph on one request."""
        outputs = self._session.run({one.name: decode(one) for one in payload.inputs})
        return InferResponse(
            response_id=payload.id,
            model_name=self.name,
            infer_outputs=[
                InferOutput(name=name, shape=list(array.shape), datatype=DATATYPES[array.dtype], data=array)
                for name, array in outputs.items()
            ],
        )


def decode(infer_input: InferInput) -> np.ndarray:
    """Return one input as an array of its shape."""
    array = infer_input.as_numpy()
    if array.dtype != object:
        return array
    texts = [element.decode() for element in array.ravel()]  # ONNX Runtime takes `str`
    return np.array(texts, dtype=object).reshape(array.shape)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(parents=[model_server.parser])
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--uvloop", action="store_true")
    arguments = parser.parse_args()
    if arguments.uvloop:
        import uvloop

        uvloop.install()
    ModelServer().start([OnnxModel(name, path) for name, path in models_in(arguments.directory).items()])
