"""Choices made by bytes: what a fuzzer changes, a generator does otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
Target = Callable[[bytes], None]
"""Takes any bytes; raises where a promise is broken."""


class Source:
    """Makes choices by one byte after the other; when there are no more, the first choice each time."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Return a number from 0 on, below *below*."""
        taken = self.raw(1 if below <= 256 else 8)
        return int.from_bytes(taken, "big") % below

    def one_in(self, often: int) -> bool:
        """Say whether something happens that does so once in so many times."""
        return self.number(often) == often - 1

    def choose(self, choices: Sequence[T]) -> T:
        """Return one of them."""
        return choices[self.number(len(choices))]

    def raw(self, count: int) -> bytes:
        """Return the next bytes, as many as there are."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def text(self, most: int = 12) -> str:
        """Return any text, sometimes one that no UTF-8 can write."""
        return self.raw(self.number(most)).decode("utf-8", "replace") + ("\ud800" if self.one_in(16) else "")


def edited(source: Source, data: bytes) -> bytes:
    """Return *data* with up to three changes, or none."""
    changed = bytearray(data)
    for _ in range(source.number(4) if source.one_in(2) else 0):
        at = source.number(max(len(changed), 1))
        match source.number(5):
            case 0:
                changed[at : at + 1] = source.raw(1)
            case 1:
                changed[at:at] = source.raw(1 + source.number(4))
            case 2:
                del changed[at : at + source.number(16)]
            case 3:
                del changed[at:]
            case _:
                changed[at:at] = changed[at : at + 1 + source.number(16)] * source.number(64)
    return bytes(changed)
