"""A sentence transformer becomes one graph that takes texts."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from pipelines.sentences import build, weights_of

HIDDEN, WIDE, HEADS = 8, 16, 2
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "shoe", "##s"]
CONFIG = {"hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": HEADS, "layer_norm_eps": 1e-12}


def shapes() -> dict[str, list[int]]:
    layer = "encoder.layer.0"
    square = {f"{layer}.attention.self.{name}": HIDDEN for name in ("query", "key", "value")}
    square[f"{layer}.attention.output.dense"] = HIDDEN
    linear = {name: [HIDDEN, HIDDEN] for name in square}
    linear |= {f"{layer}.intermediate.dense": [WIDE, HIDDEN], f"{layer}.output.dense": [HIDDEN, WIDE]}
    norms = ("embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm")
    return (
        {f"{name}.weight": shape for name, shape in linear.items()}
        | {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        | {f"{name}.{part}": [HIDDEN] for name in norms for part in ("weight", "bias")}
        | {
            "embeddings.word_embeddings.weight": [len(WORDS), HIDDEN],
            "embeddings.position_embeddings.weight": [12, HIDDEN],
            "embeddings.token_type_embeddings.weight": [2, HIDDEN],
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    head, body = {}, b""
    for name, shape in shapes().items():
        raw = random.standard_normal(shape).astype("<f4").tobytes()
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(head | {"__metadata__": {"format": "pt"}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 10}')
    (tmp_path / "tokenizer_config.json").write_text('{"do_lower_case": true}')
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return tmp_path


def test_weights_are_read_as_they_lie(folder: Path) -> None:
    weights = weights_of(folder / "model.safetensors")
    assert {name: list(array.shape) for name, array in weights.items()} == shapes()
    first = np.random.default_rng(0).standard_normal([HIDDEN, HIDDEN]).astype("<f4")
    np.testing.assert_array_equal(weights["encoder.layer.0.attention.self.query.weight"], first)


@pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_extensions") is None, reason="onnxruntime-extensions is not installed"
)
def test_texts_become_embeddings_whatever_company_they_are_in(folder: Path) -> None:
    from turnout_server.onnx.binding import open_session
    from turnout_server.onnx.extensions import library
    from turnout_server.store.manifest import RuntimeOptions

    (folder / "model.onnx").write_bytes(build(folder).SerializeToString())
    session = open_session(folder / "model.onnx", RuntimeOptions(), library())
    texts = ["Red shoes", "red  SHOES", "blue", "", "red " * 30]
    (together,) = session.run(["embedding"], {"text": np.array(texts, object)})
    assert together.shape == (5, HIDDEN)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(together[0], together[1], rtol=1e-4, atol=1e-6)
    assert np.abs(together[0] - together[2]).max() > 1e-2
    for text, expected in zip(texts, together, strict=True):
        (alone,) = session.run(["embedding"], {"text": np.array([text], object)})
        np.testing.assert_allclose(alone[0], expected, rtol=1e-3, atol=1e-5)
