"""A sentence transformer as one graph that takes texts: its tokenizer, BERT, mean pooling, length one.

    python -m pipelines.sentences FOLDER embed.onnx
    turnout publish embed.onnx --model embed

FOLDER is a model of the library sentence-transformers with a BERT in it (`config.json`, `model.safetensors`,
`vocab.txt`), such as all-MiniLM-L6-v2. Neither PyTorch nor Transformers is needed: weights are read as they lie, and
the graph is written node by node. The tokenizer is an operator of onnxruntime-extensions.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_OPSET = 18
_EXTENSIONS = "ai.onnx.contrib"
_MASKED = -1e9
"""What is added to the attention that nobody is to have."""


def weights_of(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read a file of safetensors, all of whose numbers are FP32 or INT64."""
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    head = json.loads(raw[8 : 8 + length])
    dtypes = {"F32": "<f4", "I64": "<i8"}
    found = {}
    for name, entry in head.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = np.frombuffer(raw[begin:end], dtypes[entry["dtype"]]).reshape(entry["shape"])
    return found


class Graph:
    """Nodes and constants, in the order in which they are made."""

    def __init__(self, name: str = "outer") -> None:
        self._name = name  # a body's names must not be those of what is around it
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, array: Any, name: str = "", dtype: Any = None) -> str:
        """Keep an array; return its name."""
        name = name or f"{self._name}_constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.asarray(array, dtype, order="C"), name)
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Append a node; return its first output's name."""
        made = [*outputs] or [f"{self._name}_{kind}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, made, domain=domain, **attributes))
        return made[0]


class _Bert:
    def __init__(self, graph: Graph, weights: dict[str, np.ndarray[Any, Any]], config: dict[str, Any]) -> None:
        self._graph, self._weights, self._config = graph, weights, config

    def encoded(self, ids: str, mask: str) -> str:
        """Return each token's state, [rows, tokens, hidden]; *ids* and *mask* are INT64 [rows, tokens]."""
        graph = self._graph
        tokens = graph.node("Gather", graph.node("Shape", ids), graph.constant(1, dtype=np.int64))
        zero, one = graph.constant(0, dtype=np.int64), graph.constant(1, dtype=np.int64)
        state = graph.node("Gather", self._weight("embeddings.word_embeddings.weight"), ids)
        places = graph.node("Range", zero, tokens, one)
        state = graph.node(
            "Add", state, graph.node("Gather", self._weight("embeddings.position_embeddings.weight"), places)
        )
        kind = graph.constant(self._weights["embeddings.token_type_embeddings.weight"][0])  # all of the first sentence
        state = self._normalised(graph.node("Add", state, kind), "embeddings.LayerNorm")
        seen = graph.node(
            "Unsqueeze", graph.node("Cast", mask, to=TensorProto.FLOAT), graph.constant([1, 2], dtype="i8")
        )
        hidden = graph.node("Sub", graph.constant(1, dtype=np.float32), seen)
        bias = graph.node("Mul", hidden, graph.constant(_MASKED, dtype=np.float32))
        for layer in range(self._config["num_hidden_layers"]):
            state = self._layer(state, bias, f"encoder.layer.{layer}")
        return state

    def _layer(self, state: str, bias: str, name: str) -> str:
        graph = self._graph
        heads = self._config["num_attention_heads"]
        size = self._config["hidden_size"] // heads
        split = graph.constant([0, 0, heads, size], dtype=np.int64)

        def divided(which: str, *order: int) -> str:
            made = graph.node("Reshape", self._linear(state, f"{name}.attention.self.{which}"), split)
            return graph.node("Transpose", made, perm=order)

        query, key, value = divided("query", 0, 2, 1, 3), divided("key", 0, 2, 3, 1), divided("value", 0, 2, 1, 3)
        scores = graph.node(
            "Mul", graph.node("MatMul", query, key), graph.constant(1 / np.sqrt(size), dtype=np.float32)
        )
        shares = graph.node("Softmax", graph.node("Add", scores, bias), axis=-1)
        context = graph.node("Transpose", graph.node("MatMul", shares, value), perm=[0, 2, 1, 3])
        joined = graph.node("Reshape", context, graph.constant([0, 0, heads * size], dtype=np.int64))
        attended = self._linear(joined, f"{name}.attention.output.dense")
        state = self._normalised(graph.node("Add", attended, state), f"{name}.attention.output.LayerNorm")
        wide = self._linear(state, f"{name}.intermediate.dense")
        half = graph.node("Erf", graph.node("Div", wide, graph.constant(np.sqrt(2), dtype=np.float32)))  # GELU, exactly
        half = graph.node("Add", half, graph.constant(1, dtype=np.float32))
        wide = graph.node("Mul", graph.node("Mul", wide, graph.constant(0.5, dtype=np.float32)), half)
        narrow = self._linear(wide, f"{name}.output.dense")
        return self._normalised(graph.node("Add", narrow, state), f"{name}.output.LayerNorm")

    def _linear(self, state: str, name: str) -> str:
        weight = self._graph.constant(self._weights[f"{name}.weight"].T, f"{name}.weight")
        return self._graph.node("Add", self._graph.node("MatMul", state, weight), self._weight(f"{name}.bias"))

    def _normalised(self, state: str, name: str) -> str:
        scale, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self._graph.node("LayerNormalization", state, scale, bias, epsilon=self._config["layer_norm_eps"])

    def _weight(self, name: str) -> str:
        return self._graph.constant(self._weights[name], name)


def _tokenizing(vocabulary: str, lower: bool, most: int) -> onnx.GraphProto:
    """Return a loop's body: one text's tokens, padded to the most that there may be, and which of them are its own."""
    graph = Graph("tokenizing")
    one = graph.node("Gather", "text", graph.node("Unsqueeze", "row", graph.constant([0], dtype=np.int64)))
    graph.node(
        "BertTokenizer",
        one,
        domain=_EXTENSIONS,
        outputs=["ids", "kinds", "mask"],
        vocab_file=vocabulary,
        do_lower_case=int(lower),
        strip_accents=int(lower),
        max_length=most,
        truncation_strategy_name="longest_first",
    )
    missing = graph.node("Sub", graph.constant([most], dtype=np.int64), graph.node("Shape", "ids"))
    pads = graph.node("Concat", graph.constant([0], dtype=np.int64), missing, axis=0)
    graph.node("Pad", "ids", pads, outputs=["padded_ids"])
    graph.node("Pad", "mask", pads, outputs=["padded_mask"])
    graph.node("Identity", "going", outputs=["goes_on"])
    value = helper.make_tensor_value_info
    return helper.make_graph(
        graph.nodes,
        "tokenizing",
        [value("row", TensorProto.INT64, []), value("going", TensorProto.BOOL, [])],
        [
            value("goes_on", TensorProto.BOOL, []),
            value("padded_ids", TensorProto.INT64, [most]),
            value("padded_mask", TensorProto.INT64, [most]),
        ],
        list(graph.constants.values()),
    )


def build(folder: Path) -> onnx.ModelProto:
    """Return the graph: `text` BYTES [n] to `embedding` FP32 [n, hidden], each of length one."""
    config = json.loads((folder / "config.json").read_text())
    most = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
    lower = json.loads((folder / "tokenizer_config.json").read_text())["do_lower_case"]
    graph = Graph()
    rows = graph.node("Gather", graph.node("Shape", "text"), graph.constant(0, dtype=np.int64))
    body = _tokenizing((folder / "vocab.txt").read_text(encoding="utf-8"), lower, most)
    graph.node("Loop", rows, "", outputs=["all_ids", "all_mask"], body=body)
    first, second = graph.constant([0], dtype=np.int64), graph.constant([1], dtype=np.int64)
    longest = graph.node("ReduceMax", graph.node("ReduceSum", "all_mask", second, keepdims=0), keepdims=1)
    ids, mask = (graph.node("Slice", name, first, longest, second) for name in ("all_ids", "all_mask"))
    states = _Bert(graph, weights_of(folder / "model.safetensors"), config).encoded(ids, mask)
    counted = graph.node(
        "Unsqueeze", graph.node("Cast", mask, to=TensorProto.FLOAT), graph.constant([2], dtype=np.int64)
    )
    total = graph.node("ReduceSum", graph.node("Mul", states, counted), second, keepdims=0)
    mean = graph.node("Div", total, graph.node("ReduceSum", counted, second, keepdims=0))
    graph.node("LpNormalization", mean, axis=1, p=2, outputs=["embedding"])
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        graph.nodes,
        "sentences",
        [value("text", TensorProto.STRING, ["n"])],
        [value("embedding", TensorProto.FLOAT, ["n", config["hidden_size"]])],
        list(graph.constants.values()),
    )
    imports = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_EXTENSIONS, 1)]
    return helper.make_model(made, opset_imports=imports, ir_version=9)


def main() -> None:
    """Build the graph of the folder that is named, into the file that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    onnx.save(build(arguments.folder), arguments.file)


if __name__ == "__main__":
    main()
