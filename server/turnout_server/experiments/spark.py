"""The SQL of `query` in the words of Spark, for journals that one machine does not read."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from turnout_server.experiments import query
from turnout_server.experiments.definition import Experiment
from turnout_server.experiments.query import Period
from turnout_server.vocabulary.errors import Kind, TurnoutError

INSTALL = "pip install 'turnout[experiments]'"

SOURCES = """\
CREATE OR REPLACE TEMPORARY VIEW records USING parquet
OPTIONS (path '{journal}/date=*', pathGlobFilter '*.parquet', mergeSchema 'true');
CREATE OR REPLACE TEMPORARY VIEW outcomes USING parquet
OPTIONS (path '{journal}/outcomes/date=*', pathGlobFilter '*.parquet', mergeSchema 'true');"""
"""What the script reads, where `{journal}` is the journal's address as Spark has it."""
ZONE = "SET TIME ZONE 'UTC'"
_HEAD = "\n".join(
    [
        "-- Views over a journal's files, which the rest reads:",
        *(f"-- {line}" for line in SOURCES.format(journal="JOURNAL").splitlines()),
    ]
)


class TranslatorMissingError(TurnoutError):
    """SQLGlot, which turns one SQL into another, is not installed."""

    reason = "TRANSLATOR_MISSING"
    kind = Kind.PRECONDITION


def script(experiment: Experiment, period: Period) -> str:
    """Return every statement of `query.script`, for Spark.

    Raises:
        TranslatorMissingError: SQLGlot is not installed.
    """
    asked = [statement(name, experiment, period) for name in query.QUESTIONS]
    return ";\n\n".join([f"{_HEAD}\n{ZONE}", *_relations(experiment, period), *asked]) + ";\n"


def _relations(experiment: Experiment, period: Period) -> list[str]:
    """Return the statements that make the relations which questions are asked of.

    Views are computed anew for each question, so what takes long is kept: in memory, and aside where that is short.
    """
    made = []
    for name in query.STEPS:
        made.append(f"CREATE OR REPLACE TEMPORARY VIEW {name} AS\n{statement(name, experiment, period)}")
        if name not in query.VIEWS:
            made.append(f"CACHE LAZY TABLE {name}")
    return made


def statement(name: str, experiment: Experiment, period: Period) -> str:
    """Return one statement of `query.statement`, for Spark.

    Raises:
        TranslatorMissingError: SQLGlot is not installed.
    """
    return translated(query.statement(name, experiment, period))


def ranks(experiment: Experiment, period: Period, metric: str, wanted: Sequence[tuple[str, str, int]]) -> str:
    """Return the statement of `query.ranks`, for Spark.

    Raises:
        TranslatorMissingError: SQLGlot is not installed.
    """
    return translated(query.ranks(experiment, period, metric, wanted))


def translated(sql: str) -> str:
    """Return one of DuckDB's statements as Spark has it.

    Raises:
        TranslatorMissingError: SQLGlot is not installed.
    """
    sqlglot = _sqlglot()
    parsed = sqlglot.parse_one(sql, read="duckdb")
    return str(parsed.transform(_spoken, sqlglot.exp).sql("spark", pretty=True))


def _spoken(node: Any, exp: Any) -> Any:
    """Return what SQLGlot leaves as it was, and Spark does not know or understands otherwise."""
    if isinstance(node, exp.Anonymous) and node.name.upper() == "EPOCH_US":
        return exp.Anonymous(this="UNIX_MICROS", expressions=node.expressions)
    if isinstance(node, exp.Window) and not node.args.get("partition_by") and not node.args.get("order"):
        # A number in any order is another one whenever the view is computed anew; the unit itself never is.
        beside = node.find_ancestor(exp.Select).expressions
        return exp.Struct(expressions=[each.copy() for each in beside if each.alias_or_name in ("unit_key_id", "unit")])
    return node


def _sqlglot() -> ModuleType:
    try:
        return importlib.import_module("sqlglot")
    except ImportError as error:
        raise TranslatorMissingError(f"Spark's SQL is made with SQLGlot, which is not installed: {INSTALL}") from error
