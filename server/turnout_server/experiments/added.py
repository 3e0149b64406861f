"""Metrics that were added to an experiment after its start. They are looked at beside, and decide nothing.

```
experiments/<name>/added/<metric>.json     written once
```
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from turnout_server.experiments import definition, seal, text
from turnout_server.experiments.definition import Experiment, InvalidExperimentError
from turnout_server.experiments.grants import ExperimentConflictError
from turnout_server.experiments.metric import Metric
from turnout_server.experiments.started import FOLDER
from turnout_server.store.blobs import Blobs
from turnout_server.vocabulary.errors import StoreError

FORMAT = 1


class Added(msgspec.Struct, frozen=True):
    """A metric that was added."""

    format: int
    name: str
    metric: Metric
    at: datetime
    by: str


def joined(experiment: Experiment, added: Sequence[Added]) -> Experiment:
    """Return an experiment with what was added to it, as secondary metrics."""
    return msgspec.structs.replace(
        experiment,
        metrics=experiment.metrics | {one.name: one.metric for one in added},
        secondary=(*experiment.secondary, *(one.name for one in added)),
    )


def parse(written: str, experiment: Experiment, before: Sequence[Added], at: datetime, by: str) -> tuple[Added, ...]:
    """Read metrics that are to be added, as they would stand below `metrics` in a definition.

    Args:
        written: YAML, a mapping of names to metrics.
        experiment: as it was fixed.
        before: what was added before.
        at: when they are added.
        by: by whom.

    Raises:
        InvalidExperimentError: that is not what the text is, or the metric cannot be added; the error names the place.
        ExperimentConflictError: a metric of that name is there.
    """
    metrics = text.metrics_in(written)
    if not metrics:
        raise InvalidExperimentError("$.metrics", "there are none")
    known = joined(experiment, before)
    for name in metrics:
        if name in known.metrics:
            raise ExperimentConflictError(f"experiment {experiment.name!r} has a metric {name!r}; take another name")
    found = tuple(Added(FORMAT, name, metric, at, by) for name, metric in metrics.items())
    asked = joined(known, found)
    definition.check(asked)
    longest = max(experiment.window_s(name) for name in experiment.roles)
    for name in metrics:
        if asked.window_s(name) > longest:
            problem = "longer than all windows that were fixed: units that count now would be immature"
            raise InvalidExperimentError(f"$.metrics.{name}.window", problem)
    return found


class AddedMetrics:
    """What was added to the experiments of a store."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def of(self, experiment: str) -> tuple[Added, ...]:
        """Return what was added to an experiment, in the order of time.

        Raises:
            StoreError: it cannot be read, or was changed since.
        """
        entries = self._blobs.list(self._folder(experiment)) or ()
        names = [entry.name.removesuffix(".json") for entry in entries if entry.name.endswith(".json")]
        return tuple(sorted((self._read(experiment, name) for name in names), key=lambda one: (one.at, one.name)))

    def add(self, experiment: str, added: Sequence[Added]) -> None:
        """Keep metrics for good.

        Raises:
            ExperimentConflictError: somebody else was faster with one of that name; those before it are kept.
        """
        for one in added:
            if not self._blobs.put_if_absent(f"{self._folder(experiment)}/{one.name}.json", seal.sealed(one)):
                raise ExperimentConflictError(f"{one.name!r} was added to experiment {experiment!r} before")

    def _read(self, experiment: str, name: str) -> Added:
        key = f"{self._folder(experiment)}/{name}.json"
        blob = self._blobs.get(key)
        if blob is None:
            raise StoreError(f"{key} is gone")
        found: Added = seal.opened(blob.content, Added, key, must_be_sealed=True)
        if found.name != name:
            raise StoreError(f"{key} is of a metric {found.name!r}")
        return found

    @staticmethod
    def _folder(experiment: str) -> str:
        return f"{FOLDER}/{experiment}/added"
