"""Versions are tried out in processes of their own: whatever one does there costs that version alone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.onnx.graphs import INT64, graph, linear, manifest, saved, value
from turnout_server.onnx import children as module
from turnout_server.onnx.children import Children
from turnout_server.onnx.conversation import Began, Passed, Refused, Step
from turnout_server.store.manifest import Manifest
from turnout_server.vocabulary.errors import InvalidModelError
from turnout_server.vocabulary.signature import DType, Signature, TensorSpec

MEMORY_BYTES = 1 << 30
LONG_S = 60.0
"""Longer than any step takes that comes to an end."""
COUNT = Signature((TensorSpec("n", DType.INT64, (1,)),), (TensorSpec("y", DType.INT64, (-1,)),), batched=False)


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Children that the tests share, as the versions of a gateway do; the binding is there wherever the tests run."""
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as shared:
        yield shared


def endless() -> ModelProto:
    """A loop of 2**62 rounds, which begins as soon as it is run."""
    i, going, going_on = value("i", INT64, []), value("c", TensorProto.BOOL, []), value("d", TensorProto.BOOL, [])
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["v", "i"], ["w"])],
        "body",
        [i, going, value("v", INT64, [1])],
        [going_on, value("w", INT64, [1])],
    )
    constants = [numpy_helper.from_array(np.array(2**62), "rounds"), numpy_helper.from_array(np.array(True), "yes")]
    nodes = [helper.make_node("Loop", ["rounds", "yes", "n"], ["y"], body=body)]
    return graph(nodes, [value("n", INT64, [1])], [value("y", INT64, [1])], constants)


def greedy() -> ModelProto:
    """100 GB of zeros."""
    size = numpy_helper.from_array(np.array([100 * 10**9 // 4]), "size")
    nodes = [
        helper.make_node("Mul", ["n", "n"], ["m"]),
        helper.make_node("Add", ["m", "size"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["c"]),
        helper.make_node("Shape", ["c"], ["y"]),
    ]
    return graph(nodes, [value("n", INT64, [1])], [value("y", INT64, [1])], [size])


def tried(children: Children, directory: Path, model: ModelProto, of: Manifest | None = None) -> Passed:
    directory.mkdir(exist_ok=True)
    return children.try_out(saved(directory, model), of or manifest())


def test_a_good_version_passes_with_its_run_times_and_the_child_is_used_again(
    children: Children, tmp_path: Path
) -> None:
    passed = tried(children, tmp_path, linear())
    assert sorted(passed.measured) == [1, 64]
    assert passed.independent
    before = children.pids
    tried(children, tmp_path, linear())
    assert children.pids == before


def test_a_version_that_is_refused_costs_no_child(children: Children, tmp_path: Path) -> None:
    tried(children, tmp_path, linear())
    before = children.pids
    with pytest.raises(InvalidModelError, match=r"'x' has shape \[-1, 3\] in the graph, \[-1, 2\] in the manifest"):
        tried(children, tmp_path, linear(width=3))
    assert children.pids == before


def test_a_version_that_wants_too_much_memory_is_refused_and_the_next_one_is_not(
    children: Children, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModelError, match=r"its first runs needed more than 1024 MB \(store\.load_memory_mb\)"):
        tried(children, tmp_path / "greedy", greedy(), manifest(COUNT))
    assert tried(children, tmp_path / "good", linear()).independent


def test_a_version_that_never_ends_is_refused_and_its_child_is_gone(tmp_path: Path) -> None:
    with contextlib.closing(Children("binding", 2.0, MEMORY_BYTES)) as children:
        with pytest.raises(InvalidModelError, match=r"its first runs took more than 2 s \(store\.load_timeout_s\)"):
            tried(children, tmp_path, endless(), manifest(COUNT))
        assert children.pids == []


def test_a_child_that_was_ended_while_it_rested_is_replaced(children: Children, tmp_path: Path) -> None:
    tried(children, tmp_path, linear())
    (pid,) = children.pids
    os.kill(pid, signal.SIGKILL)
    assert tried(children, tmp_path, linear()).independent
    assert children.pids != [pid]


def when_running(children: Children, directory: Path, deed: Callable[[int], None], times: int) -> Exception | None:
    """Try out a version that never ends, do *deed* to its child as often as said, and return what came of it."""
    raised: list[Exception] = []

    def ask() -> None:
        try:
            tried(children, directory, endless(), manifest(COUNT))
        except Exception as error:
            raised.append(error)

    steps: list[threading.Event] = [threading.Event() for _ in range(times)]
    begun = iter(steps)
    plain = module.Line.hear

    def hear(self: module.Line[module.Word], until: float | None = None) -> module.Word:
        word = plain(self, until)
        if isinstance(word, module.Began) and word.step == "its first runs":
            next(begun).set()
        return word

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module.Line, "hear", hear)
        asking = threading.Thread(target=ask)
        asking.start()
        for step in steps:
            assert step.wait(LONG_S)
            (pid,) = children.pids
            deed(pid)
        asking.join(LONG_S)
    assert not asking.is_alive()
    return raised[0] if raised else None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_named_after_a_second_try(children: Children, tmp_path: Path, number: signal.Signals) -> None:
    error = when_running(children, tmp_path, lambda pid: os.kill(pid, number), times=2)
    assert isinstance(error, InvalidModelError)
    assert error.message.startswith(f"its first runs crashed with signal {number.name}")
    assert tried(children, tmp_path, linear()).independent


def test_what_is_under_way_is_given_up_at_the_end(tmp_path: Path) -> None:
    children = Children("binding", LONG_S, MEMORY_BYTES)
    error = when_running(children, tmp_path, lambda pid: children.close(), times=1)
    assert isinstance(error, InvalidModelError)
    assert error.message == "its trial was given up, because the gateway ends"
    assert children.pids == []


def test_a_child_that_talks_nonsense_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose memory a graph has written to."""
    monkeypatch.setattr(module, "_DYING_S", 0.0)
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        monkeypatch.setattr(module.Line, "hear", lambda self, until: (_ for _ in ()).throw(ValueError()))
        with pytest.raises(InvalidModelError, match="its trial ended with an answer that makes no sense"):
            tried(children, tmp_path, linear())


@pytest.mark.parametrize(
    "word",
    [Began(Step.CHECK), Passed({0: 1}, True), Passed({1: -1}, True)],
    ids=["a step again and again", "no rows", "no time"],
)
def test_a_child_cannot_keep_its_gateway_for_ever_nor_tell_it_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: module.Word
) -> None:
    """A child's words are what a graph has made of them, once that has taken it over."""
    monkeypatch.setattr(module, "_DYING_S", 0.0)
    plain = module.Line.hear

    def hear(self: module.Line[module.Word], until: float | None = None) -> module.Word:
        plain(self, until)
        return self._decoder.decode(msgspec.msgpack.encode(word))

    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        monkeypatch.setattr(module.Line, "hear", hear)
        with pytest.raises(InvalidModelError, match="ended with an answer that makes no sense"):
            tried(children, tmp_path, linear())


def test_a_problem_is_told_in_short_and_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may name what is in the graph, and names there may be anything."""
    monkeypatch.setattr(module.Line, "hear", lambda self, until: Refused("\x1b[31m\nü" + "x" * 10_000))
    with (
        contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children,
        pytest.raises(InvalidModelError) as raised,
    ):
        tried(children, tmp_path, linear())
    assert raised.value.message.startswith("?[31m?üxxx")
    assert len(raised.value.message) < 1100


def test_children_at_rest_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    ended = threading.Event()
    reap = module.Child.reap

    def reaped(self: module.Child) -> None:
        reap(self)
        ended.set()

    monkeypatch.setattr(module.Child, "reap", reaped)
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        tried(children, tmp_path, linear())
        assert ended.wait(LONG_S)
        assert children.pids == []


GATEWAY = """
import sys, threading
from pathlib import Path
from tests.onnx.graphs import manifest
from tests.onnx.test_children import COUNT, MEMORY_BYTES, endless, saved
from turnout_server.onnx import children as module

children = module.Children("binding", 600.0, MEMORY_BYTES)
plain = module.Line.hear

def hear(self, until):
    word = plain(self, until)
    if isinstance(word, module.Began) and word.step == "its first runs":
        print(*children.pids, flush=True)
    return word

module.Line.hear = hear
children.try_out(saved(Path(sys.argv[1]), endless()), manifest(COUNT))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its run")
def test_a_child_ends_with_the_process_that_it_works_for(tmp_path: Path) -> None:
    """Also one that is killed, in the middle of a run that never ends."""
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as gateway:
        assert gateway.stdout is not None
        child = os.pidfd_open(int(gateway.stdout.readline()))
        gateway.kill()
        ended, _, _ = select.select([child], [], [], LONG_S)
        os.close(child)
        assert ended
