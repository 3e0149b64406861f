"""SIGTERM ends a gateway, whatever is stuck in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np

from tests.e2e import conftest
from tests.e2e.conftest import Gateway, StartGateway, environment, serve_command
from tests.e2e.probes import connected, events, eventually, fp32, metrics, unary
from turnout_server.ends import LEAVING_S, STUCK_CODE
from turnout_server.rpc.stubs import open_inference_pb2 as oip

INFER = "inference.GRPCInferenceService/ModelInfer"
IN_TIME_S = LEAVING_S + 20
"""The bound, and what a busy machine takes."""

STUCK_LOADS = """\
import sys, threading
if "serve" in sys.orig_argv:
    from turnout_server.store.local import LocalFiles
    verified = LocalFiles.verified
    def stuck(self, model, version):
        if version == 9:
            threading.Event().wait()
        return verified(self, model, version)
    LocalFiles.verified = stuck
"""
"""Reading a version's files never ends, as with a disk that hangs."""


def test_a_run_that_never_ends_does_not_keep_the_process(tiny_store: Path, start_gateway: StartGateway) -> None:
    gateway = start_gateway(tiny_store, "--grace", "0")
    asked = oip.ModelInferRequest(model_name="slow")
    asked.inputs.add(name="rounds", datatype="INT64", shape=[1])
    asked.raw_input_contents.append(np.array([10**9], np.int64).tobytes())
    with connected(gateway.address) as channel:
        call = unary(channel, INFER).future(asked.SerializeToString(), timeout=100)
        eventually(lambda: sum(metrics(gateway, "turnout_requests_in_flight").values()) == 1)
        code = gateway.terminate(IN_TIME_S)
        call.cancel()
    # The engine ends runs; ONNX Runtime's binding for Python cannot, and the log says that one was left behind.
    left = events(gateway, "what does not end is left behind")
    assert code == (STUCK_CODE if left else 0)
    assert not left or left[0]["doing"][0].startswith("worker_")


def test_a_load_that_never_ends_does_not_keep_the_process(
    store: Path, tmp_path: Path, start_gateway: StartGateway
) -> None:
    (tmp_path / "sitecustomize.py").write_text(STUCK_LOADS)
    paths = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    gateway = start_gateway(store, "--set", "store.poll_s=0.1", env={"PYTHONPATH": paths})
    add_version_9(store)
    eventually(lambda: 'version="9"' in state_of(gateway))
    assert gateway.terminate(IN_TIME_S) == 0, "nobody misses it"
    (said,) = events(gateway, "versions do not end loading or unloading")
    assert said["versions"] == ["price version 9"]
    (left,) = events(gateway, "what does not end is left behind")
    assert left["doing"][0].startswith("loader_")


def add_version_9(store: Path) -> None:
    folder = Path(shutil.copytree(store / "models/price/1", store / "models/price/.9"))
    manifest = folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(manifest.read_text().replace('"version": 1,', '"version": 9,'))
    folder.rename(store / "models/price/9")


def state_of(gateway: Gateway) -> str:
    loading = metrics(gateway, "turnout_model_state")
    return ", ".join(f'{name}="{value}"' for labels in loading for name, value in labels)


def full_pipe() -> tuple[int, int]:
    """Return the ends of a pipe that has no room left: the one to read from first."""
    reader, end = os.pipe()
    os.set_blocking(end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(end, b" " * 4096)
    os.set_blocking(end, True)
    return reader, end


def test_a_log_that_nobody_reads_holds_up_neither_serving_nor_the_end(tiny_store: Path, tmp_path: Path) -> None:
    """Its pipe is full from the start."""
    reader, end = full_pipe()
    process = subprocess.Popen(
        serve_command(tiny_store, "--log-level", "debug"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=end,
        text=True,
        env=environment(),
    )
    os.close(end)
    try:
        line = conftest._first_line(process)
        assert line, "it did not start"
        gateway = Gateway(process, tiny_store, conftest.json.loads(line), tmp_path / "none")
        with connected(gateway.address) as channel:
            for _ in range(50):
                unary(channel, INFER)(fp32(1.0).SerializeToString(), timeout=30)
        process.send_signal(signal.SIGTERM)
        assert process.wait(IN_TIME_S) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        os.close(reader)


def test_the_greeting_that_nobody_reads_holds_up_nothing(tiny_store: Path) -> None:
    reader, end = full_pipe()
    process = subprocess.Popen(
        serve_command(tiny_store), stdin=subprocess.DEVNULL, stdout=end, stderr=subprocess.PIPE, env=environment()
    )
    os.close(end)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if b"data plane" in line:
                break
        time.sleep(1)  # until it greets; if it has not, the test shows less
        process.send_signal(signal.SIGTERM)
        assert process.wait(IN_TIME_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
        os.close(reader)
