from __future__ import annotations

from turnout_server.load.answerer import Sample
from turnout_server.load.tally import Tally


def tally(opens: float = 10.0, closes: float = 20.0) -> Tally:
    made = Tally(opens, Sample("/some.Service/Method"))
    made.closes = closes
    return made


def test_the_warm_up_is_counted_in_calls_alone() -> None:
    counts = tally()
    counts.record("OK", b"", 8.0, 9.0)
    counts.record("INTERNAL", b"broken", 8.0, 9.0)
    assert (counts.calls, counts.within, counts.latency.count, counts.codes, counts.messages) == (2, 0, 0, {}, {})


def test_throughput_counts_answers_in_the_window_and_latency_calls_sent_in_it() -> None:
    counts = tally()
    counts.record("OK", b"", 9.0, 11.0)  # sent in the warm-up
    counts.record("OK", b"", 12.0, 13.0)
    counts.record("OK", b"", 19.0, 25.0)  # answered after the end
    assert (counts.within, counts.latency.count, counts.codes["OK"]) == (2, 2, 2)
    assert counts.latency.max == 6.0


def test_failures_have_no_latency_and_keep_their_first_message() -> None:
    counts = tally()
    counts.record("OK", b"", 11.0, 12.0)
    counts.record("UNAVAILABLE", b"first", 11.0, 19.0)
    counts.record("UNAVAILABLE", b"second", 11.0, 19.0)
    counts.record("CANCELLED", None, 11.0, 19.0)
    assert (counts.latency.count, counts.latency.max, counts.within) == (1, 1.0, 1)
    assert counts.codes == {"OK": 1, "UNAVAILABLE": 2, "CANCELLED": 1}
    assert counts.messages == {"UNAVAILABLE": "first", "CANCELLED": ""}
