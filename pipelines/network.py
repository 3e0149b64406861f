"""Item vectors trained in PyTorch: they correct the neighbours' scores by what a whole history says.

The score of item i is  log(FLOOR + the neighbours' score of i) + VOICE * (taste · vector_i).  The neighbours know which
two items go together and what one customer buys again (`pipelines.neighbours`). The taste sums up the history: its
item vectors, averaged twice under weights that are learned per item and fade with the purchases since, blended linearly
into one vector.

The vectors are trained to predict, from what customers bought before a day, what they bought in the four weeks from
then on, with a softmax over all items. Two more terms stand beside them in training only, so that they need not explain
what the neighbours' score does already: repeats, for two learned rates of fading log(1 + faded count of i) times a
learned gain and the learned loyalty of i; and a share of the log popularity of those four weeks themselves, so that the
vectors do not learn by heart what was on offer then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines import top_items
from pipelines.export import Graph
from pipelines.histories import Histories, padded
from pipelines.neighbours import Neighbours
from pipelines.sources import Floats, Ints

# Chosen by recall@20 on January, see `pipelines.recommendation`. WIDTH also bounds the size of the file.
WIDTH = 32
DROPOUT = 0.5
BATCH, STEPS = 256, 480
VOICE = 0.45
FLOOR = 0.01
HORIZON = 28
"""Days whose purchases are to be predicted."""
FIRST_CUT, LAST_CUT = 21, 21
"""Days at least before and after a cut in training."""
LONGEST = 200
"""Purchases of a history that training looks at, the latest."""
RATES = {"vectors": 7e-4, "items": 3e-3, "scalars": 0.1}
"""Learning rates; the scalars' is large since they must travel far in few steps."""
POPULARITY_SHARE = 0.6


class Vectors(nn.Module):
    """Scores every item for histories of places by their vectors; the place *count* is padding."""

    def __init__(self, count: int, width: int = WIDTH) -> None:
        super().__init__()
        self.count = count
        self.items = nn.Embedding(count + 1, width, padding_idx=count)
        nn.init.normal_(self.items.weight, std=0.05)
        with torch.no_grad():
            self.items.weight[count] = 0.0
        self.importance = nn.Parameter(torch.zeros(count + 1))
        self.fading = nn.Parameter(torch.tensor([-0.5, 0.5]))
        self.dropout = nn.Dropout(DROPOUT)
        self.blend = nn.Linear(2 * width, width)

    def forward(self, history: Tensor) -> Tensor:
        """Return scores, float32 [rows, count + 1], for places padded with *count*, int64 [rows, width]."""
        known, since = _since(history, self.count)
        fade = functional.softplus(self.fading)[:, None, None] * torch.log1p(since)
        weights = (torch.exp(self.importance[history] - fade) * known).transpose(0, 1)
        weights = weights / (weights.sum(2, keepdim=True) + 1e-6)
        # Float16 when frozen: stored small, computed in float32.
        memories = torch.matmul(weights, self.items(history).float()).flatten(1)
        taste: Tensor = self.blend(self.dropout(memories))
        return taste @ self.items.weight.float().T


class Repeats(nn.Module):
    """Scores what a history holds already; only training needs it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.loyalty = nn.Parameter(torch.zeros(count + 1))
        self.patience = nn.Parameter(torch.tensor([2.0, 4.0]))
        self.gain = nn.Parameter(torch.tensor([2.0, 2.0]))

    def forward(self, history: Tensor) -> Tensor:
        """Return scores, float32 [rows, count + 1], for places padded with *count*, int64 [rows, width]."""
        known, since = _since(history, self.count)
        total = torch.zeros_like(self.loyalty)
        nothing = total.expand(history.shape[0], -1)
        for speed, gain in zip(torch.exp(-self.patience), functional.softplus(self.gain), strict=True):
            faded = nothing.scatter_add(1, history, known / (1 + since * speed))
            total = total + gain * torch.log1p(faded)
        return total * torch.exp(self.loyalty)


class Taste(nn.Module):
    """Trained vectors as they are served: rounded to float16, their scores times `VOICE`."""

    def __init__(self, vectors: Vectors) -> None:
        super().__init__()
        self.vectors = vectors.eval()
        self.vectors.items.half()

    def forward(self, history: Tensor) -> Tensor:
        """Return scores, float32 [rows, items + 1], for places, int64 [rows, width]."""
        return VOICE * self.vectors(history)  # type: ignore[no-any-return]


class Served:
    """Neighbours and taste together."""

    def __init__(self, neighbours: Neighbours, taste: Taste) -> None:
        self._neighbours = neighbours
        self._taste = taste

    def scores(self, history: Ints) -> Floats:
        """Return each row's scores, [rows, items + 1]: what the exported graph is checked against."""
        with torch.inference_mode():
            taste = self._taste(torch.from_numpy(history)).double().numpy()
        return np.asarray(np.log(FLOOR + self._neighbours.scores(history)) + taste)

    def graph(self) -> onnx.ModelProto:
        """Return the whole ONNX graph, see `top_items`."""
        core = export(self._taste)

        def score(graph: Graph, history: str) -> str:
            votes = graph.add("Add", self._neighbours.score(graph, history), graph.constant(np.float32(FLOOR)))
            return graph.add("Add", graph.add("Log", votes), graph.splice(core, history))

        return top_items.build("network", self._neighbours.items, score)


def fit(train: Histories, seed: int, progress: Callable[[float], None]) -> Taste:
    """Train on *train*; the same *seed* gives the same vectors on one machine. *progress* hears the share done."""
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    chance = np.random.default_rng(seed)
    vectors, repeats = Vectors(len(train.items)), Repeats(len(train.items))
    optimizer = torch.optim.AdamW(_groups(vectors, repeats), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50) * (1 - step / STEPS))
    end = int(train.day.max()) + 1
    for step in range(STEPS):
        history, wanted, popularity = _batch(train, int(chance.integers(FIRST_CUT, end - LAST_CUT + 1)), chance)
        guess = functional.log_softmax((popularity + vectors(history) + repeats(history))[:, :-1], dim=1)
        loss = -(wanted * guess).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress((step + 1) / STEPS)
    return Taste(vectors)


def export(taste: Taste) -> onnx.ModelProto:
    """Return torch.onnx's graph of *taste*: places in, scores out, rows and width free."""
    example = torch.zeros((2, 3), dtype=torch.int64)
    free = ({0: torch.export.Dim("rows"), 1: torch.export.Dim("width")},)
    program = torch.onnx.export(
        taste.eval(), (example,), dynamo=True, dynamic_shapes=free, opset_version=18, verbose=False
    )
    if program is None:
        raise TypeError("torch.onnx.export returned no program")
    return program.model_proto


def _since(history: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return which places are known, 1 or 0, and how many known ones come after; float32 of *history*'s shape."""
    known = (history < count).float()
    return known, known.sum(1, keepdim=True) - known.cumsum(1)


def _groups(vectors: Vectors, repeats: Repeats) -> list[dict[str, Any]]:
    named = {
        "vectors": [vectors.items.weight, vectors.blend.weight, vectors.blend.bias],
        "items": [vectors.importance, repeats.loyalty],
        "scalars": [vectors.fading, repeats.patience, repeats.gain],
    }
    return [{"params": named[name], "lr": rate} for name, rate in RATES.items()]


def _batch(train: Histories, cut: int, chance: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Draw customers who bought before day *cut* and in the `HORIZON` from then on.

    Returns:
        Their histories, int64 [rows, width]; what they bought then, float32 [rows, items], each row's sum being 1; the
        popularity term of those days, float32 [items + 1].
    """
    line = train.customer * 1000 + train.day
    starts = np.arange(len(train.customers)) * 1000
    now = np.searchsorted(line, starts + cut)
    then = np.searchsorted(line, starts + cut + HORIZON)
    able = np.flatnonzero((now > train.bounds[:-1]) & (then > now))
    drawn = chance.choice(able, min(BATCH, len(able)), replace=False)
    count = len(train.items)
    histories = [train.item[max(train.bounds[who], now[who] - LONGEST) : now[who]] for who in drawn]
    wanted = torch.zeros(len(drawn), count)
    for row, who in enumerate(drawn):
        bought = torch.from_numpy(np.unique(train.item[now[who] : then[who]]))
        wanted[row, bought] = 1 / len(bought)
    return torch.from_numpy(padded(histories, count)), wanted, _popularity_term(train, cut, cut + HORIZON)


def _popularity_term(train: Histories, first: int, last: int) -> Tensor:
    """Return `POPULARITY_SHARE` of the log of each item's part of the lines of days *first* up to *last*.

    Returns:
        float32 [items + 1], 0 for padding.
    """
    inside = (train.day >= first) & (train.day < last)
    sales = np.bincount(train.item[inside], minlength=len(train.items)) + 0.5
    return torch.from_numpy(np.append(POPULARITY_SHARE * np.log(sales / sales.sum()), 0.0)).float()
