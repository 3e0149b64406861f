"""A process that does something for the first time, on many threads at once."""

from __future__ import annotations

import subprocess
import sys

_THREADS = 8
_TRIES = 5
_SCRIPT = """
import sys, threading
{setup}
together = threading.Barrier({threads})
done = []

def first():
    together.wait()
    {call}
    done.append(True)

sys.setswitchinterval(1e-6)  # seconds: they take turns in the middle of everything
threads = [threading.Thread(target=first) for _ in range({threads})]
for one in threads:
    one.start()
for one in threads:
    one.join()
sys.exit(len(done) != {threads})
"""


def check_first_use(setup: str, call: str, *arguments: str) -> None:
    """Fail where *call* does not work on all threads; a crash shows in most of the tries.

    Args:
        setup: statements that run before, on one thread.
        call: what the threads do, each once.
        arguments: what it finds in `sys.argv[1:]`.
    """
    script = _SCRIPT.format(setup=setup, call=call, threads=_THREADS)
    for _ in range(_TRIES):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
