"""The SQL is all there is: whoever runs it gets the same numbers."""

from __future__ import annotations

from pathlib import Path

from tests.experiments.worlds import HOUR, LATER, World, experiment, halves
from turnout_server.experiments import query, study
from turnout_server.experiments.evidence import opened
from turnout_server.journal import reading
from turnout_server.outcomes.reading import OUTCOMES


def test_the_script_gives_what_the_analysis_goes_by(tmp_path: Path) -> None:
    world = World(tmp_path)
    halves(world, map(str, range(40)))
    world.did("1", HOUR, 3)
    one = experiment()
    period = study.period(one, LATER)
    with opened(world.write(), one, period) as (_, evidence):
        found = evidence
    zone, *statements = query.script(one, period).split(";\n\n")
    assert zone == query.ZONE
    assert len(statements) == len(query.STEPS) + len(query.QUESTIONS)
    with reading.unlocked() as connection:
        there = reading.segments(tmp_path, (OUTCOMES,))
        for view, files in ((reading.RECORDS, there.readable), *there.beside):
            connection.execute(reading.definition(view, files))
        for statement in statements[: len(query.STEPS)]:
            connection.execute(statement)
        rows = connection.execute(query.statement("moments", one, period)).fetchall()
    assert tuple(rows) == tuple(tuple(row) for row in found.sums)


def test_names_cannot_leave_their_quotes() -> None:
    assert query.text("it's") == "'it''s'"
    one = experiment(metrics={"conversion": {"kind": "proportion", "outcome": "x'); DROP TABLE units; --"}})
    assert "'x''); DROP TABLE units; --'" in query.statement("parts", one, study.period(one, LATER))


def test_what_stands_in_a_name_is_no_template() -> None:
    one = experiment(metrics={"conversion": {"kind": "proportion", "outcome": "{as_of}"}})
    assert "'{as_of}'" in query.statement("fates", one, study.period(one, LATER))
