"""The report: one file that needs nothing else, and says first what it comes to, then whether to believe it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from tests.experiments import found
from tests.experiments.test_markup import EVIL, read
from turnout_server.experiments import page, words
from turnout_server.experiments.definition import Experiment, digest_of
from turnout_server.experiments.findings import Added, Findings, Verdict
from turnout_server.experiments.query import Period, script
from turnout_server.experiments.text import convert, parse

TITLES = [
    "Whether to believe it",
    "What differs",
    "How it came about, day by day",
    "Units and their split",
    "Epoch by epoch",
    "The first week, and later",
    "What covariates explain",
    "The definition",
    "Where it comes from",
]
SILENT = found.findings(
    comparisons=(found.silent(found.comparison(epochs=())), found.endless(found.guardrail(theta_variance_left=None))),
    soundness=found.soundness(days=0, epochs=(), srm_p=None, offered=0),
    sequence=(),
    novelty=(),
)


def test_the_verdict_is_first_and_then_whether_to_believe_it() -> None:
    said = read(page.render(found.findings())).words
    places = [said.index(each) for each in ("challenger is better than champion: conversion is better", *TITLES)]
    assert places == sorted(places)


def test_what_was_added_after_the_start_is_shown_as_it_was_asked() -> None:
    title = "What was added after the start"
    assert title not in read(page.render(found.findings())).words
    added = (Added("visits", found.START, "ana", {"kind": "mean", "outcome": "visit", "cap": None}),)
    said = read(page.render(found.findings(added=added))).words
    assert said.index(title) < said.index("Where it comes from")
    assert '"outcome": "visit"' in page.render(found.findings(added=added)).replace("&quot;", '"')


def test_every_treatment_has_its_sentence() -> None:
    verdicts = (
        Verdict("challenger", "LOSS", ("conversion is worse",)),
        Verdict("other", "INCONCLUSIVE", ("it is open",)),
    )
    findings = found.findings(verdicts=verdicts)
    said = read(page.render(findings)).words
    assert all(words.said(findings, each) in said for each in verdicts)


def test_it_asks_nobody_for_anything_and_runs_nothing() -> None:
    rendered = page.render(found.findings())
    reader = read(rendered)
    assert not {"script", "link", "img", "iframe", "object", "base", "form"} & {tag for tag, _ in reader.tags}
    assert not {"src", "href", "srcset", "style", "onload"} & {name for _, each in reader.tags for name in each}
    assert "//" not in rendered


@pytest.mark.parametrize("findings", [found.findings(), SILENT], ids=["found", "silent"])
def test_what_is_not_known_is_said_in_words(findings: Findings) -> None:
    said = read(page.render(findings)).words.split("Where it comes from")[0]
    assert not re.search(r"\b(None|nan|inf|null)\b", said)


def test_what_comes_from_outside_means_itself() -> None:
    findings = found.findings(
        experiment=EVIL,
        question=EVIL,
        route=EVIL,
        marks=(EVIL,),
        method=EVIL,
        definition={EVIL: EVIL},
        digests={EVIL: EVIL},
        sql=EVIL,
        verdicts=(Verdict(EVIL, "INVALID", (EVIL,)),),
        comparisons=(found.silent(found.comparison(EVIL, EVIL), EVIL), found.guardrail(EVIL, EVIL)),
        soundness=found.soundness((EVIL, "b"), others={EVIL: 1}, unreadable={EVIL: EVIL}),
        sequence=found.sequence((EVIL,)),
        novelty=(found.Novelty(EVIL, 0.1, 0.1),),
    )
    reader = read(page.render(findings))
    assert "script" not in {tag for tag, _ in reader.tags}
    assert all("class" in each for tag, each in reader.tags if tag == "b")
    assert reader.words.count(EVIL) > 10


def test_the_definition_that_it_shows_has_the_digest_that_it_names() -> None:
    findings = found.findings()
    assert digest_of(parse(page.definition(findings.definition))) == findings.definition_digest


@pytest.mark.parametrize("lacking", [{"digests": {}}, {"sql": ""}, {"definition": {}}])
def test_there_is_no_report_that_cannot_say_what_it_was_made_of(lacking: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lack digests, SQL or the definition"):
        page.render(found.findings(**lacking))


def test_it_names_its_time_its_digests_its_format_and_its_sql() -> None:
    findings = found.findings(sql="SELECT 41 + 1;\n")
    said = read(page.render(findings)).words
    for each in (
        "As of 2026-11-01 00:00 UTC",
        findings.definition_digest,
        *findings.digests.values(),
        "SELECT 41 + 1;",
    ):
        assert each in said


def test_a_definition_that_was_not_frozen_is_marked() -> None:
    assert "not frozen" not in page.render(found.findings())
    assert "not frozen" in page.render(found.findings(frozen=False))


def test_the_same_findings_make_the_same_bytes() -> None:
    again = msgspec.json.decode(msgspec.json.encode(found.findings()), type=Findings)
    assert page.render(again) == page.render(found.findings())


@pytest.mark.parametrize(
    ("metrics", "treatments", "days", "epochs"), [(100, 5, 366, 12), (100, 1, 3_000, 500), (1, 63, 366, 52)]
)
def test_it_is_under_500_kb_whatever_was_asked(metrics: int, treatments: int, days: int, epochs: int) -> None:
    findings = found.largest(metrics, treatments, days, epochs)
    asked = msgspec.convert(findings.definition, Experiment)
    sql = script(asked, Period(findings.start, findings.stop, findings.as_of))
    assert len(page.render(msgspec.structs.replace(findings, sql=sql)).encode()) < 500_000


def test_a_question_is_shown_as_it_was_asked() -> None:
    asked = convert({**found.ASKED, "question": "Does the newer ranker sell more?"})
    assert "Does the newer ranker sell more?" in read(page.render(found.findings(asked=asked))).words
