"""Spark, asked in its own words, finds what DuckDB does."""

from __future__ import annotations

import importlib
import importlib.util
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import spark as sparks
from tests.experiments.worlds import DAY, HOUR, START, World, experiment
from turnout_server.experiments import query, spark, study
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.evidence import Source, opened
from turnout_server.experiments.spark import TranslatorMissingError

MISSING = "sqlglot is not installed: pip install 'turnout[experiments]'"
translated = pytest.mark.skipif(importlib.util.find_spec("sqlglot") is None, reason=MISSING)

AS_OF = START + 12 * DAY
NAME = 'it\'s \\ a {name} */ -- of "many"'
"""Of an outcome. Anything may stand in it."""
EXPERIMENT = experiment(
    metrics={
        "conversion": {"kind": "proportion", "outcome": "purchase"},
        "revenue": {"kind": "mean", "outcome": "purchase", "cap": 40, "covariate": {"lookback": "2d"}},
        "ratio": {"kind": "ratio", "outcome": "purchase", "denominator": {"outcome": NAME}},
        "slow": {"kind": "quantile", "outcome": "wait", "quantile": 0.9, "of": "max"},
        "quick": {"kind": "mean", "outcome": "wait", "of": "min", "window": "1d"},
        "errors": {"kind": "rare", "outcome": "error", "better": "down"},
        "visits": {"kind": "mean", "outcome": NAME, "of": "count"},
    },
    guardrails=["revenue", "errors"],
    secondary=["ratio", "slow", "quick", "visits"],
    exclude={"exposures_over": 5},
)


def everything(root: Path) -> Path:
    """Write a journal in which is all that an analysis has to tell apart."""
    world, draw = World(root), random.Random(17)
    for index in range(300):
        unit, at = str(index), timedelta(minutes=draw.randrange(9 * 24 * 60))
        epoch, share = ("e1", 0.5) if at < 4 * DAY else ("e2", 0.2)
        arm = "new" if draw.random() < share else "old"
        chance = share if arm == "new" else 1 - share
        for _ in range(draw.choice((1, 1, 2, 9))):
            world.exposed(unit, arm, at, epoch=epoch, propensity=chance, request_id=f"r{unit}")
            at += draw.randrange(200) * timedelta(hours=0.1)
        for name in ("purchase", "wait", NAME, "error"):
            for _ in range(draw.choice((0, 0, 1, 3))):
                when = at + draw.randrange(-3 * 24, 9 * 24) * HOUR
                world.did(unit, when, draw.choice((-1, 1)) * draw.lognormvariate(2, 3), name=name)
    _odd_exposures(world)
    _odd_outcomes(world)
    return world.write(files=2)


def _odd_exposures(world: World) -> None:
    for boot in ("0000000000000002", "0000000000000001"):  # at one time: the boot decides
        world.exposed("both", "new" if boot.endswith("2") else "old", DAY, boot=boot)
    world.exposed("both", "new", 5 * DAY, epoch="e2", propensity=0.2)
    world.exposed("rescued", "new", reason="FALLBACK", served="old", version=1)
    world.exposed("refused", "new", code="UNAVAILABLE", epoch=None)
    for others in ({"reason": "PINNED"}, {"enrolled": False}, {"copy_of": 3}, {"experiment": "x"}, {"assigned": "x"}):
        world.exposed("other", "new", **others)


def _odd_outcomes(world: World) -> None:
    for number in range(40):
        world.did(None, 3 * DAY, 5, request_id=f"r{number}")
    world.exposed("1", "old", 8 * DAY, request_id="shared")
    world.exposed("2", "old", 8 * DAY, request_id="shared")
    world.did(None, 8 * DAY, request_id="shared")
    world.did(None, 8 * DAY, request_id="unknown")
    world.did("stranger", DAY)
    world.did("both", DAY, ingested=AS_OF + HOUR)
    for _ in range(2):
        world.did("3", 9 * DAY, 0.0, outcome_id="twice")
    for unit in ("3", None):
        world.did(unit, 9 * DAY, outcome_id="torn", request_id="r3")


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return everything(tmp_path_factory.mktemp("journal"))


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, journal: Path) -> Iterator[Any]:
    """Return a Spark in which the script's relations are made."""
    pytest.importorskip("sqlglot", reason=MISSING)
    with sparks.running(tmp_path_factory.mktemp("warehouse")) as running:
        for sql in spark.SOURCES.format(journal=journal).split(";\n"):
            running.sql(sql.rstrip(";"))
        for sql in spark.script(EXPERIMENT, period(EXPERIMENT)).split(";\n\n")[: -len(query.QUESTIONS)]:
            running.sql(sql)
        yield running


@pytest.fixture(scope="module")
def ours(journal: Path) -> Iterator[Source]:
    with opened(journal, EXPERIMENT, period(EXPERIMENT)) as (source, _):
        yield source


def period(one: Experiment) -> query.Period:
    return study.period(one, AS_OF)


def about(value: Any) -> Any:
    """Return what equals a value: exactly, or within 1 in 10^9 where it is no count."""
    return pytest.approx(value, rel=1e-9, abs=0) if isinstance(value, float) else value


def zoned(value: Any) -> Any:
    """Return a value of Spark's, a time with its zone."""
    return value.astimezone(UTC) if isinstance(value, datetime) else value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("question", query.QUESTIONS)
def test_a_question_has_the_same_answer(session: Any, ours: Source, question: str) -> None:
    theirs = session.sql(spark.statement(question, EXPERIMENT, period(EXPERIMENT))).collect()
    expected = ours.ask(question)
    assert all(any(row) for row in expected)
    assert [tuple(map(zoned, row)) for row in theirs] == [tuple(map(about, row)) for row in expected]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("metric", ["slow", "revenue"])
def test_ranks_have_the_same_values(session: Any, ours: Source, metric: str) -> None:
    wanted = [(epoch, arm, place) for epoch in ("e1", "e2") for arm in ("old", "new") for place in (1, 3, 5, 999)]
    theirs = session.sql(spark.ranks(EXPERIMENT, period(EXPERIMENT), metric, wanted)).collect()
    expected = ours.values(metric, wanted)
    assert len(expected) == 12
    assert {tuple(row[:3]): row[3] for row in theirs} == pytest.approx(dict(expected), rel=1e-9)


@translated
def test_the_script_is_whole_and_can_be_run_again() -> None:
    statements = spark.script(EXPERIMENT, period(EXPERIMENT)).split(";\n\n")
    kept = len(query.STEPS) - len(query.VIEWS)
    assert len(statements) == 1 + len(query.STEPS) + kept + len(query.QUESTIONS)
    made = [each for each in statements[1:] if "CREATE" in each]
    assert all(each.startswith("CREATE OR REPLACE TEMPORARY VIEW ") for each in made)
    assert statements[0].endswith(spark.ZONE)


def test_the_journal_has_all_that_questions_count(ours: Source) -> None:
    for question in ("assigned", "exposures", "fates", "copies"):
        numbers = [[number for number in row if isinstance(number, int)] for row in ours.ask(question)]
        assert all(map(any, zip(*numbers, strict=True))), question
    assert len(ours.ask("others")) == 5


@translated
def test_a_units_number_does_not_depend_on_when_it_is_computed() -> None:
    units = spark.statement("units", EXPERIMENT, period(EXPERIMENT))
    assert "ROW_NUMBER" not in units
    assert "STRUCT(m.unit_key_id, m.unit) AS id" in units
    assert "ROW_NUMBER() OVER (PARTITION BY" in spark.ranks(EXPERIMENT, period(EXPERIMENT), "slow", [("e1", "old", 1)])


@translated
def test_names_cannot_leave_their_quotes() -> None:
    assert r"""'it\'s \\ a {name} */ -- of "many"'""" in spark.statement("fates", EXPERIMENT, period(EXPERIMENT))


def test_without_the_translator_it_is_said_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(TranslatorMissingError, match=r"pip install 'turnout\[experiments\]'"):
        spark.script(EXPERIMENT, period(EXPERIMENT))
