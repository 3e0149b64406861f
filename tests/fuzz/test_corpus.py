"""The corpus of the fuzzers, through each target in Python once; the engine's targets need a build of their own."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from fuzz import __main__ as fuzzers
from fuzz import corpus, documents, http2, targets
from fuzz.source import Source, edited
from turnout_server.store import labels as labels_json

ROOT = Path(__file__).resolve().parents[2]
SLOW = dict.fromkeys(("exposures-made", "outcome-table-made"), 6)
"""How often those are made that write a journal each time."""


@pytest.mark.parametrize("target", targets.TARGETS)
def test_nothing_in_the_corpus_breaks_a_promise(target: str) -> None:
    for one in corpus.inputs(target):
        targets.TARGETS[target](one)


@pytest.mark.parametrize("target", [name for name in targets.TARGETS if name.endswith("-made")])
@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")
def test_nothing_that_is_made_breaks_one(target: str) -> None:
    chance = random.Random(20261128)
    for _ in range(SLOW.get(target, 40)):
        targets.TARGETS[target](chance.randbytes(200))


def test_a_target_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    documents.labels(b'{"champion": 3}')
    monkeypatch.setattr(labels_json, "encode_labels", lambda _: b"{}")
    with pytest.raises(AssertionError, match="came back as others"):
        documents.labels(b'{"champion": 3}')


def test_the_engines_targets_are_those_of_the_crate() -> None:
    written = (ROOT / "fuzz/engine/src/main.rs").read_text("utf-8")
    assert tuple(re.findall(r'^    \("([a-z-]+)", \w+::\w+\),$', written, re.MULTILINE)) == fuzzers.ENGINE


def test_the_corpus_is_text_and_of_targets_that_there_are() -> None:
    names = {place.name.removesuffix(".txt") for place in corpus.FOLDER.iterdir()}
    assert names <= set(fuzzers.ALL)
    for file in corpus.FOLDER.rglob("*.*"):
        assert "\0" not in file.read_text("utf-8"), file
    assert corpus.inputs("labels")[0] == b'{"champion": 3, "challenger": 4}'
    assert corpus.inputs("infer")[-1] == b"\x8a" + b"\x80" * 8 + b"\x01\x00"


def test_a_conversation_is_its_seeds() -> None:
    said = [http2.conversation(random.Random(7)) for _ in range(2)]
    assert said[0] == said[1] != http2.conversation(random.Random(8))


def test_choices_come_from_bytes_and_end_with_them() -> None:
    source = Source(b"\x05\x01\x02")
    assert [source.number(4), source.choose("abc"), source.one_in(3), source.number(9)] == [1, "b", True, 0]
    assert source.text() == ""
    assert edited(Source(b""), b"kept") == b"kept"


def test_how_a_target_fared_is_what_libfuzzer_says() -> None:
    said = (
        "INFO: Loaded 1 modules   (61234 inline 8-bit counters)\n"
        "#2\tINITED cov: 5 ft: 6 corp: 1/1b exec/s: 0 rss: 30Mb\n"
        "#4096\tpulse  cov: 150 ft: 618 corp: 223/9Kb lim: 40 exec/s: 2048 rss: 31Mb\n"
    )
    fared = fuzzers.fared(said, 2.0, None)
    assert (fared.runs, fared.per_s, fared.covered) == (4096, 2048.0, "150 edges, 618 features, 223 inputs kept")
    assert fuzzers.fared(said + "stat::number_of_executed_units: 5000\n", 2.0, None).runs == 5000
    assert fuzzers.fared("", 1.0, Path("crash")).crash == Path("crash")
