"""What the server answers, as frozen values, and how each is read from its message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from turnout import v1

_SHOWN = 5
"""Of many, how many a `repr` shows."""

# ---------------------------------------------------------------- who answered


@dataclass(frozen=True, slots=True)
class Served:
    """Which version answered, and why."""

    route: str
    """The route asked for; empty when a model was named outright."""
    target: str
    """The route's target that answered; empty when a model was named outright."""
    model: str
    version: int
    reason: str
    """SPLIT, OVERRIDE, PINNED, NAMED, UNSTICKY, FALLBACK, HOLDOUT or UNENROLLED; a newer server may have more."""
    assigned_target: str = ""
    """The route's target that the unit was assigned to; another one than `target` where a fallback answered."""
    request_id: str = field(default="", compare=False)
    """What the request is called in the server's logs and records: the caller's `x-request-id`, else one it made."""
    propensity: float | None = None
    """The probability with which the assigned target would be drawn, 0 to 1; None where nothing was drawn."""

    def __str__(self) -> str:
        """Return `ranking/canary -> basket 4 (SPLIT)`."""
        asked = f"{self.route}/{self.target} -> " if self.route else ""
        return f"{asked}{self.model} {self.version} ({self.reason})"


def read_served(served: v1.Served) -> Served:
    """Read a `Served`."""
    reason = _enum_name(v1.Reason, served.reason, "REASON_")
    return Served(
        served.route,
        served.target,
        served.model,
        served.version,
        reason,
        served.assigned_target,
        served.request_id,
        served.propensity if served.HasField("propensity") else None,
    )


# ---------------------------------------------------------------- recommendation


@dataclass(frozen=True, slots=True)
class Item:
    """A recommended item."""

    id: str
    score: float
    """Comparable only within one answer."""


@dataclass(frozen=True, slots=True, repr=False)
class Recommendations:
    """The recommended items, best first."""

    items: tuple[Item, ...]
    served: Served

    @property
    def ids(self) -> list[str]:
        """The items' ids, best first."""
        return [item.id for item in self.items]

    def __repr__(self) -> str:
        """Return `Recommendations(item-2 0.9, item-3 0.8 by recommendation/control -> basket 3 (SPLIT))`."""
        return _brief("Recommendations", [f"{one.id} {one.score:.6g}" for one in self.items[:_SHOWN]], self)

    def __iter__(self) -> Iterator[Item]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def read_recommendations(response: v1.RecommendResponse) -> Recommendations:
    """Read the answer to `Recommend`."""
    return Recommendations(
        tuple(Item(item.item_id, item.score) for item in response.items), read_served(response.served)
    )


# ---------------------------------------------------------------- ranking


@dataclass(frozen=True, slots=True)
class Candidate:
    """A ranked candidate."""

    id: str
    score: float
    """Comparable only within one answer."""
    index: int
    """Its position in the request, counted from 0."""


@dataclass(frozen=True, slots=True, repr=False)
class Ranking:
    """The candidates, best first."""

    candidates: tuple[Candidate, ...]
    served: Served

    @property
    def ids(self) -> list[str]:
        """The candidates' ids, best first."""
        return [candidate.id for candidate in self.candidates]

    def __repr__(self) -> str:
        """Return `Ranking(milk-2 4.5, milk-1 3.5 by ranking/control -> basket 3 (SPLIT))`."""
        return _brief("Ranking", [f"{one.id} {one.score:.6g}" for one in self.candidates[:_SHOWN]], self)

    def __iter__(self) -> Iterator[Candidate]:
        return iter(self.candidates)

    def __len__(self) -> int:
        return len(self.candidates)


def read_ranking(response: v1.RankResponse) -> Ranking:
    """Read the answer to `Rank`."""
    found = response.candidates
    return Ranking(tuple(Candidate(one.id, one.score, one.index) for one in found), read_served(response.served))


# ---------------------------------------------------------------- price


@dataclass(frozen=True, slots=True, repr=False)
class Price:
    """A predicted price and the interval around it, in the unit that the model was trained on."""

    price: float
    low: float
    high: float
    served: Served

    def __repr__(self) -> str:
        """Return `Price(50, 25 to 100 by price/control -> diamonds 3 (SPLIT))`."""
        return f"Price({self._brief()} by {self.served})"

    def _brief(self) -> str:
        return f"{self.price:.6g}, {self.low:.6g} to {self.high:.6g}"


@dataclass(frozen=True, slots=True, repr=False)
class Prices:
    """The predicted prices, in the request's order."""

    prices: tuple[Price, ...]
    served: Served

    def __repr__(self) -> str:
        """Return `Prices(50, 100 by price/control -> diamonds 3 (SPLIT))`."""
        return _brief("Prices", [f"{one.price:.6g}" for one in self.prices[:_SHOWN]], self)

    def __iter__(self) -> Iterator[Price]:
        return iter(self.prices)

    def __len__(self) -> int:
        return len(self.prices)


def read_prices(response: v1.PredictPriceResponse) -> Prices:
    """Read the answer to `PredictPrice`."""
    served = read_served(response.served)
    return Prices(tuple(Price(one.price, one.low, one.high, served) for one in response.prices), served)


def read_price(response: v1.PredictPriceResponse) -> Price:
    """Read the answer to `PredictPrice` for one row."""
    (price,) = read_prices(response).prices
    return price


# ---------------------------------------------------------------- models


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a version's graph."""

    name: str
    datatype: str
    """The Open Inference Protocol's name: `FP32`, `BYTES`."""
    shape: tuple[int, ...]
    """Row-major; -1 is any size."""
    columns: tuple[str, ...] = ()
    """For a matrix of features: the features' names, a column each."""
    default: bool | int | float | str | None = None
    """For an input that is a feature: its value where a call leaves it out; None where it is required."""
    column_defaults: Mapping[str, float] = field(default_factory=dict)
    """For a matrix of features: the values of those that a call may leave out."""

    @property
    def features(self) -> dict[str, bool | int | float | str | None]:
        """Its features with their defaults, None where one is required; empty for what can only be given whole."""
        if self.columns:
            return {name: self.column_defaults.get(name) for name in self.columns}
        single = self.shape in ((-1,), (-1, 1)) or all(size == 1 for size in self.shape)
        return {self.name: self.default} if single else {}

    @property
    def required(self) -> bool:
        """Whether a call must say something of it."""
        return any(default is None for default in self.features.values()) if self.features else self.default is None


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable version of a model, and what the server makes of it."""

    version: int
    task: str
    """recommendation, ranking, price or tensors."""
    state: str
    """STORED, LOADING, AVAILABLE, UNLOADING or FAILED; a newer server may have more."""
    state_detail: str = ""
    create_time: datetime | None = None
    """When it was published, UTC."""
    framework: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Held-out metrics by name."""
    owner: str = ""
    description: str = ""
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A named line of versions."""

    name: str
    versions: tuple[Version, ...]
    """Newest first."""
    labels: Mapping[str, int] = field(default_factory=dict)
    """Which version each label names."""


def read_model(model: v1.Model) -> Model:
    """Read a `Model`."""
    return Model(model.name, tuple(map(_version, model.versions)), dict(sorted(model.labels.items())))


def _version(version: v1.ModelVersion) -> Version:
    created = version.create_time.ToDatetime(UTC) if version.HasField("create_time") else None
    return Version(
        version=version.version,
        task=version.task,
        state=_enum_name(v1.ModelState, version.state, "MODEL_STATE_"),
        state_detail=version.state_detail,
        create_time=created,
        framework=version.framework,
        metrics=dict(sorted(version.metrics.items())),
        owner=version.owner,
        description=version.description,
        inputs=tuple(map(read_tensor, version.inputs)),
        outputs=tuple(map(read_tensor, version.outputs)),
    )


def read_tensor(tensor: v1.Tensor) -> Tensor:
    """Read a `Tensor`."""
    kind = tensor.default_value.WhichOneof("value")
    default = getattr(tensor.default_value, kind) if kind is not None else None
    return Tensor(
        tensor.name,
        tensor.datatype,
        tuple(tensor.shape),
        tuple(tensor.columns),
        bool(default) if tensor.datatype == "BOOL" and default is not None else default,
        dict(tensor.column_defaults),
    )


def _brief(name: str, shown: list[str], answer: Recommendations | Ranking | Prices) -> str:
    """Return a `repr` of the first few of many."""
    more = f", and {len(answer) - len(shown)} more" if len(answer) > len(shown) else ""
    return f"{name}({', '.join(shown)}{more} by {answer.served})"


def _enum_name(enum: type[v1.Reason] | type[v1.ModelState], number: int, prefix: str) -> str:
    """Return an enum value's name without its *prefix*; the number where a newer server sends an unknown one."""
    known = enum.DESCRIPTOR.values_by_number.get(number)
    return known.name.removeprefix(prefix) if known else str(number)
