"""The bridge to the load generator in Rust: what it is called with, and what is made of what it says."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.field import generators, native_generator
from benchmarks.field.measurement import Job, Measures
from benchmarks.field.native_generator import BuildError, NativeGenerator, arguments, build, framed, measurement
from benchmarks.processes import ServerFailedError

FOUND: dict[str, Any] = {
    "answers_per_s": 100.0,
    "seconds": 2.0,
    "calls": 210,
    "answers": 200,
    "errors": {"UNAVAILABLE": 10, "WRONG_ANSWER": 1},
    "latency_us": {"count": 199, "mean": 900.0, "p50": 1000.0, "p95": 2000.0, "p99": 4000.0, "max": 5000.0},
    "server_cpu_us": 500.0,
    "own_cpu_us": 20.0,
    "own_cpu_share": 0.5,
}
JOB = Job(target="127.0.0.1:1", pid=7, requests=(b"ab", b""), concurrency=16, seconds=2.0, warmup_s=0.5, method="a.B/C")


def script(path: Path, text: str) -> Path:
    """Write an executable that runs *text* as Python."""
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return path


def test_messages_are_framed_as_grpc_does_it() -> None:
    assert framed([b"ab", b""]) == b"\0\0\0\0\2ab\0\0\0\0\0"


def test_a_job_becomes_the_programs_arguments(tmp_path: Path) -> None:
    given = arguments(JOB, tmp_path)
    said = dict(zip(given[::2], given[1::2], strict=True))
    assert said["--callers"] == "16"
    assert said["--connections"] == "8"
    assert said["--pid"] == "7"
    assert Path(said["--requests"]).read_bytes() == framed(JOB.requests)
    assert (said["--method"], said["--sampled"]) == ("a.B/C", "0.0")
    assert "--expect" not in said


def test_answers_that_are_expected_go_along(tmp_path: Path) -> None:
    given = arguments(msgspec.structs.replace(JOB, expected=(b"x", b"yz")), tmp_path)
    assert given[-1] == "--nearly"
    assert Path(given[given.index("--expect") + 1]).read_bytes() == framed([b"x", b"yz"])
    assert given[given.index("--field") + 1] == "6"


def test_what_is_no_number_is_compared_as_bytes(tmp_path: Path) -> None:
    job = msgspec.structs.replace(JOB, expected=(b"x", b"yz"), field=1, nearly=False, sampled=1.0)
    given = arguments(job, tmp_path)
    assert "--nearly" not in given
    assert given[given.index("--field") + 1] == "1"
    assert given[given.index("--sampled") + 1] == "1.0"


def test_what_it_found_is_in_seconds() -> None:
    found = measurement(FOUND, busy=3.0, took=4.0)
    assert (found.throughput, found.p50, found.p99) == (100.0, 0.001, 0.004)
    assert (found.server_cpu, found.generator_cpu) == (5e-4, 2e-5)
    assert (found.answers, found.errors, found.codes["OK"]) == (210, 11, 200)
    assert not found.generator_bound
    # The machine was busy on 0.75 cores, and of those 520 µs a call, 105 calls a second, are the two's own.
    assert found.others_cpu == pytest.approx(0.75 - 520e-6 * 105)
    assert measurement(FOUND | {"own_cpu_share": 0.95}, 3.0, 4.0).generator_bound


def test_nothing_answered_is_a_failure() -> None:
    nothing = FOUND | {"latency_us": FOUND["latency_us"] | {"count": 0}}
    with pytest.raises(ServerFailedError, match=r"nothing was answered.*UNAVAILABLE"):
        measurement(nothing, 1.0, 1.0)


def test_the_program_is_run_for_each_job(tmp_path: Path) -> None:
    program = script(tmp_path / "program", f"print({msgspec.json.encode(FOUND).decode()!r})")
    assert NativeGenerator(program).measure(JOB).throughput == 100.0


def test_what_the_program_complains_of_is_passed_on(tmp_path: Path) -> None:
    program = script(tmp_path / "program", "import sys; sys.exit('there is no process 7')")
    with pytest.raises(ServerFailedError, match="there is no process 7"):
        NativeGenerator(program).measure(JOB)


def test_without_cargo_nothing_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="there is no cargo"):
        build(tmp_path / "target")


def test_a_build_that_fails_says_why_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "cargo", "import sys; sys.exit('error: no network\\n\\nmuch more')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError) as refused:
        build(tmp_path / "target")
    assert str(refused.value) == "cargo: error: no network"


def test_cargo_is_not_to_change_what_is_locked_nor_to_wait_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = tmp_path / "noted"
    script(
        tmp_path / "cargo",
        f"import os, sys; open({str(noted)!r}, 'w').write(' '.join(sys.argv) + os.environ['CARGO_NET_RETRY'])",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CARGO_NET_RETRY", raising=False)
    program = build(tmp_path / "target")
    assert program == tmp_path / "target" / "release" / "turnout-loadgen"
    said = noted.read_text()
    assert "--locked" in said
    assert str(native_generator.CRATE / "Cargo.toml") in said
    assert said.endswith("1")


class _Portable:
    def __enter__(self) -> _Portable:
        return self

    def __exit__(self, *error: object) -> None:
        pass


def no_build(target: Path = native_generator.TARGET) -> Path:
    raise BuildError("there is no cargo")


def chosen(wanted: str) -> tuple[str, Measures]:
    with generators.generating(wanted) as found:
        return found


def test_python_does_it_where_rust_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generators, "build", no_build)
    monkeypatch.setattr(generators, "Generator", _Portable)
    how, measures = chosen("auto")
    assert "Python" in how
    assert isinstance(measures, _Portable)
    assert "there is no cargo" in capsys.readouterr().err
    with pytest.raises(BuildError):
        chosen("rust")


def test_rust_does_it_where_it_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generators, "build", lambda: Path(os.devnull))
    for wanted in ("auto", "rust"):
        how, measures = chosen(wanted)
        assert "Rust" in how
        assert isinstance(measures, NativeGenerator)
