"""What the gateway counts on the hot path: plain Python integers, read only when somebody collects them.

One `counter.add` of the OpenTelemetry SDK costs more than all that is counted here for a request, so nothing here calls
it; `turnout_server.telemetry` turns `Instruments.families` into Prometheus text and into OTLP.

Every label value comes from the route table, the store, or the code, never from what a caller sent, so the number of
series is bounded by what operators do. All `record` methods belong to the event loop's thread. `families` may be called
on any thread: it copies a histogram's buckets in one step and derives the count from them, so those two always agree;
a sum, or another series, may be one request ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from turnout_server.instruments.families import (
    CODE,
    FEATURE,
    METHOD,
    MODEL,
    OUTCOME,
    REASON,
    ROUTE,
    STATE,
    STATUS,
    TARGET,
    TASK,
    VERSION,
    Counted,
    Family,
    Histogram,
    Labels,
    Readable,
    counter,
    gauge,
    histogram,
)
from turnout_server.instruments.statistics import Alike, VersionStatistics
from turnout_server.serving.state import State, VersionStatus
from turnout_server.vocabulary.attributes import RPC_SYSTEM
from turnout_server.vocabulary.decision import Reason
from turnout_server.vocabulary.record import Record
from turnout_server.vocabulary.versions import VersionKey

Key = TypeVar("Key")
Value = TypeVar("Value")

NS_PER_S = 1_000_000_000
REQUEST_BOUNDS_NS = tuple(
    round(seconds * NS_PER_S)
    for seconds in (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
)
"""Upper bounds of the buckets of a whole request's duration: 100 µs to 10 s."""
RUN_BOUNDS_NS = (10_000, 25_000, 50_000, *REQUEST_BOUNDS_NS)
"""As above, from 10 µs on: a small model runs in less than the smallest of those."""
ROWS_BOUNDS = tuple(2**power for power in range(13))
"""1 to 4096 rows."""
RETIRED_KEPT = 50
"""How many unloaded versions keep their series, so that their last counts are still collected."""


class Runs:
    """One version's runs."""

    __slots__ = ("feature_rows", "odd", "queue", "rows", "run", "statistics", "timed_out", "waiting_rows")

    def __init__(self) -> None:
        self.statistics = VersionStatistics()
        """Of the version since it was loaded the last time."""
        self.waiting_rows: Callable[[], int] = int
        """How many rows wait at this moment."""
        self.queue = Histogram(RUN_BOUNDS_NS)
        """How long each request waited."""
        self.run = Histogram(RUN_BOUNDS_NS)
        """How long each run of the graph took."""
        self.rows = Histogram(ROWS_BOUNDS)
        """How many rows each run had."""
        self.timed_out = 0
        """Runs that took longer than they may, and were ended."""
        self.feature_rows = 0
        """Rows whose inputs were made of features."""
        self.odd: dict[tuple[str, str], int] = {}
        """Of these, those with an odd feature, by its name and what is odd."""


class _Answers:
    """The requests that one target answered for one reason."""

    __slots__ = ("codes", "duration")

    def __init__(self, duration: Histogram) -> None:
        self.codes: dict[str, int] = {}
        self.duration = duration


class Instruments:
    """Everything that is counted in one process."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Calls in progress: whoever starts one adds 1 and takes it away again."""
        self.before_reading: Callable[[], None] = _nothing
        """Called before anything is read, on the reader's thread: what was counted elsewhere comes in."""
        self.in_flight_elsewhere: Callable[[], int] = int
        """How many are in progress that Python knows nothing of."""
        self.stuck_reads: Callable[[], int] = int
        """How many threads are at a read of the store that took too long."""
        self.loop_lag = Histogram(RUN_BOUNDS_NS)
        """How late the event loop was."""
        self._answers: dict[tuple[str, str, str, int, Reason], _Answers] = {}
        self._durations: dict[tuple[str, str, str, int], Histogram] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._runs: dict[tuple[str, int], Runs] = {}
        self._mirrors: dict[Labels, int] = {}
        self._rpcs: dict[tuple[str, str], Histogram] = {}
        self._messages: dict[Labels, int] = {}
        self._states: dict[VersionKey, State] = {}
        self._loads: dict[Labels, int] = {}
        self._reloads: dict[Labels, int] = {}
        self._looks: dict[Labels, int] = {}
        self._restarts: dict[Labels, int] = {}
        self._retired: deque[VersionKey] = deque()
        self._others: list[Readable] = []

    def include(self, readable: Readable) -> None:
        """Let *readable*'s metrics be read with these."""
        self._others.append(readable)

    # ------------------------------------------------------------ requests

    def read(self, record: Record) -> None:
        """Count a request's end. Of a copy only its wait is counted: nobody asked for it."""
        decision = record.decision
        if decision is None or not decision.available:
            if record.copy_of < 0:
                key = record.route, record.code
                self._refused[key] = self._refused.get(key, 0) + 1
            return
        runs = self._runs.get(decision[2:4])
        if runs is not None:
            timing = record.timing
            if timing is not None and timing.started_ns:
                runs.queue.add(timing.queue_ns)
            if record.copy_of < 0:
                runs.statistics.ended(record)
        if record.copy_of < 0:
            answers = self._answers.get(decision[:5]) or self._answers_of(decision[:5])
            codes, code = answers.codes, record.code
            codes[code] = codes.get(code, 0) + 1
            answers.duration.add(record.took_ns)

    def include_requests(self, requests: Alike) -> None:
        """Count requests that ended alike elsewhere; none of them a copy, each with a decision that was available."""
        decision = requests.decision
        runs = self._runs.get(decision[2:4])
        if runs is not None:
            runs.queue.include(requests.queue)
            runs.statistics.include(requests)
        answers = self._answers_of(decision[:5])
        answers.codes[requests.code] = answers.codes.get(requests.code, 0) + requests.took.observations
        answers.duration.include(requests.took)

    def _answers_of(self, served: tuple[str, str, str, int, Reason]) -> _Answers:
        answers = self._answers.get(served)
        if answers is None:
            duration = self._durations.setdefault(served[:4], Histogram(REQUEST_BOUNDS_NS))
            answers = self._answers[served] = _Answers(duration)
        return answers

    def runs_of(self, model: str, version: int) -> Runs:
        """Return what is counted of a version that is being loaded, to be kept by whoever runs it.

        Its histograms go on from its last time; its statistics begin anew.
        """
        key = VersionKey(model, version)
        runs = self._runs.get(key)
        if runs is None:
            runs = self._runs[key] = Runs()
        runs.statistics = VersionStatistics()
        return runs

    def record_mirror(self, route: str, model: str, version: str, outcome: str) -> None:
        """Count a copy: *version* as the route table names it, *outcome* one of `sent`, `dropped`, `failed`, `same`."""
        key = route, model, version, outcome
        self._mirrors[key] = self._mirrors.get(key, 0) + 1

    def record_rpc(self, method: str, code: str, took_ns: int) -> None:
        """Count a call: *method* as registered (`package.Service/Method`), *code* a gRPC status code's name."""
        self._rpc_of(method, code).add(took_ns)

    def record_message(self, method: str, code: str, times: int = 1) -> None:
        """Count messages of streams, *code* as if each were a call."""
        key = method, code
        self._messages[key] = self._messages.get(key, 0) + times

    def include_rpcs(self, method: str, code: str, took: Counted) -> None:
        """Count calls that ended alike elsewhere."""
        self._rpc_of(method, code).include(took)

    def _rpc_of(self, method: str, code: str) -> Histogram:
        duration = self._rpcs.get((method, code))
        if duration is None:
            duration = self._rpcs[method, code] = Histogram(REQUEST_BOUNDS_NS)
        return duration

    # ------------------------------------------------------------ models and routes

    def record_state(self, status: VersionStatus) -> None:
        """Note a change of a version's state; that it became AVAILABLE or FAILED counts as a load."""
        key, state, _ = status
        if state is State.STORED:
            self._states.pop(key, None)
            self._retire(key)
            return
        self._states[key] = state
        if state in (State.AVAILABLE, State.FAILED):
            load = key.model, "ok" if state is State.AVAILABLE else "failed"
            self._loads[load] = self._loads.get(load, 0) + 1

    def record_reload(self, outcome: str) -> None:
        """Count a route table that was looked at and found new: *outcome* is `ok` or `refused`."""
        self._reloads[(outcome,)] = self._reloads.get((outcome,), 0) + 1

    def record_look(self, outcome: str) -> None:
        """Count a look at the store: `ok` or `failed`."""
        self._looks[(outcome,)] = self._looks.get((outcome,), 0) + 1

    def record_restart(self, task: str) -> None:
        """Count that a task which should not end has ended by an error."""
        self._restarts[(task,)] = self._restarts.get((task,), 0) + 1

    def _retire(self, key: VersionKey) -> None:
        """Forget the series of the versions unloaded longest ago, so that years of publishing do not pile up."""
        if key in self._retired:
            self._retired.remove(key)
        self._retired.append(key)
        while len(self._retired) > RETIRED_KEPT:
            oldest = self._retired.popleft()
            if oldest in self._states:
                continue
            self._runs.pop(oldest, None)
            self._answers = {served: kept for served, kept in self._answers.items() if served[2:4] != oldest}
            self._durations = {series: kept for series, kept in self._durations.items() if series[2:4] != oldest}

    # ------------------------------------------------------------ reading

    def families(self) -> tuple[Family, ...]:
        """Return every metric as it is now. Durations are in seconds."""
        self.before_reading()
        served, version = (ROUTE, TARGET, MODEL, VERSION), (MODEL, VERSION)
        in_flight = [((), self.in_flight + self.in_flight_elsewhere())]
        durations = [(key, duration.read(NS_PER_S)) for key, duration in _copy(self._durations)]
        rpcs = [(key, duration.read(NS_PER_S)) for key, duration in _copy(self._rpcs)]
        runs = _copy(self._runs)
        queue = [(key, each.queue.read(NS_PER_S)) for key, each in runs]
        run = [(key, each.run.read(NS_PER_S)) for key, each in runs]
        rows = [(key, each.rows.read()) for key, each in runs]
        waiting = [(key, each.waiting_rows()) for key, each in runs]
        timed_out = [(key, each.timed_out) for key, each in runs]
        feature_rows = [(key, each.feature_rows) for key, each in runs if each.feature_rows]
        odd = [((*key, *what), count) for key, each in runs for what, count in _copy(each.odd)]
        states = [((*key, state.value), 1) for key, state in _copy(self._states)]
        return (
            counter("turnout.requests", "{request}", _REQUESTS, (*served, REASON, CODE), self._requests()),
            histogram("turnout.request.duration", "s", _DURATION, served, durations),
            gauge(
                "turnout.requests.in_flight",
                "{request}",
                _IN_FLIGHT,
                (),
                in_flight,
            ),
            histogram("turnout.queue.duration", "s", "How long requests waited for their run.", version, queue),
            histogram("turnout.run.duration", "s", "How long runs of the model took.", version, run),
            histogram("turnout.batch.rows", "{row}", "How many rows runs had.", version, rows),
            gauge("turnout.queue.rows", "{row}", "Rows that wait for their run.", version, waiting),
            counter("turnout.runs.timed_out", "{run}", _TIMED_OUT, version, timed_out),
            counter("turnout.feature.rows", "{row}", _FEATURE_ROWS, version, feature_rows),
            counter("turnout.features.odd", "{row}", _ODD, (*version, FEATURE, OUTCOME), odd),
            histogram("turnout.event_loop.lag", "s", _LAG, (), [((), self.loop_lag.read(NS_PER_S))]),
            counter("turnout.mirrors", "{request}", _MIRRORS, (ROUTE, MODEL, VERSION, OUTCOME), _copy(self._mirrors)),
            gauge("turnout.model.state", "1", _STATE, (MODEL, VERSION, STATE), states),
            counter("turnout.model.loads", "{load}", _LOADS, (MODEL, OUTCOME), _copy(self._loads)),
            counter("turnout.store.looks", "{look}", _LOOKS, (OUTCOME,), _copy(self._looks)),
            gauge("turnout.store.reads.stuck", "{read}", _STUCK, (), [((), self.stuck_reads())]),
            counter("turnout.tasks.restarts", "{restart}", _RESTARTS, (TASK,), _copy(self._restarts)),
            counter("turnout.route_table.reloads", "{reload}", _RELOADS, (OUTCOME,), _copy(self._reloads)),
            histogram("rpc.server.call.duration", "s", "How long calls took.", (METHOD, STATUS), rpcs)._replace(
                prometheus="turnout_rpc_duration_seconds", common=((RPC_SYSTEM, "grpc"),)
            ),
            counter("turnout.rpc.messages", "{message}", _MESSAGES, (METHOD, STATUS), _copy(self._messages)),
            *(family for other in self._others for family in other.families()),
        )

    def _requests(self) -> Iterable[tuple[Labels, int]]:
        for served, answers in _copy(self._answers):
            for code, count in _copy(answers.codes):
                yield (*served[:4], served[4].value, code), count
        for (route, code), count in _copy(self._refused):
            yield (route, "", "", "", "", code), count


_MESSAGES = "Messages of streams that were answered, by how they would have ended as calls."
_REQUESTS = "Requests, by who answered, why, and how they ended; without a target, those that were refused."
_DURATION = "From a request's arrival to its end, for requests that got a target, however they ended."
_IN_FLIGHT = "Calls in progress."
_TIMED_OUT = "Runs that took longer than run_timeout_s, and were ended."
_FEATURE_ROWS = "Rows of typed requests: those that were made of features, whatever became of them."
_ODD = "Rows of these whose feature was defaulted, nan without a default, or out_of_range of what training has seen."
_LAG = "How much later than asked the event loop did something."
_MIRRORS = "Copies of requests: sent, dropped because of other work, failed, or not sent as the same version answered."
_STATE = "1 for the state that a version is in."
_LOADS = "Attempts to load a version that have ended: ok or failed."
_LOOKS = "Looks at the store: ok or failed."
_STUCK = "Reads of the store that took too long and still have not ended; each keeps a thread."
_RESTARTS = "Tasks of the gateway's own that ended by an error and were started again."
_RELOADS = "New route tables: ok or refused."


def _nothing() -> None:
    """There is nothing to do."""


def _copy(counts: Mapping[Key, Value]) -> list[tuple[Key, Value]]:
    # At once: making the items may collect garbage, during which another thread may add to the dict.
    return list(dict(counts).items())
