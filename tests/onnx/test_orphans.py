"""A gateway that is a container's first process keeps no zombies."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.e2e.conftest import environment

FIRST_PROCESS = """\
import ctypes, os, signal, subprocess
import psutil
from turnout_server.onnx.kept import _reap_orphans
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
other = subprocess.Popen(["sleep", "100"])
keeper = subprocess.Popen(["sh", "-c", "sleep 100 & sleep 100 & echo; wait"], stdout=-1, start_new_session=True)
keeper.stdout.readline()
os.killpg(keeper.pid, signal.SIGKILL)
keeper.wait()
_reap_orphans(keeper.pid)
print([child.pid == other.pid for child in psutil.Process().children()])
other.kill()
other.wait()
"""
"""A subreaper gets orphans as a container's first process does."""


@pytest.mark.skipif(sys.platform != "linux", reason="there are no subreapers")
def test_what_a_killed_keeper_leaves_is_waited_for_and_nobody_else_is() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FIRST_PROCESS],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("[True]\n", 0), ran.stderr
