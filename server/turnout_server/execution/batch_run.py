"""Runs a batch: puts its requests' rows together, runs the graph once, and gives each request its own rows back.

A batch that fails is run once more request by request, so that only the guilty fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from turnout_server.scheduling.item import Item
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.tensors import Array, Arrays


class Ending(Protocol):
    """Ends the runs of one batch from outside."""

    @property
    def has_ended(self) -> bool:
        """Whether it was told to."""

    def end(self) -> None:
        """End them, soon, and let none begin. From any thread."""


class Predictor(Protocol):
    """What running needs of a loaded version."""

    @property
    def manifest(self) -> Manifest:
        """The version's manifest."""

    @property
    def native(self) -> object | None:
        """The engine's session, where it is one; else None, and only Python can run it."""

    def ending(self) -> Any:
        """Return what ends runs, an `Ending`; None where nothing does."""

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = (), ending: Any = None) -> list[Array]:
        """Run the graph once, to be ended by *ending*; may be called from several threads."""

    def close(self) -> None:
        """Give its memory back."""


class Execution(NamedTuple):
    """One run of the graph, and what came of it. Durations are in nanoseconds."""

    items: Sequence[Item]
    started_ns: int
    """On the clock of `time.monotonic_ns`."""
    input_ns: int
    """To put the inputs together."""
    infer_ns: int
    """In the graph."""
    output_ns: int
    """To take the outputs apart."""
    answers: Sequence[list[Array]]
    """For each item the outputs that it wanted; empty where the run failed."""
    error: Exception | None


def execute(
    predictor: Predictor,
    items: Sequence[Item],
    clock: Callable[[], int] = time.monotonic_ns,
    ending: Ending | None = None,
) -> list[Execution]:
    """Run *items*, which fit together, at once; where that fails, one by one.

    Args:
        predictor: the loaded version.
        items: one, or several with equal keys: the same outputs wanted, and inputs that differ in the first axis only.
        clock: in nanoseconds.
        ending: ends all of it, also what would run once more one by one; None where nobody will.

    Returns:
        The runs that count: one with all items, or as many as there are items. Answers are views into the outputs.
    """
    if len(items) == 1:
        return [_alone(predictor, items[0], clock, ending)]
    together = _together(predictor, items, clock, ending)
    if together is not None:
        return [together]
    return [_alone(predictor, item, clock, ending) for item in items]


def _run(predictor: Predictor, inputs: Arrays, outputs: tuple[str, ...], ending: Ending | None) -> list[Array]:
    return predictor.run(inputs, outputs) if ending is None else predictor.run(inputs, outputs, ending)


def _alone(predictor: Predictor, item: Item, clock: Callable[[], int], ending: Ending | None) -> Execution:
    started = clock()
    try:
        outputs = _run(predictor, item.inputs, item.outputs, ending)
    except Exception as error:
        return Execution((item,), started, 0, clock() - started, 0, (), error)
    return Execution((item,), started, 0, clock() - started, 0, (outputs,), None)


def _together(
    predictor: Predictor, items: Sequence[Item], clock: Callable[[], int], ending: Ending | None
) -> Execution | None:
    started = clock()
    try:
        inputs = dict(items[0].inputs)
        for name in predictor.manifest.signature.rowwise:
            inputs[name] = np.concatenate([item.inputs[name] for item in items])
        joined = clock()
        outputs = _run(predictor, inputs, items[0].outputs, ending)
        ran = clock()
    except Exception:  # whose fault it is shows when each runs alone
        return None
    rows = sum(item.rows for item in items)
    if any(not output.ndim or len(output) != rows for output in outputs):
        return None
    answers: list[list[Array]] = []
    begin = 0
    for item in items:
        end = begin + item.rows
        answers.append([output[begin:end] for output in outputs])
        begin = end
    return Execution(items, started, joined - started, ran - joined, clock() - ran, answers, None)
