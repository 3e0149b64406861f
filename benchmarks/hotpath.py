"""What a request costs in process, with no transport: the whole, and step by step.

For one row of a small MLP over the Open Inference Protocol, and for a ranking request of 500 candidates by 60 features
over the typed API; without tracing, with a trace that is not sampled, and with one that is. ONNX Runtime's own run is
measured beside it and taken off. Each figure is the median over rounds of the mean over calls.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import contextvars
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import uvloop
from onnx import TensorProto, helper
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

from benchmarks import journal as journal_bench
from turnout.v1 import ranking_service_pb2
from turnout_server.config import SchedulingConfig, StoreConfig
from turnout_server.execution.loading import Loading, opening, trial_memory_bytes
from turnout_server.execution.runner import Runner
from turnout_server.execution.workers import Workers
from turnout_server.gateway import spans as tracing
from turnout_server.gateway.data_plane import DataPlane
from turnout_server.gateway.names import LiveNames
from turnout_server.gateway.reconciler import Reconciler
from turnout_server.gateway.records import Records
from turnout_server.gateway.spans import Spans
from turnout_server.instruments.instruments import Instruments
from turnout_server.onnx.children import Children
from turnout_server.onnx.loader import binding
from turnout_server.onnx.trial import inspect
from turnout_server.routing.decide import decide
from turnout_server.rpc.open_inference import codec as codec
from turnout_server.rpc.open_inference.shared_memory import SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.rpc.turnout_v1.ranking import RankingService
from turnout_server.scheduling.shares import Shares
from turnout_server.serving.manager import Manager
from turnout_server.serving.version_policy import Latest
from turnout_server.store.local import LocalFiles
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.telemetry.past_spans import PastSpans
from turnout_server.vocabulary.query import Prediction, Query
from turnout_server.vocabulary.signature import Column, Signature, TensorSpec
from turnout_server.vocabulary.task import Task
from turnout_server.vocabulary.versions import VersionKey

CANDIDATES, FEATURES = 500, 60
_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{}"
TRACING: Mapping[str, str | None] = {"off": None, "unsampled": _TRACE.format(0), "sampled": _TRACE.format(1)}
"""The `traceparent` of the calls; with None there is no tracer at all."""
TARGET_US = 40.0
"""What one row of the MLP may cost beyond ONNX Runtime's run, without tracing."""
JOURNAL_TARGET_US = 5.0
"""What a record of the journal may cost, in CPU time of all threads."""


class FakeCall:
    """A call without a transport."""

    __slots__ = ("address", "deadline", "metadata", "principal")

    def __init__(self, metadata: Mapping[str, str]) -> None:
        self.address = self.principal = ""
        self.metadata = metadata
        self.deadline: float | None = None


class Gateway(NamedTuple):
    """All that stands behind a transport."""

    names: LiveNames
    manager: Manager[Runner]
    instruments: Instruments
    data_plane: DataPlane
    spans: Spans


class _Discard(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def tracer() -> Spans:
    """Return spans that are made, queued and thrown away by a thread of their own, as an exporter's are."""
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(0.0))
    processor = BatchSpanProcessor(_Discard())
    provider.add_span_processor(processor)
    return Spans(provider.get_tracer("bench"), PastSpans(processor, provider, ""), follows_parent=True)


def mlp(sizes: Sequence[int], output: Sequence[int | str]) -> onnx.ModelProto:
    """Return a perceptron with seeded weights; its output is `y`, of shape *output*."""
    random = np.random.default_rng(0)
    nodes, constants, last = [], [], "x"
    for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weights = (random.standard_normal((fan_in, fan_out)) / fan_in**0.5).astype(np.float32)
        constants += [onnx.numpy_helper.from_array(weights, f"w{index}")]
        constants += [onnx.numpy_helper.from_array(np.zeros(fan_out, np.float32), f"b{index}")]
        nodes.append(helper.make_node("Gemm", [last, f"w{index}", f"b{index}"], [f"g{index}"]))
        last = f"g{index}"
        if index < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [last], [f"r{index}"]))
            last = f"r{index}"
    if len(output) == 1:
        constants.append(onnx.numpy_helper.from_array(np.array([-1]), "flat"))
        nodes.append(helper.make_node("Reshape", [last, "flat"], ["score"]))
    else:
        nodes.append(helper.make_node("Identity", [last], ["score"]))
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", sizes[0]])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, output)],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def publish_models(store: Path) -> None:
    """Publish the two models and a route for each."""
    columns = tuple(Column(f"f{index}") for index in range(FEATURES))
    small, ranker = store.parent / "small.onnx", store.parent / "ranker.onnx"
    onnx.save(mlp((32, 64, 32, 1), ("n", 1)), small)
    onnx.save(mlp((FEATURES, 32, 1), ("n",)), ranker)
    publish(store, Draft(model="mlp", task=Task.TENSORS, signature=inspect(small), files={"model.onnx": small}))
    read = inspect(ranker)
    spec = read.inputs[0]
    signature = Signature((TensorSpec(spec.name, spec.dtype, spec.shape, columns=columns),), read.outputs)
    publish(store, Draft(model="ranker", task=Task.RANKING, signature=signature, files={"model.onnx": ranker}))
    routes = "routes:\n"
    for model, task in (("mlp", "tensors"), ("ranker", "ranking")):
        routes += f"  {model}:\n    task: {task}\n    salt: s\n    targets:\n"
        routes += f"      - {{name: a, model: {model}, version: 1, weight: 50}}\n"
        routes += f"      - {{name: b, model: {model}, version: 1, weight: 50}}\n"
    (store / "routes.yaml").write_text(routes, encoding="utf-8")


@contextlib.asynccontextmanager
async def gateway(store_path: Path, spans: Spans, executor: ThreadPoolExecutor) -> AsyncIterator[Gateway]:
    """Serve a store without a transport."""
    store, instruments = DirectoryStore(store_path), Instruments()
    workers = Workers(asyncio.get_running_loop(), executor, Shares(2, 2, 16), lambda: True)
    on_run = spans.batch_ran if spans.enabled else None
    scheduling = SchedulingConfig(inline_below_us=1e6)
    children = Children("binding", StoreConfig().load_timeout_s, trial_memory_bytes(None))
    open_version = opening(LocalFiles(store), children, binding())
    loading = Loading(open_version, workers, instruments, scheduling=scheduling, on_run=on_run)
    manager: Manager[Runner] = Manager(loading.load, Runner.close)
    names = LiveNames(manager)
    reconciler = Reconciler(store, names, manager, Latest(1))
    manager.subscribe(lambda status, error: reconciler.version_changed())
    await reconciler.look()
    await reconciler.settle()
    data_plane = DataPlane(names, manager, Records([instruments.read]), spans)
    try:
        yield Gateway(names, manager, instruments, data_plane, spans)
    finally:
        await manager.close()
        children.close()


def finished(coroutine: Any) -> Any:
    """Run a coroutine that never waits, and return what it returns."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("the request had to wait")


def mean_us(work: Callable[[], object], calls: int) -> float:
    """Return the mean CPU time of *work* in microseconds; everything takes place in this thread."""
    started = time.thread_time_ns()
    for _ in range(calls):
        work()
    return (time.thread_time_ns() - started) / calls / 1000.0


Steps = Mapping[str, Callable[[], object]]


def mlp_steps(behind: Gateway, metadata: Mapping[str, str]) -> Steps:
    """Return the steps of a one-row request; `whole` is all of them in a row, and `onnx runtime` only the run."""
    request = pb.ModelInferRequest(model_name="mlp")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 32])
    request.raw_input_contents.append(np.random.default_rng(1).standard_normal(32).astype(np.float32).tobytes())
    request.parameters["unit_id"].string_param = "customer-12345"
    raw, call, shared = request.SerializeToString(), FakeCall(metadata), SharedMemory(enabled=False)
    query = codec.decode(request, call, shared)
    runner = behind.manager.lease(VersionKey("mlp", 1)).servable
    arrays = query.prepare(runner.signature)
    prediction = finished(behind.data_plane.infer(query))
    behind.instruments.in_flight = 1

    def submit(item_query: Query) -> None:
        runner.submit(arrays, runner.output_names, None, lambda *answer: None, rows=1)

    def whole() -> None:
        message = pb.ModelInferRequest.FromString(raw)
        answer = finished(behind.data_plane.infer(codec.decode(message, call, shared)))
        codec.encode(message, answer, shared).SerializeToString()

    return {
        "parse the message": lambda: pb.ModelInferRequest.FromString(raw),
        "decode": lambda: codec.decode(request, call, shared),
        "decide": lambda: decide(behind.names, query, 0.5),
        "lease and release": lambda: behind.manager.lease(VersionKey("mlp", 1)).release(),
        "prepare the tensors": lambda: query.prepare(runner.signature),
        "admit, batch, run, count": lambda: submit(query),
        "data plane, all of it": lambda: finished(behind.data_plane.infer(query)),
        "encode": lambda: codec.encode(request, prediction, shared),
        "write the message": lambda: codec.encode(request, prediction, shared).SerializeToString(),
        "onnx runtime": lambda: runner.predictor.run(arrays, runner.output_names),
        "whole": traced(behind.spans, metadata, whole),
    }


def ranking_steps(behind: Gateway, metadata: Mapping[str, str]) -> Steps:
    """Return the steps of ranking 500 candidates by 60 features, of which the best ten are wanted."""
    random = np.random.default_rng(2)
    request = ranking_service_pb2.RankRequest(top_k=10)
    request.selector.name, request.selector.unit = "ranker", "customer-12345"
    request.candidate_ids.extend(f"item-{index}" for index in range(CANDIDATES))
    for index in range(FEATURES):
        column = request.candidate_features.add(name=f"f{index}")
        column.floats.values.extend(random.standard_normal(CANDIDATES).astype(np.float32).tolist())
    raw, call = request.SerializeToString(), FakeCall(metadata)
    runner = behind.manager.lease(VersionKey("ranker", 1)).servable
    arrays = {"x": random.standard_normal((CANDIDATES, FEATURES)).astype(np.float32)}
    service = RankingService(behind.data_plane)
    behind.instruments.in_flight = 1
    seen: list[Query] = []

    class Catch:
        async def infer(self, query: Query) -> Prediction:
            seen.append(query)
            return await behind.data_plane.infer(query)

    finished(RankingService(Catch()).Rank(request, call))

    def whole() -> None:
        finished(service.Rank(ranking_service_pb2.RankRequest.FromString(raw), call)).SerializeToString()

    return {
        "parse the message": lambda: ranking_service_pb2.RankRequest.FromString(raw),
        "columns to a matrix": lambda: seen[0].prepare(runner.signature),
        "data plane with the matrix": lambda: finished(behind.data_plane.infer(seen[0])),
        "onnx runtime": lambda: runner.predictor.run(arrays, runner.output_names),
        "whole": traced(behind.spans, metadata, whole),
    }


def traced(spans: Spans, metadata: Mapping[str, str], work: Callable[[], None]) -> Callable[[], None]:
    """Return *work* with a call's span around it, as the transports have it."""

    def call() -> None:
        span = spans.start("inference.GRPCInferenceService/ModelInfer", metadata)
        token = tracing.enter(span)
        work()
        spans.end(span, "OK")
        tracing.leave(token)

    return lambda: contextvars.copy_context().run(call)


class Result(NamedTuple):
    """One request's steps, in microseconds."""

    request: str
    tracing: str
    steps: Mapping[str, float]

    @property
    def beyond_us(self) -> float:
        """What the gateway adds to ONNX Runtime's run."""
        return self.steps["whole"] - self.steps["onnx runtime"]


async def measure(rounds: int, calls: int) -> list[Result]:
    """Measure everything, in alternating rounds."""
    makers = {"one row of the MLP": (mlp_steps, calls), "ranking 500 x 60": (ranking_steps, max(calls // 8, 1))}
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(1) as executor:
        store = Path(directory) / "store"
        store.mkdir()
        publish_models(store)
        for mode, traceparent in TRACING.items():
            spans = Spans() if traceparent is None else tracer()
            metadata = {} if traceparent is None else {"traceparent": traceparent}
            async with gateway(store, spans, executor) as behind:
                for request, (make, count) in makers.items():
                    steps = make(behind, metadata)
                    taken: dict[str, list[float]] = {name: [] for name in steps}
                    for _ in range(rounds):
                        for name, work in steps.items():
                            taken[name].append(mean_us(work, count))
                    results.append(
                        Result(request, mode, {name: statistics.median(each) for name, each in taken.items()})
                    )
    return results


def report(results: Sequence[Result]) -> str:
    """Return the results as Markdown."""
    lines = ["| request | tracing | whole, µs | ONNX Runtime, µs | beyond it, µs |", "|---|---|---|---|---|"]
    for request, mode, steps in results:
        whole, run = steps["whole"], steps["onnx runtime"]
        lines.append(f"| {request} | {mode} | {whole:.1f} | {run:.1f} | {whole - run:.1f} |")
    for request, mode, steps in results:
        if mode == "off":
            lines += ["", f"| {request}, step by step | µs |", "|---|---|"]
            lines += [f"| {name} | {us:.2f} |" for name, us in steps.items()]
    first = results[0]
    verdict = "within" if first.beyond_us <= TARGET_US else "ABOVE"
    lines += ["", f"{first.request}: {first.beyond_us:.1f} µs beyond ONNX Runtime, {verdict} the {TARGET_US:.0f} µs."]
    return "\n".join(lines)


def journal_verdict(journal_us: float, request: Result) -> str:
    """Say what the journal costs a request: all threads' CPU time, from `append` to the finished segment."""
    verdict = "within" if journal_us <= JOURNAL_TARGET_US else "ABOVE"
    share = journal_us / request.steps["whole"]
    return (
        f"The journal: {journal_us:.1f} µs of CPU time a record in the whole process, {verdict} the "
        f"{JOURNAL_TARGET_US:.0f} µs; {share:.1%} of what a request costs in process."
    )


def main(arguments: Sequence[str]) -> int:
    """Measure, print the table, and write it to build/benchmarks/hotpath.{md,json}."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks hotpath", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=800, help="calls a round, for the small request")
    parser.add_argument("--output", type=Path, default=Path("build/benchmarks"))
    options = parser.parse_args(arguments)
    results = uvloop.run(measure(options.rounds, options.calls))
    journal = statistics.median(journal_bench.cost_us() for _ in range(3))
    text = f"{report(results)}\n\n{journal_verdict(journal, results[0])}"
    print(text)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "hotpath.md").write_text(text + "\n", encoding="utf-8")
    rows: list[dict[str, Any]] = [{**each._asdict(), "beyond_us": each.beyond_us} for each in results]
    rows.append({"request": "a record of the journal", "cpu_us": journal})
    (options.output / "hotpath.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0
