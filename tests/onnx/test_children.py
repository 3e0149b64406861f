"""Versions are tried out in processes of their own: whatever one does there costs that version alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np
import psutil
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.onnx.graphs import INT64, graph, linear, manifest, saved, value
from turnout_server.onnx import child, conversation, kept
from turnout_server.onnx import children as module
from turnout_server.onnx.children import Children
from turnout_server.onnx.conversation import Began, Line, Passed, Step, Word
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


def workers() -> set[int]:
    """Return the processes that this one's keepers keep."""
    found: set[int] = set()
    for keeper in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            found.update(one.pid for one in keeper.children())
    return found


def end_workers(number: signal.Signals) -> None:
    for pid in workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def tried(children: Children, directory: Path, model: ModelProto, of: Manifest | None = None) -> Passed:
    directory.mkdir(exist_ok=True)
    return children.try_out(saved(directory, model), of or manifest())


def test_a_good_version_passes_with_its_run_times_and_the_child_is_used_again(
    children: Children, tmp_path: Path
) -> None:
    passed = tried(children, tmp_path, linear())
    assert sorted(passed.measured) == [1, 64]
    assert set(passed.needs) <= {1, 64}
    assert passed.independent
    before = workers()
    tried(children, tmp_path, linear())
    assert workers() == before


def test_a_version_that_is_refused_costs_no_child(children: Children, tmp_path: Path) -> None:
    tried(children, tmp_path, linear())
    before = workers()
    with pytest.raises(InvalidModelError, match=r"'x' has shape \[-1, 3\] in the graph, \[-1, 2\] in the manifest"):
        tried(children, tmp_path, linear(width=3))
    assert workers() == before


def test_a_version_that_wants_too_much_memory_is_refused_and_the_next_one_is_not(
    children: Children, tmp_path: Path
) -> None:
    with pytest.raises(InvalidModelError, match=r"its first runs needed more than 1024 MB \(store\.load_memory_mb\)"):
        tried(children, tmp_path / "greedy", greedy(), manifest(COUNT))
    assert tried(children, tmp_path / "good", linear()).independent


def test_a_version_that_never_ends_is_refused_and_its_child_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step may take as long, and a busy machine may take long over any: the clock leaps once the run has begun."""
    passed_s = 0.0
    plain = Line.hear

    def hear(self: Line[Word], until: float | None = None) -> Word:
        nonlocal passed_s
        word = plain(self, until)
        if word == Began(Step.RUN):
            passed_s = LONG_S
        return word

    monkeypatch.setattr(Line, "hear", hear)
    monkeypatch.setattr(conversation, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s))
    before = workers()
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        with pytest.raises(InvalidModelError, match=r"its first runs took more than 60 s \(store\.load_timeout_s\)"):
            tried(children, tmp_path, endless(), manifest(COUNT))
        assert workers() <= before


def test_a_child_that_was_ended_while_it_rested_is_replaced(children: Children, tmp_path: Path) -> None:
    tried(children, tmp_path, linear())
    before = workers()
    end_workers(signal.SIGKILL)
    assert tried(children, tmp_path, linear()).independent
    assert not workers() & before


def when_running(children: Children, directory: Path, deed: Callable[[], None], times: int) -> Exception | None:
    """Try out a version that never ends, do *deed* while it runs as often as said, and return what came of it."""
    raised: list[Exception] = []

    def ask() -> None:
        try:
            tried(children, directory, endless(), manifest(COUNT))
        except Exception as error:
            raised.append(error)

    steps: list[threading.Event] = [threading.Event() for _ in range(times)]
    begun = iter(steps)
    plain = Line.hear

    def hear(self: Line[Word], until: float | None = None) -> Word:
        word = plain(self, until)
        if isinstance(word, Began) and word.step == "its first runs":
            next(begun).set()
        return word

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Line, "hear", hear)
        asking = threading.Thread(target=ask)
        asking.start()
        for step in steps:
            assert step.wait(LONG_S)
            deed()
        asking.join(LONG_S)
    assert not asking.is_alive()
    return raised[0] if raised else None


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_is_named_once_a_new_child_has_suffered_it(
    children: Children, tmp_path: Path, number: signal.Signals
) -> None:
    """The first one has tried out others, any of which may have spoilt it."""
    tried(children, tmp_path, linear())
    error = when_running(children, tmp_path, lambda: end_workers(number), times=2)
    assert isinstance(error, InvalidModelError)
    assert error.message.startswith(f"its first runs crashed with signal {number.name}")
    assert tried(children, tmp_path, linear()).independent


def test_a_crash_of_a_new_child_costs_no_other(tmp_path: Path) -> None:
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        error = when_running(children, tmp_path, lambda: end_workers(signal.SIGSEGV), times=1)
    assert isinstance(error, InvalidModelError)
    assert error.message == "its first runs crashed with signal SIGSEGV"


def test_what_is_under_way_is_given_up_at_the_end(tmp_path: Path) -> None:
    before = workers()
    children = Children("binding", LONG_S, MEMORY_BYTES)
    error = when_running(children, tmp_path, children.close, times=1)
    assert isinstance(error, InvalidModelError)
    assert error.message == "its trial was given up, because the gateway ends"
    assert workers() <= before


STARTS_ANOTHER = """
import os, pathlib, signal, sys
if sys.orig_argv[2:4] == ["-m", "turnout_server.onnx.child"] and os.fork() == 0:
    if {away}:
        os.setsid()
    pathlib.Path({note!r}).write_text(str(os.getpid()))
    signal.pause()
"""
"""What every child runs first that finds it as a module named `sitecustomize`: a process that holds all it has open."""


@pytest.fixture(params=[False, True], ids=["in its group", "in a group of its own"])
def grandchild(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Each child starts a process, whose number is then in the file."""
    note = tmp_path / "grandchild"
    (tmp_path / "sitecustomize.py").write_text(STARTS_ANOTHER.format(note=str(note), away=request.param))
    monkeypatch.syspath_prepend(tmp_path)
    yield note
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(note.read_text()), signal.SIGKILL)


def test_a_childs_end_is_noticed_whoever_holds_its_line_open(grandchild: Path, tmp_path: Path) -> None:
    with contextlib.closing(Children("binding", 600.0, MEMORY_BYTES)) as children:
        error = when_running(children, tmp_path, lambda: end_workers(signal.SIGSEGV), times=1)
    assert isinstance(error, InvalidModelError)
    assert error.message == "its first runs crashed with signal SIGSEGV"


@pytest.mark.parametrize("grandchild", [False], indirect=True)
def test_what_a_child_has_started_ends_with_it(grandchild: Path, tmp_path: Path) -> None:
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        tried(children, tmp_path, linear())
        started = psutil.Process(int(grandchild.read_text()))
    started.wait(LONG_S)


@pytest.mark.skipif(not child.SESSION.exists(), reason="sessions are nothing to this kernel")
def test_a_child_takes_nothing_of_what_its_gateways_session_gets(children: Children, tmp_path: Path) -> None:
    tried(children, tmp_path, linear())
    for pid in workers():
        assert os.getsid(pid) != os.getsid(0)
        assert Path(f"/proc/{pid}/autogroup").read_text().split()[-1] == str(child.SESSION_NICENESS)


def test_a_child_whose_keeper_somebody_has_ended_is_replaced(tmp_path: Path) -> None:
    before = workers()
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        tried(children, tmp_path, linear())
        (worker,) = (psutil.Process(pid) for pid in workers() - before)
        keeper = worker.parent()
        assert keeper is not None
        keeper.kill()
        assert tried(children, tmp_path, linear()).independent
        worker.wait(LONG_S)


def test_a_child_that_talks_nonsense_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose memory a graph has written to."""
    monkeypatch.setattr(kept, "_DYING_S", 0.0)
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        monkeypatch.setattr(Line, "hear", lambda self, until: (_ for _ in ()).throw(ValueError()))
        with pytest.raises(InvalidModelError, match="its trial ended with an answer that makes no sense"):
            tried(children, tmp_path, linear())


@pytest.mark.parametrize(
    "word",
    [Began(Step.CHECK), Passed({0: 1}, True), Passed({1: -1}, True)],
    ids=["a step again and again", "no rows", "no time"],
)
def test_a_child_cannot_keep_its_gateway_for_ever_nor_tell_it_nonsense(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: Word
) -> None:
    """A child's words are what a graph has made of them, once that has taken it over."""
    monkeypatch.setattr(kept, "_DYING_S", 0.0)
    plain = Line.hear

    def hear(self: Line[Word], until: float | None = None) -> Word:
        plain(self, until)
        return self._decoder.decode(msgspec.msgpack.encode(word))

    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        monkeypatch.setattr(Line, "hear", hear)
        with pytest.raises(InvalidModelError, match="ended with an answer that makes no sense"):
            tried(children, tmp_path, linear())


def test_children_at_rest_end_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_S", 0.0)
    ended = threading.Event()
    reap = kept.KeptChild.reap

    def reaped(self: kept.KeptChild) -> None:
        reap(self)
        ended.set()

    monkeypatch.setattr(kept.KeptChild, "reap", reaped)
    before = workers()
    with contextlib.closing(Children("binding", LONG_S, MEMORY_BYTES)) as children:
        tried(children, tmp_path, linear())
        assert ended.wait(LONG_S)
        assert workers() <= before


GATEWAY = """
import sys
from pathlib import Path
import psutil
from tests.onnx.graphs import manifest
from tests.onnx.test_children import COUNT, MEMORY_BYTES, endless, saved
from turnout_server.onnx.children import Children
from turnout_server.onnx.conversation import Began, Line

children = Children("binding", 600.0, MEMORY_BYTES)
plain = Line.hear

def hear(self, until):
    word = plain(self, until)
    if isinstance(word, Began) and word.step == "its first runs":
        print(*(one.pid for one in psutil.Process().children(recursive=True)), flush=True)
    return word

Line.hear = hear
children.try_out(saved(Path(sys.argv[1]), endless()), manifest(COUNT))
"""


@pytest.mark.parametrize("grandchild", [False], indirect=True)
def test_nothing_is_left_of_a_gateway_that_was_killed(grandchild: Path, tmp_path: Path) -> None:
    """In the middle of a run that never ends."""
    with subprocess.Popen(
        [sys.executable, "-c", GATEWAY, tmp_path],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as gateway:
        assert gateway.stdout is not None
        started = [psutil.Process(int(pid)) for pid in gateway.stdout.readline().split()]
        assert int(grandchild.read_text()) in [one.pid for one in started]
        gateway.kill()
        _, alive = psutil.wait_procs(started, LONG_S)
        assert not alive
