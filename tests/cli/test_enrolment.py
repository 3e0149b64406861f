"""`turnout experiment ramp`, `pause` and `resume`, and where what they decide shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.cli.test_experiment import DEFINITION, journal

ROUTES = """layers:
  checkout: {salt: checkout-2026}
routes:
  ranking:
    salt: s
    targets:
      - {name: old, model: price, version: 1, weight: 50}
      - {name: new, model: price, version: 2, weight: 50}
    experiment: {name: ranker, control: old, layer: checkout, buckets: [[0, 500]], enrolment: 0.1}
"""


@pytest.fixture
def started(run: Run, store: Path, tmp_path: Path) -> Path:
    """A store in which `ranker` runs."""
    (store / "routes.yaml").write_text(ROUTES)
    file = tmp_path / "ranker.yaml"
    file.write_text(DEFINITION.replace("start: 2026-10-01", "layer: checkout\nenrolment: 0.1"))
    assert run("experiment", "start", file).code == 0
    return store


def test_it_is_raised_paused_and_resumed_and_the_table_is_left_alone(run: Run, started: Path) -> None:
    ramped = run("experiment", "ramp", "ranker", "--enrolment", "20%", "--why", "it goes well")
    assert (ramped.code, ramped.out) == (0, "ramped ranker: enrolment 10 % -> enrolment 20 %\n"), ramped.err
    paused = run("experiment", "pause", "ranker", "--why", "errors", "--json").json
    assert paused == {
        "experiment": "ranker",
        "before": {"enrolment": 0.2, "paused": False, "resumes_at": None},
        "after": {"enrolment": 0.0, "paused": True, "resumes_at": 0.2},
    }
    resumed = run("experiment", "resume", "ranker")
    assert run("experiment", "ramp", "ranker", "--enrolment", "30%", "--format", "json").json["after"] == {
        "enrolment": 0.3, "paused": False, "resumes_at": None,
    }  # fmt: skip
    assert resumed.out == "resumed ranker: paused, to be resumed at 20 % -> enrolment 20 %\n"
    assert run("experiment", "ramp", "ranker", "--enrolment", "0.5").code == 0
    assert (started / "routes.yaml").read_text() == ROUTES


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (
            ("ramp", "ranker", "--enrolment", "5%"),
            65,
            "5% is less than the present 10%: units",
        ),
        (("ramp", "ranker", "--enrolment", "10%"), 75, "is 10% already"),
        (("ramp", "ranker", "--enrolment", "101%"), 65, "expected a share above 0"),
        (("ramp", "ranker", "--enrolment", "much"), 2, "expected a share, as 20% or 0.2"),
        (("ramp", "ranker", "--enrolment", "nan"), 2, "expected a share"),
        (("ramp", "nobody", "--enrolment", "50%"), 66, "no experiment 'nobody' was started; there are ranker"),
        (("resume", "ranker"), 75, "is not paused"),
        (("pause", "nobody"), 66, "no experiment 'nobody' was started"),
    ],
)
def test_what_cannot_be_decided_is_said_and_changes_nothing(
    run: Run, started: Path, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ran = run("experiment", *arguments)
    assert (ran.code, told in " ".join(ran.err.split())) == (code, True), ran.err
    assert not (started / "rollouts").exists()


def test_what_was_decided_shows_wherever_a_table_shows(run: Run, started: Path) -> None:
    run("experiment", "ramp", "ranker", "--enrolment", "20%", "--why", "it goes well")
    shown = " ".join(run("routes", "show").out.split())
    assert "experiment ranker: buckets 0-499 of layer checkout, enrolment 20 %, others get old" in shown
    assert "rollout: enrolment 20 %, the route table has 10 %; decided" in shown
    assert shown.endswith(": it goes well")
    (route,) = run("routes", "show", "--json").json["routes"]
    assert (route["experiment"]["enrolment"], route["rollout"]["table_enrolment"]) == (0.2, 0.1)
    assigned = run("assign", "ranking", "customer-7")
    assert "below 0.2" in assigned.out
    assert "rollout: enrolment 20 %" in assigned.out
    assert run("assign", "ranking", "customer-7", "--json").json["rollout"]["enrolment"] == 0.2


def test_a_pause_gives_everybody_the_control_and_shows_in_the_analysis(run: Run, started: Path, tmp_path: Path) -> None:
    run("experiment", "pause", "ranker", "--why", "errors")
    for unit in ("a", "b", "c", "d", "e"):
        assert run("assign", "ranking", unit, "--json").json["assignments"][0]["reason"] == "UNENROLLED"
    records = journal(tmp_path, 0)
    status = run("experiment", "status", "ranker", "-j", records)
    assert "paused, to be resumed at 10 %" in status.out
    document = run("experiment", "status", "ranker", "-j", records, "--json").json["enrolment"]
    assert (document["paused"], document["resumes_at"], len(document["steps"])) == (True, 0.1, 1)
    said = run("experiment", "analyse", "ranker", "-j", records)
    assert "paused at" in said.err
    assert "errors; unless the route table overruled it, no unit entered" in " ".join(said.err.split())


def test_a_table_that_makes_a_decision_void_says_so(run: Run, started: Path, tmp_path: Path) -> None:
    run("experiment", "pause", "ranker")
    again = tmp_path / "routes.yaml"
    again.write_text(ROUTES.replace("enrolment: 0.1", "enrolment: 0.3"))
    applied = run("routes", "apply", again)
    assert "what was decided about ranking since its table was written is not in force any more" in " ".join(
        applied.err.split()
    )
    assert "not in force: since it was decided" in " ".join(run("routes", "show").out.split())
    weights = run("routes", "set", "ranking", "new=60")
    assert weights.code == 0
    assert "enrolment: 0.3" in (started / "routes.yaml").read_text(), "nothing that was decided gets into the table"
    found = run("doctor", "--store", started)
    assert "rollouts/ranking" in found.out


def test_buckets_show_and_stay_taken_for_a_while(run: Run, started: Path, tmp_path: Path) -> None:
    assert run("experiment", "list", "--json").json[0]["buckets"] == "checkout 0-499"
    stopped = run("experiment", "stop", "ranker", "--why", "enough")
    assert "buckets 0-499 of layer checkout are free from" in " ".join(stopped.err.split())
    assert ", free " in run("experiment", "list", "--json").json[0]["buckets"]
    (started / "routes.yaml").write_text(ROUTES.replace("name: ranker,", "name: second,"))
    file = tmp_path / "second.yaml"
    file.write_text((tmp_path / "ranker.yaml").read_text().replace("name: ranker", "name: second"))
    for command in ("check", "start"):
        refused = run("experiment", command, file)
        assert refused.code == 75
        told = " ".join(refused.err.split())
        assert "buckets 0-499 of layer 'checkout' are not free: 0-499 by 'ranker', cooling down until" in told
        assert "Free are 500-999" in told


def test_how_long_they_stay_taken_can_be_said(run: Run, started: Path, tmp_path: Path) -> None:
    assert run("experiment", "stop", "ranker", "--cool-down", "soon").code == 2
    assert run("experiment", "stop", "ranker", "--cool-down", "0").code == 0
    (started / "routes.yaml").write_text(ROUTES.replace("name: ranker,", "name: second,"))
    file = tmp_path / "second.yaml"
    file.write_text((tmp_path / "ranker.yaml").read_text().replace("name: ranker", "name: second"))
    assert run("experiment", "check", file).code == 0
    assert run("experiment", "start", file).code == 0
    assert run("experiment", "list", "--json").json[0]["buckets"] is None


def test_what_was_stopped_stays_as_it_was_left(run: Run, started: Path) -> None:
    run("experiment", "pause", "ranker")
    stopped = run("experiment", "stop", "ranker")
    assert "route ranking stays paused until its experiment is changed" in " ".join(stopped.err.split())
    assert run("experiment", "resume", "ranker").code == 75
    assert run("assign", "ranking", "a", "--json").json["assignments"][0]["reason"] == "UNENROLLED"


def test_one_that_was_left_paused_is_named_to_who_starts_the_next_one_with_the_way_out(
    run: Run, store: Path, tmp_path: Path
) -> None:
    plain = ROUTES.partition("    experiment:")[0]
    (store / "routes.yaml").write_text(plain)
    first, second = tmp_path / "ranker.yaml", tmp_path / "second.yaml"
    first.write_text(DEFINITION)
    second.write_text(DEFINITION.replace("name: ranker", "name: second"))
    for command in (("start", first), ("pause", "ranker"), ("stop", "ranker")):
        assert run("experiment", *command).code == 0
    for verb in ("check", "start"):
        refused = run("experiment", verb, second)
        assert refused.code == 75
        told = " ".join(refused.err.split())
        assert "route 'ranking' is paused since" in told
        assert "for the experiment 'ranker'; put 'second' into the route table" in told
        assert "or remove rollouts/ranking.json" in told
    (store / "rollouts/ranking.json").unlink()
    assert run("experiment", "start", second).code == 0


def test_what_cannot_be_read_stops_neither_the_analysis_nor_the_end(run: Run, started: Path, tmp_path: Path) -> None:
    run("experiment", "pause", "ranker")
    (started / "rollouts/ranking.json").write_text("{")
    records = journal(tmp_path, 0)
    said = run("experiment", "analyse", "ranker", "-j", records)
    assert "whether it was paused is not known: rollouts/ranking.json: not JSON" in " ".join(said.err.split())
    assert run("experiment", "status", "ranker", "-j", records).code == 0
    assert "not in force: rollouts/ranking.json: not JSON" in " ".join(run("routes", "show").out.split())
    assert run("experiment", "resume", "ranker").code == 65
    stopped = run("experiment", "stop", "ranker")
    assert stopped.code == 0
    assert "its enrolment is not kept with the stop: rollouts/ranking.json: not JSON" in " ".join(stopped.err.split())
    (started / "routes.yaml").write_text("routes: {}")
    assert run("experiment", "status", "ranker", "-j", records).code == 0


def test_the_table_of_a_gateway_that_has_its_own_is_decided_by(run: Run, started: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text((started / "routes.yaml").read_text())
    (started / "routes.yaml").unlink()
    assert run("experiment", "pause", "ranker").code == 66
    assert run("experiment", "pause", "ranker", "--routes", mine).code == 0
