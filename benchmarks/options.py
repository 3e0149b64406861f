"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from benchmarks.processes import ROOT

Number = TypeVar("Number", int, float)

OUTPUT = ROOT / "build" / "benchmarks"
"""Where reports go by default."""


def above_0(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    """Return a parser of finite numbers above 0."""

    def parse(text: str) -> Number:
        try:
            number = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not 0 < number < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
        return number

    return parse


def several(kind: Callable[[str], Number]) -> Callable[[str], tuple[Number, ...]]:
    """Return a parser of numbers above 0 with commas between them."""
    return lambda text: tuple(above_0(kind)(part) for part in text.split(","))


def some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of names out of *known* with commas between them."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(text.split(",")))
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse
