"""What a model takes, as its gateway describes it: values by its types, suggestions for names, and defaults."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from turnout_server.cli import exits, options, output
from turnout_server.cli.exits import CommandError
from turnout_server.vocabulary.errors import enumerated

if TYPE_CHECKING:
    import turnout


@dataclass(frozen=True, slots=True)
class KnownInputs:
    """The features of a model, and the inputs that are only given whole."""

    features: Mapping[str, tuple[str, Any]]
    """By name, the type and the default; None where one is required."""
    whole: Mapping[str, turnout.Tensor]

    @classmethod
    def of(cls, version: turnout.Version) -> KnownInputs:
        """Return what *version* takes."""
        features = {name: (one.datatype, default) for one in version.inputs for name, default in one.features.items()}
        return cls(features, {one.name: one for one in version.inputs if not one.features or one.columns})

    # ------------------------------------------------------------ names

    def check(self, names: Iterable[str], drop: str = "") -> None:
        """Check that the model knows all *names*.

        Args:
            names: of features and inputs.
            drop: how a name can be left out that was not meant.

        Raises:
            CommandError: it does not; the text suggests what was meant.
        """
        unknown = [name for name in names if name not in self.features and name not in self.whole]
        if unknown:
            what = "feature" if len(unknown) == 1 else "features"
            hints = self.suggestion(unknown[0]) if len(unknown) == 1 else f"; the model takes {self._listed()}"
            raise CommandError(
                f"no {what} named {enumerated(unknown)}{hints}{drop and f'; {drop}'} (FEATURE_UNKNOWN)", exits.INVALID
            )

    def suggestion(self, name: str) -> str:
        """Return `; did you mean 'carat'?`, or what there is."""
        found = self.close_to(name)
        return f"; did you mean {found!r}?" if found else f"; the model takes {self._listed()}"

    def close_to(self, name: str) -> str | None:
        """Return the name that *name* may have been meant for."""
        lowered = {one.lower(): one for one in (*self.whole, *self.features)}
        close = difflib.get_close_matches(name.lower(), lowered, 1)
        return lowered[close[0]] if close else None

    def _listed(self) -> str:
        """Return what there is, as features and as inputs: one of these may well be called `features`."""
        whole = [name for name in self.whole if name not in self.features]
        kinds = (("feature", list(self.features)), ("input", whole))
        return " and ".join(f"the {kind}{'s' * (len(names) > 1)} {enumerated(names)}" for kind, names in kinds if names)

    # ------------------------------------------------------------ values

    def value(self, name: str, text: str) -> Any:
        """Return what *text* says for the feature *name*, by its type: text as it is, or else a number.

        Quotes around text are taken off. A JSON list of numbers is a value for each of several rows.

        Raises:
            typer.BadParameter: several numbers stand there, of which a row has one.
        """
        datatype = self.features[name][0] if name in self.features else ""
        if datatype == "BYTES":
            quoted = options.scalar(text) if text.startswith('"') else text
            return quoted if isinstance(quoted, str) else text
        read = _number(text)
        if (
            isinstance(read, str)
            and datatype
            and "," in text
            and all(not isinstance(_number(one), str) for one in text.split(","))
        ):
            raise typer.BadParameter(
                f"{name}: found {text!r}; a row has one value of it. Several rows go as {name}=[{text}], or by --data"
            )
        return read if datatype or not isinstance(read, list) else text

    def whole_value(self, name: str, text: str) -> Any:
        """Return what *text* says for an input that is given whole: JSON, or values between commas.

        One row will do: `box=1,2,3` for a shape of [-1, 3] is [[1, 2, 3]].

        Raises:
            CommandError: it has too few or too many axes.
        """
        spec = self.whole[name]
        try:
            read = json.loads(text)
        except (ValueError, RecursionError):
            parts = [one.strip() for one in text.split(",")] if text else []
            read = parts if spec.datatype == "BYTES" else [_number(one) for one in parts]
        if not isinstance(read, list):
            read = [read] if spec.shape else read
        fitted = self.fit(name, read)
        wide = _axes(fitted)
        if wide != len(spec.shape) and not (wide and fitted[-1] == []):
            shape = f"{spec.datatype} {list(spec.shape)}"
            raise CommandError(f"input {name!r} is {shape}; found {wide} axes in {text[:60]!r}", exits.INVALID)
        return fitted

    def fit(self, name: str, values: Any) -> Any:
        """Return *values* for an input that is given whole: where they lack the axis of the rows, as one row."""
        shape = self.whole[name].shape
        is_row = isinstance(values, list) and _axes(values) == len(shape) - 1 and shape[0] in (-1, 1)
        return [values] if is_row else values

    def cells(self, name: str, texts: Sequence[str], place: str, lines: Sequence[int]) -> list[Any]:
        """Return a column of a text file by the feature's type; an empty cell is missing.

        Args:
            name: of the feature, or of an input that is given whole.
            texts: a cell for each row.
            place: what the file is called in errors.
            lines: of the file, where each row is.

        Raises:
            CommandError: a cell is no number where the model takes them; it is named.
        """
        if name not in self.features:
            return [self._cell(name, text, f"{place}: row {row} (line {lines[row]})") for row, text in enumerate(texts)]
        if self.features[name][0] == "BYTES":
            return [text or None for text in texts]
        values = [None if not text.strip() else _number(text.strip()) for text in texts]
        for row, value in enumerate(values):
            if isinstance(value, str | list):
                datatype = self.features[name][0]
                problem = f"feature {name!r}: found {value!r}; expected a number ({datatype})"
                raise CommandError(f"{place}: row {row} (line {lines[row]}): {problem}", exits.INVALID)
        return values

    def _cell(self, name: str, text: str, place: str) -> list[Any]:
        """Return one row of an input that is given whole, from a text file's cell."""
        read = _number(text)
        if not isinstance(read, list):
            raise CommandError(f"{place}: input {name!r}: found {text[:60]!r}; expected a JSON list", exits.INVALID)
        return read

    # ------------------------------------------------------------ defaults

    def defaulted(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the features, with their defaults, that *given* does not have, or only as missing values."""
        return {
            name: default
            for name, (_, default) in self.features.items()
            if default is not None and _is_missing(given.get(name)) and name not in self._within(given)
        }

    def _within(self, given: Mapping[str, Any]) -> set[str]:
        """Return the features of matrices that are given whole."""
        return {column for name in given if name in self.whole for column in self.whole[name].columns}

    def explained(self, defaulted: Mapping[str, Any]) -> str:
        """Return `9 of 9 features defaulted: carat 0.7, cut Ideal`."""
        named = ", ".join(f"{name} {_shown(default)}" for name, default in defaulted.items())
        return f"{len(defaulted)} of {len(self.features)} features defaulted{named and f': {named}'}"


def _number(text: str) -> Any:
    """Return a JSON number, truth value, null or list; text where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        lowered = text.lower()
        if lowered in ("nan", "inf", "-inf"):
            return float(lowered)
        return {"true": True, "false": False}.get(lowered, text)
    return text if isinstance(value, str | dict) else value


def _axes(value: Any) -> int:
    found = 0
    while isinstance(value, list):
        found += 1
        value = value[0] if value else None
    return found


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, list | tuple):
        return all(map(_is_missing, value))
    return isinstance(value, float) and value != value


def _shown(default: Any) -> str:
    return output.number(default) if isinstance(default, float) else repr(default)
