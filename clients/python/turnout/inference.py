"""What any model answers: its outputs by name, and who answered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from turnout import frames, tensors, v1
from turnout.answers import Served, read_served

_SHOWN = 8
"""Outputs that a `repr` tells of."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Inference(Mapping[str, Any]):
    """The outputs of a model, by name: `answer["score"]`; also a mapping, in the order that was asked for.

    An output is a NumPy array where NumPy can be imported, and otherwise a list, nested as its shape.
    """

    outputs: Mapping[str, Any]
    served: Served
    _like: frames.Shape | None = field(default=None)

    def __getitem__(self, name: str) -> Any:
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"no output {name!r}; there are {', '.join(self.outputs)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        """Return `Inference(score: 3, label: 3 by churn/control -> churn 4 (SPLIT))`, with the outputs' shapes."""
        shown = [f"{name}: {_shape(values)}" for name, values in list(self.outputs.items())[:_SHOWN]]
        more = f", and {len(self) - _SHOWN} more" if len(self) > _SHOWN else ""
        return f"Inference({', '.join(shown)}{more} by {self.served})"

    @property
    def output(self) -> Any:
        """The output of a model with one, or the one that was asked for.

        Raises:
            ValueError: there are several.
        """
        if len(self.outputs) != 1:
            raise ValueError(f"there are {len(self)} outputs ({', '.join(self.outputs)}); name one: answer[...]")
        return next(iter(self.outputs.values()))

    def frame(self, library: str | None = None) -> Any:
        """Return the outputs as a DataFrame with a row for each of the request's.

        An output with one value a row is a column of its name; one with several is the columns `name_0`, `name_1`, ...;
        one with more axes has lists in its cells. pandas' rows are labelled as those that were sent.

        Args:
            library: pandas or polars; None is that of the DataFrame that was sent, else whichever is installed.

        Raises:
            ModuleNotFoundError: the library is not installed.
            ValueError: an output has another number of rows than the others, or there is no such library.
        """
        like = self._like
        if like is None or library not in (None, like.library):
            like = frames.Shape(frames.installed(library))
        return frames.build(like, self._columns())

    def _columns(self) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        rows: int | None = None
        for name, values in self.outputs.items():
            axes = tensors.axes(values)
            count = len(values) if axes else None
            rows = count if rows is None else rows
            if count is None or count != rows:
                found = "is a single value" if count is None else f"has {count} rows"
                raise ValueError(f"output {name!r} {found}, others have {rows}; choose some: outputs=[...]")
            if axes == 1:
                columns[name] = values
            elif axes == 2:
                columns |= _columns_of(name, values)
            else:
                columns[name] = values.tolist() if hasattr(values, "tolist") else values
        return columns


def read(response: v1.InferResponse, like: frames.Shape | None = None) -> Inference:
    """Read the answer to `Infer`; *like* is what was sent as a DataFrame."""
    outputs = {one.name: tensors.decode(one) for one in response.outputs}
    return Inference(outputs, read_served(response.served), like)


def _columns_of(name: str, values: Any) -> dict[str, Any]:
    """Return a matrix by columns."""
    wide = int(values.shape[1]) if hasattr(values, "shape") else len(values[0]) if len(values) else 1
    if hasattr(values, "shape"):
        parts = [values[:, place] for place in range(wide)]
    else:
        parts = [[row[place] for row in values] for place in range(wide)]
    return {name: parts[0]} if wide == 1 else {f"{name}_{place}": part for place, part in enumerate(parts)}


def _shape(values: Any) -> str:
    """Return `FP32`'s like of an array's type and shape: `float32 [3, 2]`."""
    if hasattr(values, "shape"):
        return f"{values.dtype} {list(values.shape)}" if values.shape else f"{values.tolist()!r}"
    return f"list of {len(values)}" if isinstance(values, list) else repr(values)
