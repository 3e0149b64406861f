"""The comparison's arithmetic, its tables, its requests; no server is started."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks import __main__ as entry
from benchmarks.field import results, scenarios, wire
from benchmarks.field.measurement import Measurement
from benchmarks.field.report import Run, ServerFacts, as_json, as_markdown
from benchmarks.field.results import Cell, Contest, Sample, Spread
from benchmarks.field.targets import Target, Verdict, verdicts
from turnout_server.onnx.binding import open_session
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.tensors import Array, Arrays

FIELD = Path(scenarios.__file__).parent


def measurement(throughput: float = 100.0, p99: float = 0.01, **more: Any) -> Measurement:
    fields: dict[str, Any] = {
        "throughput": throughput,
        "p50": p99 / 2,
        "p95": p99 / 1.5,
        "p99": p99,
        "server_cpu": 1 / throughput,
        "generator_cpu": 1e-4,
        "generator_bound": False,
        "answers": 300,
        "errors": 0,
        "others_cpu": 0.1,
        "codes": {"OK": 300},
    }
    return Measurement(**(fields | more))


def sample(
    server: str, number: int, throughput: float, concurrency: int = 8, scenario: str = "mlp", **more: Any
) -> Sample:
    return Sample(
        round=number,
        scenario=scenario,
        concurrency=concurrency,
        server=server,
        measured=measurement(throughput, **more),
    )


def run_of(*samples: Sample) -> Run:
    facts = ServerFacts(version="1", variant="", settings="as is", answers_checked=3, idle_cpu=0.0, peak_rss=2**20)
    return Run(
        machine={"system": "Linux"},
        titles={"mlp": "MLP"},
        rounds=3,
        seconds=1.0,
        warmup_s=0.5,
        generator="in Rust",
        checked=True,
        complete=True,
        servers={one.server: facts for one in samples},
        trials={},
        samples=samples,
    )


class TestResults:
    def test_a_ratio_is_taken_within_each_round_and_then_the_median(self) -> None:
        """The machine slows down threefold in the last round; the ratio of the medians would be 2.5."""
        ours, theirs = (300.0, 250.0, 80.0), (100.0, 125.0, 40.0)
        samples = [sample("turnout", n, rate) for n, rate in enumerate(ours)]
        samples += [sample("kserve", n, rate) for n, rate in enumerate(theirs)]
        assert results.ratios(samples, "throughput", "kserve") == {Cell("mlp", 8): Spread(2.0, 2.0, 3.0)}

    def test_a_round_without_the_rival_does_not_count(self) -> None:
        samples = [sample("turnout", 0, 200.0), sample("kserve", 0, 100.0), sample("turnout", 1, 900.0)]
        assert results.ratios(samples, "throughput", "kserve") == {Cell("mlp", 8): Spread(2.0, 2.0, 2.0)}

    def test_a_rival_that_answered_nothing_gives_no_ratio(self) -> None:
        samples = [sample("turnout", 0, 200.0), sample("kserve", 0, 1.0, server_cpu=0.0)]
        assert results.ratios(samples, "server_cpu", "kserve") == {}

    def test_summaries_keep_servers_and_cells_apart(self) -> None:
        samples = [sample("turnout", 0, 1.0), sample("turnout", 1, 3.0), sample("turnout", 0, 7.0, 32)]
        samples.append(sample("floor", 0, 9.0))
        assert results.summaries(samples, "throughput") == {
            Cell("mlp", 8): {"turnout": Spread(2.0, 1.0, 3.0), "floor": Spread(9.0, 9.0, 9.0)},
            Cell("mlp", 32): {"turnout": Spread(7.0, 7.0, 7.0)},
        }

    def test_every_server_has_its_turn_at_being_first(self) -> None:
        orders = [results.rotated("abc", by) for by in range(4)]
        assert orders == [["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"]]

    def test_the_fastest_setup_has_the_highest_geometric_mean(self) -> None:
        """The one with the highest sum is not it."""
        assert results.fastest({"spiky": (1000.0, 1.0), "even": (100.0, 100.0)}) == "even"

    def test_a_setup_that_answered_nothing_once_is_not_the_fastest(self) -> None:
        assert results.fastest({"broken": (0.0, 1e6), "slow": (1.0, 1.0)}) == "slow"

    def test_contenders_may_have_scenarios_of_their_own(self) -> None:
        """The same server, asked in two ways: what a typed call costs beside the same matrix as a tensor."""
        samples = [sample("turnout", n, 100.0, scenario="wide") for n in range(2)]
        samples += [sample("turnout", n, rate, scenario="rank") for n, rate in enumerate((50.0, 40.0))]
        contest = Contest("server_cpu", "turnout", "turnout", "rank", beside="wide")
        assert results.compared(samples, contest) == {Cell("rank", 8): Spread(2.25, 2.0, 2.5)}

    def test_a_difference_is_taken_within_each_round_too(self) -> None:
        samples = [sample("traced", n, 1.0, server_cpu=cpu) for n, cpu in enumerate((30e-6, 90e-6, 45e-6))]
        samples += [sample("turnout", n, 1.0, server_cpu=cpu) for n, cpu in enumerate((20e-6, 60e-6, 25e-6))]
        contest = Contest("server_cpu", "traced", "turnout", difference=True)
        (found,) = results.compared(samples, contest).values()
        assert found == pytest.approx((20e-6, 10e-6, 30e-6))


class TestTargets:
    def test_a_verdict_goes_by_the_median(self) -> None:
        samples = [sample("turnout", n, rate) for n, rate in enumerate((100.0, 300.0, 400.0))]
        samples += [sample("kserve", n, 100.0) for n in range(3)]
        target = Target(Contest("throughput", "turnout", "kserve"), least=2.5)
        assert verdicts(samples, [target]) == [Verdict(target, Cell("mlp", 8), Spread(3.0, 1.0, 4.0))]
        assert verdicts(samples, [target])[0].met
        assert not verdicts(samples, [target._replace(least=3.5)])[0].met

    def test_a_target_may_be_of_one_concurrency_only(self) -> None:
        samples = [sample(server, 0, 1.0, calls) for server in ("turnout", "floor") for calls in (1, 16)]
        target = Target(Contest("server_cpu", "turnout", "floor"), most=1.0)
        assert [one.cell.concurrency for one in verdicts(samples, [target])] == [1, 16]
        assert [one.cell.concurrency for one in verdicts(samples, [target._replace(at=16)])] == [16]

    @pytest.mark.parametrize(("found", "met"), [(0.99, False), (1.0, True), (2.0, True), (2.01, False)])
    def test_both_bounds_are_within(self, found: float, met: bool) -> None:
        assert Target(Contest("p99", "turnout", "floor"), least=1.0, most=2.0).met(found) == met

    def test_what_was_not_measured_is_not_judged(self) -> None:
        assert verdicts([sample("turnout", 0, 300.0)]) == []


class TestReport:
    def test_the_report_has_ratios_units_and_missed_targets(self) -> None:
        text = as_markdown(run_of(sample("turnout", 0, 200.0, p99=0.004), sample("kserve", 0, 100.0, p99=0.008)))
        assert "| mlp | 8 | 2.00 (2.00 to 2.00) | 0.50 (0.50 to 0.50) | 0.50 (0.50 to 0.50) |" in text
        assert "| 8 | Turnout | 200 (200 to 200) | 2.00 | 2.67 | 4.00 | 5000 | 100 | 0 |" in text
        assert "| throughput: Turnout / KServe | mlp | 8 | **2.000** (2.000 to 2.000) | at least 2.5 | missed |" in text
        assert "| p99: Turnout / KServe | mlp | 8 | **0.500** (0.500 to 0.500) | at most 1 | met |" in text

    def test_what_servers_cost_stands_side_by_side_with_shares_of_the_floors(self) -> None:
        samples = [sample("turnout", 0, 1.0, server_cpu=50e-6), sample("floor", 0, 1.0, server_cpu=500e-6)]
        samples += [sample("journal", 0, 1.0, 16, server_cpu=60e-6), sample("traced", 0, 1.0, server_cpu=72e-6)]
        text = as_markdown(run_of(*samples))
        assert "| mlp | 8 | 50 (0.100) | 500 |  | 72 (0.144) |" in text
        assert "| mlp | 16 |  |  | 60 |  |" in text
        assert "all calls traced - Turnout | mlp | 8 | **22.0** µs (22.0 to 22.0) | at most 30 µs | met |" in text

    def test_a_call_that_failed_is_said_at_once(self) -> None:
        assert "every answer was as it should be" in as_markdown(run_of(sample("turnout", 0, 1.0)))
        assert "**3 calls failed" in as_markdown(run_of(sample("turnout", 0, 1.0, errors=3)))

    @pytest.mark.parametrize("bound", [True, False])
    def test_figures_that_the_generator_bounds_are_marked(self, bound: bool) -> None:
        text = as_markdown(run_of(sample("turnout", 0, 200.0), sample("turnout", 1, 200.0, generator_bound=bound)))
        assert ("200 (200 to 200) † |" in text) == bound

    def test_errors_of_all_rounds_are_added_up(self) -> None:
        text = as_markdown(run_of(sample("turnout", 0, 200.0, errors=2), sample("turnout", 1, 200.0, errors=3)))
        assert "| 100 | 5 |" in text

    def test_the_data_has_every_sample_and_the_ratios(self) -> None:
        run = run_of(sample("turnout", 0, 200.0), sample("kserve", 0, 100.0))
        document = json.loads(as_json(run))
        assert [one["server"] for one in document["samples"]] == ["turnout", "kserve"]
        assert [(one["cell"], one["met"]) for one in document["targets"]] == [("mlp/8", True), ("mlp/8", False)]
        assert document["ratios"]["kserve"]["throughput"] == {"mlp/8": {"median": 2.0, "low": 2.0, "high": 2.0}}


class TestRequests:
    def test_a_request_carries_raw_contents_and_lengths_before_texts(self) -> None:
        signature = Signature(
            inputs=(TensorSpec("x", DType.FP32, (-1, 2)), TensorSpec("cut", DType.BYTES, (-1, 1))), outputs=()
        )
        arrays = {"cut": np.array([["Ideal"]], dtype=object), "x": np.array([[1, 2]], dtype=np.float32)}
        request = pb.ModelInferRequest.FromString(wire.encode("price", signature, arrays))
        assert request.model_name == "price"
        assert [(one.name, one.datatype, list(one.shape)) for one in request.inputs] == [
            ("x", "FP32", [1, 2]),
            ("cut", "BYTES", [1, 1]),
        ]
        assert list(request.raw_input_contents) == [np.array([1, 2], "<f4").tobytes(), b"\5\0\0\0Ideal"]

    def test_the_mlp_is_the_same_every_time(self) -> None:
        assert scenarios.mlp().SerializeToString() == scenarios.mlp().SerializeToString()


WANTED: Arrays = {"ids": np.array([[1, 2]], np.int64), "score": np.array([0.5, 0.25], np.float32)}


class TestAnswers:
    def response(self, **changed: Array) -> pb.ModelInferResponse:
        response = pb.ModelInferResponse()
        datatypes = {"i": "INT64", "f": "FP32"}
        for name, array in (dict(WANTED) | changed).items():
            response.outputs.add(name=name, datatype=datatypes[array.dtype.kind], shape=array.shape)
            response.raw_output_contents.append(array.tobytes())
        return response

    def test_equal_answers_do_not_differ(self) -> None:
        assert wire.difference(self.response(), WANTED) == ""

    def test_one_more_axis_of_one_is_no_difference(self) -> None:
        """MLServer gives outputs of one axis a second one."""
        assert wire.difference(self.response(score=WANTED["score"].reshape(2, 1)), WANTED) == ""

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"ids": np.array([[1, 3]], np.int64)}, "ids has other values"),
            ({"score": np.array([0.5, 0.2501], np.float32)}, "score has other values"),
            ({"score": np.array([0.5], np.float32)}, "score has shape"),
            ({"score": np.array([1, 2], np.int64)}, "score is 2 of int64"),
            ({"extra": np.array([1], np.int64)}, "outputs are"),
        ],
    )
    def test_wrong_answers_are_found(self, changed: dict[str, Array], said: str) -> None:
        assert said in wire.difference(self.response(**changed), WANTED)


class TestFairness:
    def test_the_rivals_sessions_have_turnouts_options(self, tmp_path: Path) -> None:
        """The options stand twice, because the rivals' environments have no Turnout."""
        path = tmp_path / "mlp.onnx"
        onnx.save(scenarios.mlp(), path)
        ours, theirs = (
            opened.get_session_options()
            for opened in (open_session(path, RuntimeOptions()), rival_sessions().open_session(path))
        )
        plain = [name for name in dir(ours) if isinstance(getattr(ours, name), bool | int | str)]
        assert "intra_op_num_threads" in plain
        assert {name: getattr(theirs, name) for name in plain} == {name: getattr(ours, name) for name in plain}
        spinning = "session.intra_op.allow_spinning"
        assert theirs.get_session_config_entry(spinning) == ours.get_session_config_entry(spinning)

    @pytest.mark.parametrize("rival", ["mlserver", "kserve"])
    def test_the_rivals_have_turnouts_onnx_runtime(self, rival: str) -> None:
        root = FIELD.parents[1]
        assert locked("onnxruntime", FIELD / "requirements" / f"{rival}.txt") == locked(
            "onnxruntime", root / "requirements" / "server.txt"
        )


@pytest.mark.parametrize("arguments", [[], ["nothing"]])
def test_an_unknown_benchmark_is_told_which_there_are(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(arguments) == 2
    assert "field,hotpath,overload,reload" in capsys.readouterr().err


def rival_sessions() -> ModuleType:
    """Import what runs in the rivals' environments, by its path as they do."""
    spec = importlib.util.spec_from_file_location("onnx_session", FIELD / "programs" / "onnx_session.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def locked(package: str, requirements: Path) -> str:
    (line,) = (one for one in requirements.read_text(encoding="utf-8").splitlines() if one.startswith(f"{package}=="))
    return line.split()[0]
