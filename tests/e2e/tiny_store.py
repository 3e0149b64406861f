"""A store of tiny models: two versions for each typed task, and tensors of every dtype."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from tests.e2e import graphs
from turnout_server.store.manifest import Lineage
from turnout_server.store.publish import Draft, publish
from turnout_server.vocabulary.signature import Column, DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

ROUTES = """\
routes:
  price:
    task: price
    salt: price-test
    targets:
      - {name: control, model: price, version: champion, weight: 50}
      - {name: canary, model: price, version: challenger, weight: 50}
    overrides:
      - {when: {header: {x-qa: "on"}}, target: canary}
      - {when: {unit: [vip]}, target: control}
    fallback: control
  ranking:
    task: ranking
    salt: ranking-test
    targets:
      - {name: control, model: ranking, version: champion, weight: 90}
      - {name: canary, model: ranking, version: challenger, weight: 10}
  recommendation:
    task: recommendation
    salt: recommendation-test
    targets:
      - {name: popular, model: recommendation, version: 1, weight: 1}
      - {name: again, model: recommendation, version: 2, weight: 1}
  echo:
    task: tensors
    salt: echo-test
    targets:
      - {name: only, model: echo, version: champion, weight: 1}
"""

PRICE = Signature(
    inputs=(
        TensorSpec("carat", DType.FP32, (-1, 1), range=(0.25, 5.0)),
        TensorSpec("cut", DType.BYTES, (-1, 1), default="Ideal"),
    ),
    outputs=tuple(TensorSpec(name, DType.FP32, (-1,)) for name in ("price", "low", "high")),
)
RANKING = Signature(
    inputs=(
        TensorSpec(
            "features",
            DType.FP32,
            (-1, 3),
            columns=(Column("price", range=(0.0, 3.0)), Column("discount", 0.0), Column("hour", 12.0, (0.0, 23.0))),
        ),
    ),
    outputs=(TensorSpec("score", DType.FP32, (-1,)),),
)
RECOMMENDATION = Signature(
    inputs=(
        TensorSpec("history", DType.INT64, (-1, -1)),
        TensorSpec("exclude", DType.INT64, (-1, -1)),
        TensorSpec("k", DType.INT64, (1,), default=10),
    ),
    outputs=(TensorSpec("item_ids", DType.INT64, (-1, -1)), TensorSpec("scores", DType.FP32, (-1, -1))),
    batched=False,
)


ALL_AT_ONCE = [dtype for dtype in graphs.DTYPES if dtype != "BF16"]
"""ONNX Runtime's own binding cannot have BF16 beside texts."""


def make_store(root: Path) -> Path:
    """Make the store at *root* and return it.

    - `price`, `ranking`, `recommendation`: versions 1 (champion) and 2 (challenger), see `graphs`
    - `echo`: version 1 (champion), thirteen inputs, one a dtype: `in_fp32` -> `out_fp32`, shapes [-1, -1]
    - `echo-fp32`, `echo-bytes`, ...: version 1, with one dtype each
    - `slow`: version 1, a quarter of a millisecond or so for each of its `rounds`
    - a route for each of the first four
    """
    out = root.parent / f"{root.name}-graphs"
    out.mkdir(parents=True)
    models: list[tuple[str, Task, Signature, list[onnx.ModelProto]]] = [
        ("price", Task.PRICE, PRICE, [graphs.price(1000.0), graphs.price(1100.0)]),
        ("ranking", Task.RANKING, RANKING, [graphs.ranking([-1, 1, 0]), graphs.ranking([-1, 2, 0.5])]),
        (
            "recommendation",
            Task.RECOMMENDATION,
            RECOMMENDATION,
            [graphs.recommendation(0.0), graphs.recommendation(100.0)],
        ),
        ("echo", Task.TENSORS, _echo(ALL_AT_ONCE), [graphs.echo(ALL_AT_ONCE)]),
        ("slow", Task.TENSORS, _slow(), [graphs.slow()]),
    ]
    for dtype in graphs.DTYPES:
        models.append((f"echo-{dtype.lower()}", Task.TENSORS, _echo([dtype]), [graphs.echo([dtype])]))
    for name, task, signature, versions in models:
        for number, (graph, label) in enumerate(zip(versions, ("champion", "challenger"), strict=False), 1):
            file = out / f"{name}-{number}.onnx"
            onnx.save(graph, file)
            publish_graph(root, name, task, signature, file, label=label)
    (root / "routes.yaml").write_text(ROUTES, encoding="utf-8")
    return root


def publish_graph(
    root: Path, model: str, task: Task, signature: Signature, file: Path, *, label: str | None = None, **draft: Any
) -> int:
    """Publish one graph file, with no label but this, and return its version."""
    metrics: Mapping[str, float] = {"rmse": 12.5}
    fields: dict[str, Any] = {"lineage": Lineage(framework="by hand", metrics=dict(metrics)), "owner": "tests"} | draft
    manifest = publish(
        root,
        Draft(model=model, task=task, signature=signature, files={"model.onnx": file}, **fields),
        labels=[label] if label else [],
        champion=False,
        created_at="2026-01-02T03:04:05Z",
    )
    return manifest.version


def _echo(dtypes: list[str]) -> Signature:
    return Signature(
        inputs=tuple(TensorSpec(f"in_{dtype.lower()}", DType(dtype), (-1, -1)) for dtype in dtypes),
        outputs=tuple(TensorSpec(f"out_{dtype.lower()}", DType(dtype), (-1, -1)) for dtype in dtypes),
    )


def _slow() -> Signature:
    # The default keeps the warm-up long enough that it never counts as quick enough for the event loop.
    return Signature(
        inputs=(TensorSpec("rounds", DType.INT64, (1,), default=20),),
        outputs=(TensorSpec("done", DType.INT64, (1,)),),
        batched=False,
    )
