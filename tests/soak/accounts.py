"""Whether the server's own counts add up with what the clients saw, and among themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from tests.soak.judge import Served
from tests.soak.ledger import REFUSALS, Ledger
from tests.soak.shelf import MIRRORED
from turnout_server.instruments.instruments import RETIRED_KEPT
from turnout_server.rpc.stubs import open_inference_pb2 as oip

Labels = tuple[tuple[str, str], ...]
Samples = Mapping[str, Mapping[Labels, float]]
"""What a scrape brought: values by labels, by the sample's name."""
WATCHED = (
    "turnout_requests_total",
    "turnout_rpc_duration_seconds_count",
    "turnout_mirrors_total",
    "turnout_requests_in_flight",
    "turnout_queue_rows",
)
"""The samples that are looked at."""
FORBIDDEN = ("INTERNAL", "UNKNOWN", "DATA_LOSS")
"""How no call may end, in the server's eyes too."""


class Books(NamedTuple):
    """What the server has counted."""

    samples: Samples
    statistics: list[oip.ModelStatistics]
    unloaded: list[tuple[str, int]]
    """Every version that was unloaded, as often as it was. Its statistics begin anew when it is loaded again, and its
    series in the metrics are dropped when many others were unloaded since."""


def check(books: Books, ledger: Ledger) -> list[str]:
    """Return everything that does not add up; nothing may be under way any more."""
    return [
        *_check_gauges(books),
        *_check_requests(books, ledger),
        *_check_refusals(books, ledger),
        *_check_calls(books, ledger),
        *_check_mirrors(books),
        *_check_statistics(books, ledger),
    ]


def _check_gauges(books: Books) -> list[str]:
    gauges = ("turnout_requests_in_flight", "turnout_queue_rows")
    return [
        f"{name} {dict(labels)} is {value:g} though nothing is under way"
        for name in gauges
        for labels, value in books.samples[name].items()
        if value
    ]


def _check_requests(books: Books, ledger: Ledger) -> list[str]:
    """Every answer that was seen was counted once; what was counted beyond is an answer that nobody waited for."""
    problems = []
    counted: Counter[Served] = Counter()
    for labels, value in books.samples["turnout_requests_total"].items():
        of = dict(labels)
        if of["code"] == "OK":
            counted[Served(of["route"], of["target"], of["model"], int(of["version"]), of["reason"])] += int(value)
    lost = _lost_series(books)
    beyond: Counter[str] = Counter()
    for served in counted.keys() | ledger.answers.keys():
        if (served.model, served.version) in lost:
            continue
        more = counted[served] - ledger.answers[served]
        if more < 0:
            problems.append(f"{served} gave {ledger.answers[served]} answers and counted {counted[served]}")
        beyond[served.route or served.model] += max(more, 0)
    for name, count in beyond.items():
        if count > ledger.unseen[name]:
            problems.append(
                f"{name} counted {count} answers more than were seen, and only {ledger.unseen[name]} requests were left"
            )
    return problems


def _lost_series(books: Books) -> set[tuple[str, int]]:
    return set(books.unloaded) if len(books.unloaded) > RETIRED_KEPT else set()


def _check_refusals(books: Books, ledger: Ledger) -> list[str]:
    if _lost_series(books):
        return []
    problems = []
    left = ledger.unseen.total()
    counted: Counter[str] = Counter()
    for labels, value in books.samples["turnout_requests_total"].items():
        counted[dict(labels)["code"]] += int(value)
    for reason in (*sorted(REFUSALS - {"TOO_MANY_CALLS"}), "ROUTE_NOT_FOUND", "VERSION_UNAVAILABLE", "INPUT_REJECTED"):
        seen, found = ledger.refused[reason], counted[reason]
        if not seen <= found <= seen + left:
            problems.append(f"{found} requests were counted as {reason}; {seen} were seen, and {left} were left")
    return problems


def _check_calls(books: Books, ledger: Ledger) -> list[str]:
    problems = []
    beyond: Counter[str] = Counter()
    for labels, value in books.samples["turnout_rpc_duration_seconds_count"].items():
        of = dict(labels)
        method, code, count = of["method"], of["code"], int(value)
        if code in FORBIDDEN and count:
            problems.append(f"{count} calls of {method} ended with {code}")
        seen = ledger.calls[method, code]
        if count < seen:
            problems.append(f"{seen} calls of {method} ended with {code}, and {count} were counted")
        beyond[method] += max(count - seen, 0)
    for method, count in beyond.items():
        if method.startswith("inference.") or method.startswith("turnout."):
            left = ledger.unseen_calls[method]
            if count > left:
                problems.append(f"{method} counted {count} calls more than were seen to end, and only {left} were left")
    return problems


def _check_mirrors(books: Books) -> list[str]:
    """Nobody leaves the route MIRRORED before the answer, so that each was copied, or the copy was given up."""
    if _lost_series(books):
        return []
    answered = sum(
        value
        for labels, value in books.samples["turnout_requests_total"].items()
        if dict(labels)["route"] == MIRRORED and dict(labels)["code"] == "OK"
    )
    copied = sum(
        value for labels, value in books.samples["turnout_mirrors_total"].items() if dict(labels)["route"] == MIRRORED
    )
    return (
        [] if answered == copied else [f"{MIRRORED} answered {answered:g} requests and accounts for {copied:g} copies"]
    )


def _check_statistics(books: Books, ledger: Ledger) -> list[str]:
    """The statistics agree with the metrics, for versions that are what they were when everything began."""
    problems = []
    requests: Counter[tuple[str, int, bool]] = Counter()
    for labels, value in books.samples["turnout_requests_total"].items():
        of = dict(labels)
        if of["model"]:
            requests[of["model"], int(of["version"]), of["code"] == "OK"] += int(value)
    for one in books.statistics:
        key = one.name, int(one.version)
        if key in books.unloaded:
            continue
        stats = one.inference_stats
        for ok, found in ((True, stats.success.count), (False, stats.fail.count)):
            if found != requests[*key, ok]:
                problems.append(f"{key}: {found} in the statistics, {requests[*key, ok]} in the metrics, success: {ok}")
        if one.inference_count < ledger.rows[key]:
            problems.append(f"{key}: {ledger.rows[key]} rows were answered, and {one.inference_count} were counted")
        batches = sum(batch.compute_infer.count for batch in one.batch_stats)
        if batches != one.execution_count:
            problems.append(f"{key}: {batches} batches in {one.execution_count} runs")
    return problems
