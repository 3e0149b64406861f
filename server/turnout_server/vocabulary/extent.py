"""How much one request may bring: what a run costs grows with it, and a few bytes can ask for gigabytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from turnout_server.vocabulary.errors import TooLargeError
from turnout_server.vocabulary.signature import Signature

_AT_MOST = "one request may have at most"


def bounded(signature: Signature, max_rows: int, max_elements: int) -> Signature:
    """Return *signature* with bounds: its own, and where it has none the ones given."""
    return msgspec.structs.replace(
        signature,
        max_rows=max_rows if signature.max_rows is None else signature.max_rows,
        max_elements=max_elements if signature.max_elements is None else signature.max_elements,
    )


class Extent:
    """What a request's inputs come to. Each is added before its tensor is made, so none that is beyond is made."""

    __slots__ = ("_elements", "_signature")

    def __init__(self, signature: Signature) -> None:
        """Count from nothing, within what *signature* allows; without bounds there, everything is."""
        self._signature = signature
        self._elements = 0

    def add(self, name: str, shape: Sequence[int], *, rowwise: bool) -> None:
        """Count one more input.

        An axis of size 0 counts as one of size 1: what a graph makes of an empty tensor may not be empty.

        Args:
            name: the input's.
            shape: its sizes, none of them negative.
            rowwise: whether its first axis is the batch.

        Raises:
            TooLargeError: it has too many rows, or the inputs too many elements with it.
        """
        signature = self._signature
        if rowwise and signature.max_rows is not None and shape[0] > signature.max_rows:
            problem = f"found {shape[0]} rows; {_AT_MOST} {signature.max_rows} ({_set_by('max_rows')})"
            raise TooLargeError(name, shape, problem)
        elements = self._elements
        count = 1
        for size in shape:
            count *= size or 1
        self._elements = elements = elements + count
        if signature.max_elements is not None and elements > signature.max_elements:
            total = f"{elements} elements" if elements == count else f"{elements} elements with those before it"
            problem = f"found {total}; {_AT_MOST} {signature.max_elements} ({_set_by('max_elements')})"
            raise TooLargeError(name, shape, problem)


def _set_by(bound: str) -> str:
    return f"signature.{bound} of its manifest, or limits.{bound}"
