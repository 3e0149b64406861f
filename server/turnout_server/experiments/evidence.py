"""What a journal and its outcomes say of an experiment: sufficient statistics and counts, nothing of any unit."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import duckdb

from turnout_server.experiments import query
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.query import Period
from turnout_server.journal import reading
from turnout_server.outcomes.reading import OUTCOMES
from turnout_server.vocabulary.errors import InvalidRequestError, Kind, TurnoutError

MEMORY = "2GB"
"""What the database may take before it writes aside."""


class EvidenceError(TurnoutError):
    """The records or outcomes of an experiment cannot be read."""

    reason = "EVIDENCE_UNREADABLE"
    kind = Kind.UNAVAILABLE


class OutOfRangeError(InvalidRequestError):
    """Outcomes are too large for numbers to be made of them."""

    reason = "OUTCOMES_OUT_OF_RANGE"


class Sums(NamedTuple):
    """One metric in one arm, of units whose first exposure was on one day of one epoch and whose window has closed."""

    metric: str
    epoch: str
    day: date
    arm: str
    units: int
    total_x: float
    squares_x: float
    total_y: float
    squares_y: float
    products: float


class Assigned(NamedTuple):
    """The units of one arm whose first exposure was on one day of one epoch."""

    epoch: str
    day: date
    arm: str
    units: int
    counted: int
    """Those that are not excluded."""
    mature: int
    """Of those, how many had the longest window of all metrics."""
    moved: int
    """Units that were assigned to another arm as well, later."""
    exposures: int
    squares: int
    """Of each unit's exposures, their sum."""


class Exposed(NamedTuple):
    """The exposures of one arm in one epoch."""

    epoch: str
    arm: str
    exposures: int
    fallbacks: int
    failed: int
    least_propensity: float | None
    most_propensity: float | None
    first: datetime
    last: datetime
    least_version: int | None
    """Of the models that answered for the arm itself."""
    most_version: int | None
    least_model: str | None
    most_model: str | None


class Fate(NamedTuple):
    """What became of the outcomes of one name."""

    name: str
    outcomes: int
    nobodys: int
    """Their request is not known, or is called as one of another unit."""
    strangers: int
    """Their unit took no part."""
    early: int
    """They happened before their unit was exposed."""


class Copies(NamedTuple):
    """How outcomes came."""

    ids: int
    rows: int
    duplicates: int
    """Rows that say again what another says."""
    quarantined: int
    """Ids with more than one content, none of which counts."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that an analysis goes by."""

    sums: tuple[Sums, ...]
    assigned: tuple[Assigned, ...]
    exposed: tuple[Exposed, ...]
    fates: tuple[Fate, ...]
    copies: Copies
    others: Mapping[str, int]
    """Records of the route that are no exposures, by why."""
    keys: int
    """How many keys units were hashed with."""
    digests: Mapping[str, str]
    """What was read, `records` and `outcomes`, as digests."""
    unreadable: Mapping[str, str]
    """Files that were left out, and why."""


class Source:
    """An open journal. One thread only."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, experiment: Experiment, period: Period) -> None:
        self._connection = connection
        self._experiment = experiment
        self._period = period

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """Return the rows that answer one of `query.QUESTIONS`."""
        return self.run(query.statement(question, self._experiment, self._period))

    def prepare(self) -> None:
        """Make the relations that questions are asked of."""
        for name in query.STEPS:
            kind = "VIEW" if name in query.VIEWS else "TABLE"
            body = query.statement(name, self._experiment, self._period)
            self.run(f"CREATE TEMP {kind} {name} AS {body}")

    def values(self, metric: str, ranks: Sequence[tuple[str, str, int]]) -> Mapping[tuple[str, str, int], float]:
        """Return a metric's values by (epoch, arm, rank), of those ranks that there are."""
        if not ranks:
            return {}
        rows = self.run(query.ranks(self._experiment, self._period, metric, ranks))
        return {(str(epoch), str(arm), int(str(place))): float(str(x)) for epoch, arm, place, x in rows}

    def run(self, sql: str) -> list[tuple[object, ...]]:
        """Return a statement's rows.

        Raises:
            OutOfRangeError: a sum is.
            EvidenceError: the database refuses it, or a file cannot be read.
        """
        try:
            return self._connection.execute(sql).fetchall()
        except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
            raise OutOfRangeError(f"outcomes are too large: {reading.first_line(error)}") from error
        except duckdb.Error as error:
            raise EvidenceError(reading.first_line(error)) from error


@contextmanager
def opened(
    journal: Path, experiment: Experiment, period: Period, threads: int | None = None
) -> Iterator[tuple[Source, Evidence]]:
    """Read a journal and its outcomes for one experiment.

    Yields:
        The source, of which more may be asked, and what it says.

    Raises:
        EvidenceError, OutOfRangeError: it cannot be read.
    """
    found = reading.segments(journal, (OUTCOMES,))
    [(_, outcomes)] = found.beside
    with tempfile.TemporaryDirectory(prefix="turnout-experiment-") as aside:
        connection = reading.unlocked()
        try:
            connection.execute(f"SET memory_limit = '{MEMORY}'")
            connection.execute(f"SET temp_directory = {reading.literal(aside)}")
            connection.execute("SET preserve_insertion_order = false")
            if threads is not None:
                connection.execute(f"SET threads = {threads}")
            connection.execute(reading.definition(reading.RECORDS, found.readable))
            connection.execute(reading.definition(OUTCOMES, outcomes))
            source = Source(connection, experiment, period)
            source.prepare()
            digests = {"records": _digest(journal, found.readable), "outcomes": _digest(journal, outcomes)}
            unreadable = {str(file.relative_to(journal)): problem for file, problem in found.unreadable.items()}
            yield source, _evidence(source, digests, unreadable)
        except duckdb.Error as error:
            raise EvidenceError(reading.first_line(error)) from error
        finally:
            connection.close()


def _evidence(source: Source, digests: Mapping[str, str], unreadable: Mapping[str, str]) -> Evidence:
    return Evidence(
        sums=tuple(Sums(*row) for row in source.ask("moments")),  # type: ignore[arg-type]
        assigned=tuple(Assigned(*row) for row in source.ask("assigned")),  # type: ignore[arg-type]
        exposed=tuple(Exposed(*row) for row in source.ask("exposures")),  # type: ignore[arg-type]
        fates=tuple(Fate(*row) for row in source.ask("fates")),  # type: ignore[arg-type]
        copies=Copies(*(int(str(number)) for number in source.ask("copies")[0])),
        others={str(why): int(str(count)) for why, count in source.ask("others")},
        keys=int(str(source.ask("keys")[0][0])),
        digests=digests,
        unreadable=unreadable,
    )


def _digest(journal: Path, files: Sequence[Path]) -> str:
    """Return the digest of files: of their names below the journal, and of all that is in them."""
    everything = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened_file:
            content = hashlib.file_digest(opened_file, "sha256").hexdigest()
        everything.update(f"{content}  {file.relative_to(journal)}\n".encode())
    return everything.hexdigest()
