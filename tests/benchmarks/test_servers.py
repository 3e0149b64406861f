"""How contenders are started, without starting any of the heavy ones."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from benchmarks import processes
from benchmarks.field import scenarios, triton, turnouts, wire
from benchmarks.field.measurement import Job
from benchmarks.field.own_runs import measured
from benchmarks.field.servers import Setup, Workshop, launched
from benchmarks.processes import Launch, Server, ServerFailedError
from turnout_server.onnx.binding import open_session
from turnout_server.onnx.trial import inspect
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec
from turnout_server.vocabulary.task import Task

ROWS = tuple({"x": row} for row in np.random.default_rng(1).standard_normal((3, 2, 32), np.float32))


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    path = tmp_path / "mlp.onnx"
    onnx.save(scenarios.mlp(), path)
    return path


class TestCores:
    def test_a_process_inherits_the_cores_and_this_one_keeps_its_own(self) -> None:
        before = os.sched_getaffinity(0)
        one = frozenset({max(before)})
        with processes._only_on(one):
            said = subprocess.check_output([sys.executable, "-c", "import os; print(*os.sched_getaffinity(0))"])
        assert {int(core) for core in said.split()} == one
        assert os.sched_getaffinity(0) == before

    def test_more_cores_than_there_are_is_an_error(self, tmp_path: Path) -> None:
        launch = turnouts._on_cores(10_000)
        with pytest.raises(ServerFailedError, match="10000 cores are needed"):
            launch(Workshop(tmp_path, tmp_path, tmp_path, tmp_path))


def test_cpu_of_a_child_that_has_ended_still_counts() -> None:
    before = processes.cpu_s(os.getpid())
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", busy], check=True)
    assert processes.cpu_s(os.getpid()) - before > 0.28


class TestLoops:
    @pytest.mark.parametrize(("name", "counts"), [("turnout-7", True), ("turnout-run-7", False)])
    def test_the_engines_shards_count_and_its_run_threads_do_not(self, name: str, counts: bool) -> None:
        """A thread of that name works, while this one waits."""
        worked, looked = threading.Event(), threading.Event()

        def work() -> None:
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(name)
            while time.thread_time() < 0.2:
                pass
            worked.set()
            looked.wait(60)

        before = processes.loops_cpu_s(os.getpid())
        thread = threading.Thread(target=work)
        thread.start()
        assert worked.wait(60)
        used = processes.loops_cpu_s(os.getpid()) - before
        looked.set()
        thread.join()
        assert (used > 0.19) == counts


class TestEvidence:
    """What is switched on must have been used: else its cost would be measured as nothing."""

    @pytest.fixture(autouse=True)
    def pretend(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @contextlib.contextmanager
        def serving(name: str, launch: Launch, directory: Path, bodies: Any) -> Iterator[Server]:
            written = "something" if directory.name == "used" else ""
            (directory / f"{name}.log").write_text(written)
            for option in launch.command:
                if option.startswith("journal.path="):
                    hour = Path(option.removeprefix("journal.path=")) / "hour=1"
                    hour.mkdir(parents=True)
                    (hour / "1.parquet").write_text(written)
            yield Server(1, "127.0.0.1:1")

        monkeypatch.setattr(turnouts, "serving", serving)
        monkeypatch.setattr(turnouts, "_engine", lambda workshop, *options: Launch(list(options), 1))

    @pytest.mark.parametrize("kind", ["journal", "traced"])
    @pytest.mark.parametrize("name", ["used", "unused"])
    def test_without_it_nothing_was_measured(self, kind: str, name: str, tmp_path: Path) -> None:
        directory = tmp_path / name
        directory.mkdir()
        (setup,) = turnouts.SETUPS[kind]
        workshop = Workshop(directory, directory, directory, directory)
        refused = pytest.raises(ServerFailedError) if name == "unused" else contextlib.nullcontext()
        with refused, setup.start(setup, workshop, ()) as server:
            assert server.address == "127.0.0.1:1"


class TestOwnRuns:
    def job(self, mlp: Path, expected: tuple[bytes, ...]) -> Job:
        bodies = tuple(wire.encode("mlp", inspect(mlp), inputs) for inputs in ROWS)
        return Job(
            target=str(mlp.parent),
            pid=1,
            requests=bodies,
            concurrency=16,
            seconds=0.001,
            warmup_s=0.001,
            method="",
            expected=expected,
        )

    def test_each_run_is_an_answer(self, mlp: Path) -> None:
        session = open_session(mlp, RuntimeOptions())
        expected = tuple(session.run(["y"], inputs)[0].tobytes() for inputs in ROWS)
        found = asyncio.run(measured(self.job(mlp, expected), asyncio.Event()))
        assert found.answers > 0
        assert found.codes == {"OK": found.answers}
        assert found.errors == 0

    def test_other_answers_than_expected_end_it(self, mlp: Path) -> None:
        wrong = np.zeros(2, np.float32).tobytes()
        with pytest.raises(SystemExit, match="twice"):
            asyncio.run(measured(self.job(mlp, (wrong, wrong, wrong)), asyncio.Event()))


class TestTriton:
    def test_it_is_where_the_environment_says(self) -> None:
        assert triton.given({"TRITON": "127.0.0.1:8001", "TRITON_PID": "42"}) == ("127.0.0.1:8001", 42)
        assert triton.given({}) is None

    @pytest.mark.parametrize(
        "environment",
        [
            {"TRITON": "h:1"},
            {"TRITON_PID": "1"},
            {"TRITON": "h", "TRITON_PID": "1"},
            {"TRITON": "h:1", "TRITON_PID": "x"},
        ],
    )
    def test_half_of_it_is_refused(self, environment: dict[str, str]) -> None:
        with pytest.raises(ServerFailedError, match="expected HOST:PORT and the number of a process"):
            triton.given(environment)

    def test_nobody_there_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(triton, "_PATIENCE_S", 0.05)
        with pytest.raises(ServerFailedError, match="DEADLINE_EXCEEDED"):
            triton.version(f"127.0.0.1:{processes.free_port()}")

    def test_a_model_that_leaves_room_gets_batches(self, mlp: Path) -> None:
        one_row = scenarios.Scenario("mlp", "", Task.TENSORS, inspect(mlp), mlp, ROWS)
        text = triton.configuration(one_row)
        assert "max_batch_size: 64" in text
        assert 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 32 ] } ]' in text
        assert "dynamic_batching" in text
        many = one_row._replace(inputs=({"x": np.zeros((500, 32), np.float32)},))
        text = triton.configuration(many)
        assert "max_batch_size: 0" in text
        assert "dims: [ -1, 32 ]" in text
        assert "dynamic_batching" not in text

    def test_text_has_a_name_of_its_own_there(self, mlp: Path) -> None:
        signature = Signature((TensorSpec("cut", DType.BYTES, (-1, 1)),), (TensorSpec("y", DType.FP32, (-1,)),))
        inputs = ({"cut": np.array([["Ideal"]], object)},)
        text = triton.configuration(scenarios.Scenario("price", "", Task.TENSORS, signature, mlp, inputs))
        assert 'name: "cut" data_type: TYPE_STRING dims: [ -1, 1 ]' in text
        assert "max_batch_size: 0" in text  # an output without a second axis cannot be cut into batches there

    def test_a_repository_has_a_folder_a_model(self, mlp: Path, tmp_path: Path) -> None:
        one = scenarios.Scenario("mlp", "", Task.TENSORS, inspect(mlp), mlp, ROWS)
        triton.write_repository({"mlp": one, "again": one._replace(name="again", model="mlp")}, tmp_path / "root")
        files = [str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*") if path.is_file()]
        assert sorted(files) == ["mlp/1/model.onnx", "mlp/config.pbtxt"]


def test_a_setup_has_a_name_of_its_own() -> None:
    setup = Setup("kserve", "uvloop", "", launched(lambda workshop: Launch([], 1)))
    assert setup.name == "kserve-uvloop"
    assert setup._replace(variant="").name == "kserve"
