"""What is fixed when an experiment starts, and what may not start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.experiments.worlds import LATER, START, experiment
from turnout_server.experiments.definition import InvalidExperimentError, digest_of
from turnout_server.experiments.started import (
    ExperimentConflictError,
    Ledger,
    Started,
    Stopped,
    UnknownExperimentError,
    freeze,
)
from turnout_server.routing.stored import StoredNames
from turnout_server.routing.table import RouteTable, convert
from turnout_server.routing.view import View
from turnout_server.store.blobs.directory import DirectoryBlobs
from turnout_server.vocabulary.errors import StoreError

TARGETS = [
    {"name": "old", "model": "ranker", "version": "champion", "weight": 90},
    {"name": "new", "model": "ranker", "version": "challenger", "weight": 10},
    {"name": "off", "model": "ranker", "version": 3, "weight": 0},
    {"name": "gone", "model": "ranker", "version": "nowhere", "weight": 1},
]


def table(targets: list[dict[str, Any]] = TARGETS) -> RouteTable:
    return convert({"routes": {"ranking": {"salt": "s", "targets": targets}}})


def started(champion: int = 1, challenger: int = 2, **fields: Any) -> Started:
    parsed = table()
    names = StoredNames(parsed, {"ranker": (1, 2, 3)}, {"ranker": {"champion": champion, "challenger": challenger}})
    one = experiment(**fields)
    return freeze(one, parsed.get(one.route), names, START, "somebody")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(DirectoryBlobs(tmp_path))


def test_versions_and_weights_are_fixed_as_numbers() -> None:
    one = started()
    assert [(arm.name, arm.version, arm.weight) for arm in one.arms] == [("old", 1, 90.0), ("new", 2, 10.0)]
    assert one.experiment.start == START
    assert one.experiment.weights == {"old": 90.0, "new": 10.0}
    assert one.digest == digest_of(one.experiment)
    assert one.epoch == View(table(), {"ranker": {"champion": 1, "challenger": 2}}).epoch_of("ranking")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"route": "price"}, r"\$\.route: no route named 'price'"),
        ({"control": "older"}, r"\$\.control: the route has no target named 'older'; it has old, new"),
        ({"treatments": ["off"]}, r"\$\.treatments\[0\]: target 'off' has the weight 0"),
        ({"treatments": ["gone"]}, r"\$\.treatments\[0\]: target 'gone': ranker has no label 'nowhere'"),
        ({"challenger": 1}, r"\$\.treatments\[0\]: new and old are both ranker version 1: say aa: true"),
        (
            {
                "minimal_effect": 0.01,
                "metrics": {"conversion": {"kind": "proportion", "outcome": "x", "baseline": {"mean": 0.1}}},
            },
            r"\$\.units: 1000 are planned; \d+ units are needed to find 1.00%; say underpowered: true",
        ),
    ],
)
def test_what_cannot_be_asked_of_the_route_does_not_start(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidExperimentError, match=told):
        started(**fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"name": "other"}, r"\$\.name: 'other'; in the route table the experiment has 'ranker'"),
        ({"control": "new", "treatments": ["old"]}, r"\$\.control: 'new'; in the route table the experiment has 'old'"),
        ({"enrolment": 1.0}, r"\$\.enrolment: 1.0; in the route table the experiment has 0.2"),
    ],
)
def test_who_takes_part_is_said_once(fields: dict[str, Any], told: str) -> None:
    body = {"salt": "s", "targets": TARGETS, "experiment": {"name": "ranker", "control": "old", "enrolment": 0.2}}
    parsed = convert({"routes": {"ranking": body}})
    names = StoredNames(parsed, {"ranker": (1, 2)}, {"ranker": {"champion": 1, "challenger": 2}})
    assert freeze(experiment(enrolment=0.2), parsed.get("ranking"), names, START, "somebody")
    with pytest.raises(InvalidExperimentError, match=told):
        freeze(experiment(**{"enrolment": 0.2} | fields), parsed.get("ranking"), names, START, "somebody")
    with pytest.raises(InvalidExperimentError, match=r"\$\.enrolment: route 'ranking' has no experiment"):
        started(enrolment=0.2)


def test_what_is_said_to_be_meant_starts() -> None:
    baseline = {"conversion": {"kind": "proportion", "outcome": "x", "baseline": {"mean": 0.1}}}
    assert started(challenger=1, aa=True).arms[1].version == 1
    assert started(minimal_effect=0.01, metrics=baseline, underpowered=True)


def test_a_name_is_taken_for_good_and_a_route_has_one_experiment_at_a_time(ledger: Ledger) -> None:
    ledger.start(started())
    with pytest.raises(ExperimentConflictError, match="'ranker' was started before"):
        ledger.start(started())
    with pytest.raises(ExperimentConflictError, match="'ranker' runs on route 'ranking'"):
        ledger.start(started(name="another"))
    ledger.stop("ranker", Stopped(LATER, "somebody", "enough"))
    with pytest.raises(ExperimentConflictError, match="was stopped before"):
        ledger.stop("ranker", Stopped(LATER, "somebody", "again"))
    ledger.start(started(name="another"))
    assert ledger.names() == ("another", "ranker")
    assert ledger.get("ranker") == (started(), Stopped(LATER, "somebody", "enough"))


@pytest.mark.parametrize("name", ["unknown", "../models", ""])
def test_what_was_not_started_is_not_there(ledger: Ledger, name: str) -> None:
    with pytest.raises(UnknownExperimentError, match="there are none"):
        ledger.get(name)


def test_what_somebody_has_changed_since_is_not_believed(ledger: Ledger, tmp_path: Path) -> None:
    ledger.start(started())
    file = tmp_path / "experiments/ranker/started.json"
    file.write_text(file.read_text(encoding="utf-8").replace('"alpha": 0.05', '"alpha": 0.2'), encoding="utf-8")
    with pytest.raises(StoreError, match="was changed"):
        ledger.get("ranker")
    file.write_text(of_format_1().replace('"alpha":0.05', '"alpha":0.2'), encoding="utf-8")
    with pytest.raises(StoreError, match="its digest is not that of its definition"):
        ledger.get("ranker")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(StoreError, match="experiments/ranker"):
        ledger.get("ranker")


def of_format_1() -> str:
    """Return what earlier versions wrote, which had no seal."""
    return msgspec.json.encode(msgspec.structs.replace(started(), format=1)).decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"salt": "s"', '"salt": "t"'),
        ('"version": 2', '"version": 3'),
        ('"model": "ranker"', '"model": "other"'),
        ('"by": "somebody"', '"by": "nobody"'),
        ('"epoch": "', '"epoch": "0'),
        ('"format": 2', '"format": 1'),
    ],
)
def test_whatever_was_fixed_cannot_be_changed_unnoticed(ledger: Ledger, tmp_path: Path, old: str, new: str) -> None:
    ledger.start(started())
    file = tmp_path / "experiments/ranker/started.json"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(StoreError, match="was changed: its seal"):
        ledger.get("ranker")


def test_what_earlier_versions_wrote_is_read(ledger: Ledger, tmp_path: Path) -> None:
    file = tmp_path / "experiments/ranker/started.json"
    file.parent.mkdir(parents=True)
    file.write_text(of_format_1(), encoding="utf-8")
    assert ledger.get("ranker")[0] == msgspec.structs.replace(started(), format=1)


def test_what_later_versions_wrote_is_refused(ledger: Ledger) -> None:
    ledger.start(msgspec.structs.replace(started(), format=3))
    with pytest.raises(StoreError, match="format 3; at most 2 is known here"):
        ledger.get("ranker")
