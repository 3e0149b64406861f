"""Two gateways over one store, the same calls to both, and all that is to be equal afterwards."""

from __future__ import annotations

import contextlib
import json
import re
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import Message
from prometheus_client.parser import text_string_to_metric_families

from tests.differential.answers import Answer, ask
from tests.differential.calls import Call
from tests.differential.generator import Kind, kind_of
from tests.differential.planes import Plane, variables
from tests.differential.traces import Trace, traces
from tests.differential.wire import MOST_BYTES, MOST_VALUES
from tests.differential.world import World
from tests.e2e.collector import Collector, collecting
from tests.e2e.conftest import Gateway
from tests.e2e.probes import PATIENCE_S, administer, connected, eventually, metrics, serving
from turnout_server.journal.reading import query
from turnout_server.rpc.stubs import open_inference_pb2 as pb

CALLERS = 8
CONFIGURATION = {
    # Nobody is refused, and no copy is dropped, because the machine is busy.
    "limits": {
        "queue_wait_ms": 1e6,
        "queue_requests": 10_000,
        "mirrors_in_flight": 1000,
        "max_message_bytes": MOST_BYTES,
        "max_message_values": MOST_VALUES,
    },
    "scheduling": {"inline_below_us": 1e6},
}
COUNTERS = re.compile(
    r"turnout_(requests|mirrors)_total|turnout_requests_in_flight|turnout_batch_rows_\w+"
    r"|turnout_feature_rows_total|turnout_features_odd_total|turnout_(rpc|request|queue|run)_duration_seconds_count"
)
"""The samples that do not depend on how long something took."""
OF_THE_PROCESS = {"ts", "instance", "boot", "seq", "took_us", "date", "hour"}
"""Columns of the journal that are another gateway's own."""

Counts = Counter[tuple[str, ...]]
Record = dict[str, Any]


class Seen(NamedTuple):
    """What became of the calls on one plane."""

    answers: dict[int, Answer]
    """By the call's position."""
    counts: Counts
    """Of /metrics, once all was answered that is not left to chance."""
    statistics: tuple[bytes, ...]
    """Of each version, at the same moment, without times."""
    spans: list[Trace]
    """What was exported, without times and without ids that are the process's own."""
    declined: int
    """How many calls the engine left to Python until that moment; 0 without it."""
    records: list[Record]
    """The journal, without what is the process's own; of copies, `copy_of` is the original's request id."""


def run(pair: tuple[Plane, Plane], world: World, calls: Sequence[Call], folder: Path) -> tuple[Seen, Seen]:
    """Send *calls* to both planes, and return what became of them."""
    folder.joinpath("key").write_text("ab" * 32)
    with contextlib.ExitStack() as stack:
        first, second = (stack.enter_context(_running(plane, world, folder)) for plane in pair)
        answers = _answers((first, second), world, calls)
        for one in (first, second):
            assert one.gateway.terminate() == 0, one.gateway.log()
        return first.seen(answers[0]), second.seen(answers[1])


class _Running:
    """One plane while it serves."""

    def __init__(self, gateway: Gateway, channel: grpc.Channel, journal: Path, collector: Collector) -> None:
        self.gateway = gateway
        self.channel = channel
        self.journal = journal
        self.collector = collector
        self.counts: Counts = Counter()
        self.statistics: tuple[bytes, ...] = ()
        self.declined = 0

    def look(self) -> None:
        """Note what was counted so far."""
        self.counts = counts(self.gateway)
        self.declined = int(sum(metrics(self.gateway, "turnout_engine_declined_total").values()))
        found = administer(self.channel, "ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
        self.statistics = tuple(_timeless(version) for version in found.model_stats)

    def seen(self, answers: dict[int, Answer]) -> Seen:
        spans = traces(self.collector.all())
        return Seen(answers, self.counts, self.statistics, spans, self.declined, records(self.journal))


@contextlib.contextmanager
def _running(plane: Plane, world: World, folder: Path) -> Iterator[_Running]:
    journal = folder / f"journal-{plane}"
    kept = {"path": str(journal), "key_file": str(folder / "key"), "instance": "gateway"}
    file = folder / f"{plane}.yaml"
    file.write_text(json.dumps(CONFIGURATION | {"journal": kept}))
    arguments = [part for setting in plane.settings for part in ("--set", setting)]
    log = folder / f"{plane}.log"
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(collecting())
        exported = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.address, "OTEL_BSP_MAX_QUEUE_SIZE": "1000000"}
        gateway = stack.enter_context(
            serving(world.store, log, "--config", str(file), *arguments, **variables(), **exported)
        )
        assert not gateway.started["table_problem"], gateway.started["table_problem"]
        channel = stack.enter_context(connected(gateway.address))
        yield _Running(gateway, channel, journal, collector)


def _answers(
    both: tuple[_Running, _Running], world: World, calls: Sequence[Call]
) -> tuple[dict[int, Answer], dict[int, Answer]]:
    kinds: dict[Kind, list[int]] = {kind: [] for kind in Kind}
    for place, call in enumerate(calls):
        kinds[kind_of(call, world)].append(place)
    found: tuple[dict[int, Answer], dict[int, Answer]] = {}, {}

    def ask_both(place: int) -> None:
        for one, answers in zip(both, found, strict=True):
            answers[place] = ask(one.channel, calls[place])

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(ask_both, kinds[Kind.CERTAIN]))
        for place in kinds[Kind.MIRRORED]:
            ask_both(place)
        with contextlib.suppress(AssertionError):  # whoever compares says what differs
            eventually(lambda: counts(both[0].gateway) == counts(both[1].gateway), within_s=5)
        for one in both:
            one.look()
        list(pool.map(ask_both, kinds[Kind.DRAWN] + kinds[Kind.HURRIED]))
    return found


def counts(gateway: Gateway) -> Counts:
    """Scrape, and return what was counted."""
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics", timeout=PATIENCE_S) as answer:
        text = answer.read().decode()
    return Counter(
        {
            (sample.name, *(f"{key}={value}" for key, value in sorted(sample.labels.items()))): int(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if COUNTERS.fullmatch(sample.name)
        }
    )


def records(journal: Path) -> list[Record]:
    """Return the records in *journal* in a form in which two boots' can be compared."""
    answer = query(journal, "SELECT * FROM records")
    rows = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    names = {row["seq"]: row["request_id"] for row in rows}
    found = []
    for row in rows:
        kept = {name: value for name, value in row.items() if name not in OF_THE_PROCESS}
        kept["queue_us"] = row["queue_us"] is not None  # whether it got as far as a queue
        kept["copy_of"] = names.get(row["copy_of"])
        if (kept["shadow_note"] or "").startswith("{"):  # the worst so far of the minute, whoever those are
            kept["shadow_note"] = None
        found.append(kept)
    return found


def _timeless(version: pb.ModelStatistics) -> bytes:
    """Return *version* without how long anything took, or when."""
    version.last_inference = 0
    _clear_times(version)
    written: bytes = version.SerializeToString(deterministic=True)
    return written


def _clear_times(message: Message) -> None:
    for field, value in message.ListFields():
        if field.name == "ns":
            message.ClearField("ns")
        elif isinstance(value, Message):
            _clear_times(value)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value:
                _clear_times(part)
