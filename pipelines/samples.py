"""Held-out real requests, for a demo and for tests: `<store>/samples/<model>.json`.

Every file is one object: `{"task": "price", "features": [names], "requests": [...]}`. In every request, `unit` is what
an assignment sticks to. The rest depends on the task:

- price: `{"unit": "shopper-17", "features": {"carat": 0.31, "cut": "Ideal", ...}, "outcome": 544.0}`; one value a
  feature, a number or a string as its column's type; `outcome` is the true price in US dollars.
- ranking: `{"unit": "1104905", "context": {"own_subclass_purchases": 2.0, ...}, "candidates": {"item_ids": [...],
  "features": {"own_purchases": [...], ...}}, "outcome": [...]}`; one number a context feature, one column of numbers a
  candidate feature, in the order of `item_ids`; `outcome` holds the item ids that were bought.
- recommendation: see `pipelines.recommendation`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write(store: Path, model: str, task: str, features: Sequence[str], requests: Sequence[Mapping[str, Any]]) -> Path:
    """Write the samples of *model* and return their file; numbers are rounded to four significant digits."""
    head = json.dumps({"task": task, "features": list(features)})[:-1]
    lines = ",\n".join(json.dumps(_rounded(request), separators=(",", ":")) for request in requests)
    file = store / "samples" / f"{model}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f'{head}, "requests": [\n{lines}\n]}}\n')
    return file


def _rounded(value: Any) -> Any:
    """Return *value* with every float in it short; whole numbers stay exact."""
    if isinstance(value, float):
        return value if value.is_integer() else float(f"{value:.4g}")
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value
