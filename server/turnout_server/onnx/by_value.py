"""Whether what a run of a graph costs is for values to say, and not for shapes alone: a look that runs nothing.

A loop's number of turns may be an input, and so may a size: `Loop`, `Range`, `Expand`. What a run takes is learnt by
shapes, so such a graph is taken for cheap until the one value comes that makes it run for hours. A size that is
computed from the *shapes* of inputs and from constants is none of these: it is followed through the graph. Nor are
operators that only choose among what they are given, as `Slice` and `TopK`: what they make is never larger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import onnx

_SIZES: Mapping[str, tuple[int, ...] | None] = {
    # What is made by these inputs' values, by their places; None for all inputs.
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "Compress": (1,),
    "ConstantOfShape": (0,),
    "DFT": (1,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "Loop": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": None,
    "NonMaxSuppression": None,
    "NonZero": None,
    "OneHot": (1,),
    "Pad": (1,),
    "Range": None,
    "Reshape": (1,),
    "Resize": (2, 3),
    "STFT": (1, 3),
    "SplitToSequence": (1,),
    "StringSplit": None,
    "Tile": (1,),
    "Unique": None,
    "Upsample": (1,),
}
_BY_SHAPE = ("Shape", "Size")
"""What these make is known once the shapes are."""
_PLAIN = ("", "ai.onnx", "ai.onnx.ml")
"""Domains whose operators are known here."""
_KNOWN_ELSEWHERE = frozenset(
    (
        "Attention",
        "BiasGelu",
        "DequantizeLinear",
        "DynamicQuantizeMatMul",
        "EmbedLayerNormalization",
        "FastGelu",
        "FusedConv",
        "FusedGemm",
        "FusedMatMul",
        "Gelu",
        "LayerNormalization",
        "MatMulInteger16",
        "MatMulIntegerToFloat",
        "MatMulNBits",
        "MultiHeadAttention",
        "QAttention",
        "QGemm",
        "QLinearAdd",
        "QLinearAveragePool",
        "QLinearConcat",
        "QLinearGlobalAveragePool",
        "QLinearLeakyRelu",
        "QLinearMul",
        "QLinearSigmoid",
        "QuantizeLinear",
        "QuickGelu",
        "RotaryEmbedding",
        "SimplifiedLayerNormalization",
        "SkipLayerNormalization",
        "SkipSimplifiedLayerNormalization",
    )
)
"""Operators of other domains that are known to cost what their inputs' shapes say. Nobody knows of the rest."""


def is_by_value(path: Path) -> bool:
    """Say whether values may decide what a run of the graph in the file *path* costs; external data are not read."""
    model = onnx.load(path, load_external_data=False)
    own = {(function.domain, function.name) for function in model.functions}
    if _graph_is(model.graph, (), own):
        return True
    # Each once, and whatever it is given: functions that call functions must not be followed, for a few of them unfold
    # to more nodes than anybody can look at.
    return any(_nodes_are(function.node, set(function.input), own) for function in model.functions)


def _graph_is(graph: onnx.GraphProto, outer: Collection[str], own: Collection[tuple[str, str]]) -> bool:
    """Say it of a graph in whose surroundings the values in *outer* are not known from shapes."""
    constants = {one.name for one in graph.initializer} | {one.values.name for one in graph.sparse_initializer}
    given = {one.name for one in graph.input} - constants
    return _nodes_are(graph.node, {*outer, *given}, own)


def _nodes_are(nodes: Iterable[onnx.NodeProto], free: set[str], own: Collection[tuple[str, str]]) -> bool:
    """Say it of nodes in their order; *free* are values that are not known from shapes, and gets theirs."""
    for node in nodes:
        if node.domain not in _PLAIN and (node.domain, node.op_type) not in own:
            if node.op_type not in _KNOWN_ELSEWHERE:
                return True
        elif _decides(node, free):
            return True
        bodies = list(_bodies(node))
        if any(_graph_is(body, free, own) for body in bodies):
            return True
        if node.op_type not in _BY_SHAPE and (bodies or not free.isdisjoint(node.input)):
            free.update(node.output)
    return False


def _decides(node: onnx.NodeProto, free: Collection[str]) -> bool:
    """Say whether one of a node's free inputs decides how much it does."""
    if node.op_type not in _SIZES:
        return False
    places = _SIZES[node.op_type]
    if node.op_type == "Loop" and not (node.input and node.input[0]):
        return True  # it goes on until a value says otherwise
    inputs = node.input if places is None else [node.input[place] for place in places if place < len(node.input)]
    return any(name in free for name in inputs)


def _bodies(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            yield from attribute.graphs
