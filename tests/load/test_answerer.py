from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_server.load.answerer import SAMPLES_PER_S, Answerer, Sample, read
from turnout_server.load.plan import MODEL_INFER
from turnout_server.load.stubs import pb


def answer(target: str, version: str) -> bytes:
    response = pb.ModelInferResponse(model_name="price", model_version=version)
    response.parameters["turnout_target"].string_param = target
    return response.SerializeToString()


def test_an_answer_says_who_gave_it() -> None:
    assert read(answer("canary", "2")) == Answerer("canary", "price", "2")


def test_another_servers_answer_says_what_it_can() -> None:
    assert read(pb.ModelInferResponse(model_name="m").SerializeToString()) == Answerer("", "m", "")


def test_what_is_no_answer_says_nothing() -> None:
    assert read(b"\xff\xff\xff") is None
    sample = Sample(MODEL_INFER)
    sample.offer(b"\xff\xff\xff", 0.002)
    assert not sample.served


def test_few_answers_are_all_read() -> None:
    sample = Sample(MODEL_INFER)
    sample.adapt(SAMPLES_PER_S * 0.9)
    for _ in range(100):
        sample.offer(answer("control", "1"), 0.002)
    control = Answerer("control", "price", "1")
    assert sample.served == {control: 100}
    assert sample.latencies[control].count == 100
    assert sample.latencies[control].percentile(50.0) == pytest.approx(0.002, rel=0.01)


@given(st.integers(0, 2**32))
def test_of_many_answers_about_the_wanted_number_is_read(seed: int) -> None:
    sample = Sample(MODEL_INFER, seed)
    sample.adapt(SAMPLES_PER_S * 10)
    one = answer("control", "1")
    for _ in range(4000):
        sample.offer(one, 0.002)
    assert 280 < sample.served.total() < 560


@pytest.mark.parametrize("period", [2, 5, 10])
def test_a_sample_does_not_fall_in_step_with_requests_that_repeat(period: int) -> None:
    sample = Sample(MODEL_INFER)
    sample.adapt(SAMPLES_PER_S * 10)
    answers = [answer("canary" if number == 0 else "control", "1") for number in range(period)]
    for number in range(40_000):
        sample.offer(answers[number % period], 0.002)
    share = sample.served[Answerer("canary", "price", "1")] / sample.served.total()
    assert share == pytest.approx(1 / period, abs=0.03)


def test_answers_of_other_methods_are_not_read() -> None:
    sample = Sample("/other.Service/Method")
    sample.offer(answer("control", "1"), 0.002)
    assert not sample.served
