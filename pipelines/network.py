"""A small recommendation network, trained in PyTorch: two fading memories of what you bought, and learned repeats.

The score of item i is the sum of

- what everyone buys: a share of its log popularity;
- what goes with your purchases: your history's item vectors, averaged twice under weights that are learned per item and
  fade with the purchases since, blended linearly into one vector, times the vector of i;
- what you bought before: for two learned rates of fading, log(1 + faded count of i), times a learned gain and the
  learned loyalty of i.

It is trained to predict, from what customers bought before a day, what they bought in the four weeks from then on,
with a softmax over all items. In training the popularity is that of the four weeks themselves: the other terms then
learn what sets a customer apart, and none learns by heart what was on offer in those weeks. In serving it is the
past's, which is worth less; so in both only a share of its logarithm counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.histories import Histories, padded
from pipelines.sources import Floats, Ints

# Chosen among a few settings by what they found in January and in February: February's figure flatters a little.
WIDTH = 64
DROPOUT = 0.5
BATCH, STEPS = 256, 240
HORIZON = 28
"""Days whose purchases are to be predicted."""
FIRST_CUT, LAST_CUT = 21, 21
"""Days at least before and after a cut in training."""
LONGEST = 200
"""Purchases of a history that training looks at, the latest."""
RATES = {"vectors": 7e-4, "items": 3e-3, "scalars": 0.1}
"""Learning rates; the scalars' is large since they must travel far in few steps."""
POPULARITY_SHARE = 0.6


class Network(nn.Module):
    """Scores every item for histories of places; the place *count* is padding."""

    def __init__(self, count: int, width: int = WIDTH) -> None:
        super().__init__()
        self.count = count
        self.items = nn.Embedding(count + 1, width, padding_idx=count)
        nn.init.normal_(self.items.weight, std=0.05)
        with torch.no_grad():
            self.items.weight[count] = 0.0
        self.importance = nn.Parameter(torch.zeros(count + 1))
        self.loyalty = nn.Parameter(torch.zeros(count + 1))
        self.fading = nn.Parameter(torch.tensor([-0.5, 0.5]))
        self.patience = nn.Parameter(torch.tensor([2.0, 4.0]))
        self.gain = nn.Parameter(torch.tensor([2.0, 2.0]))
        self.dropout = nn.Dropout(DROPOUT)
        self.blend = nn.Linear(2 * width, width)

    def forward(self, history: Tensor, popularity: Tensor) -> Tensor:
        """Return scores, float32 [rows, count + 1].

        Args:
            history: places, oldest first, padded with *count*, int64 [rows, width].
            popularity: float32 [count + 1].
        """
        known = (history < self.count).float()
        since = known.sum(1, keepdim=True) - known.cumsum(1)
        return popularity + self._goes_with(history, known, since) + self._repeats(history, known, since)

    def _goes_with(self, history: Tensor, known: Tensor, since: Tensor) -> Tensor:
        fade = functional.softplus(self.fading)[:, None, None] * torch.log1p(since)
        weights = (torch.exp(self.importance[history] - fade) * known).transpose(0, 1)
        weights = weights / (weights.sum(2, keepdim=True) + 1e-6)
        # Float16 when frozen: stored small, computed in float32.
        memories = torch.matmul(weights, self.items(history).float()).flatten(1)
        blended: Tensor = self.blend(self.dropout(memories))
        return blended @ self.items.weight.float().T

    def _repeats(self, history: Tensor, known: Tensor, since: Tensor) -> Tensor:
        total = torch.zeros_like(self.loyalty)
        nothing = total.expand(history.shape[0], -1)
        for speed, gain in zip(torch.exp(-self.patience), functional.softplus(self.gain), strict=True):
            faded = nothing.scatter_add(1, history, known / (1 + since * speed))
            total = total + gain * torch.log1p(faded)
        return total * torch.exp(self.loyalty)


class Served(nn.Module):
    """A trained network as it is served: a history in, scores out; item vectors rounded to float16."""

    def __init__(self, network: Network, popularity: Tensor) -> None:
        super().__init__()
        self.network = network.eval()
        self.network.items.half()
        self.popularity: Tensor
        self.register_buffer("popularity", popularity)

    def forward(self, history: Tensor) -> Tensor:
        """Return scores, float32 [rows, items + 1], for places, int64 [rows, width]."""
        return self.network(history, self.popularity)  # type: ignore[no-any-return]

    def scores(self, history: Ints) -> Floats:
        """Return each row's scores, [rows, items + 1]: what the exported graph is checked against."""
        with torch.inference_mode():
            return self(torch.from_numpy(history)).double().numpy()  # type: ignore[no-any-return]


def fit(train: Histories, seed: int, progress: Callable[[float], None]) -> Served:
    """Train on *train*; the same *seed* gives the same network on one machine. *progress* hears the share done."""
    torch.set_num_threads(2)
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    chance = np.random.default_rng(seed)
    network = Network(len(train.items))
    optimizer = torch.optim.AdamW(_groups(network), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 50) * (1 - step / STEPS))
    end = int(train.day.max()) + 1
    for step in range(STEPS):
        history, wanted, popularity = _batch(train, int(chance.integers(FIRST_CUT, end - LAST_CUT + 1)), chance)
        guess = functional.log_softmax(network(history, popularity)[:, :-1], dim=1)
        loss = -(wanted * guess).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress((step + 1) / STEPS)
    return Served(network, _popularity_term(train, 0, end))


def export(served: Served) -> onnx.ModelProto:
    """Return torch.onnx's graph of *served*: places in, scores out, rows and width free."""
    example = torch.zeros((2, 3), dtype=torch.int64)
    free = ({0: torch.export.Dim("rows"), 1: torch.export.Dim("width")},)
    program = torch.onnx.export(
        served.eval(), (example,), dynamo=True, dynamic_shapes=free, opset_version=18, verbose=False
    )
    if program is None:
        raise TypeError("torch.onnx.export returned no program")
    return program.model_proto


def _groups(network: Network) -> list[dict[str, Any]]:
    vectors = [network.items.weight, network.blend.weight, network.blend.bias]
    items = [network.importance, network.loyalty]
    scalars = [network.fading, network.patience, network.gain]
    named = {"vectors": vectors, "items": items, "scalars": scalars}
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
