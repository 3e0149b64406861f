"""A process that publishes and dies; run by the tests, commanded by lines on its standard input.

`step N` forks a child that is killed before the N-th line of the store's code that it would run; `kill SECONDS` forks
one that the kernel kills once it has had that much of a processor, however long a busy machine takes to give it that;
`publish N` publishes N versions here. Each is answered by one line.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from turnout_server.store import files
from turnout_server.store.publish import Draft, publish
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.task import Task

ROOT, SOURCE = Path(sys.argv[1]), Path(sys.argv[2])
STORE_CODE = str(Path(files.__file__).parent)
TABLES = ("first: table\n", "second: table\n")


def change_everything() -> int:
    """Publish, move the label, replace the route table, suspend the model and resume it."""
    draft = Draft(
        model="price",
        task=Task.TENSORS,
        signature=Signature((), ()),
        files={"model.onnx": SOURCE, "external/weights.bin": SOURCE},
    )
    version = publish(ROOT, draft, labels=["champion"]).version
    store = DirectoryStore(ROOT)
    store.write_routes(TABLES[version % 2])
    store.suspend("price")
    store.resume("price")
    return version


def die_at(step: int) -> None:
    """Kill this process before the *step*-th line from now on of the store's code."""
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(STORE_CODE):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def in_child(step: int | None, seconds: float) -> str:
    """Fork a child, see it killed; say `killed`, or `done` where it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            if step is not None:
                die_at(step)
                change_everything()
                os._exit(0)
            signal.setitimer(signal.ITIMER_PROF, seconds)  # nobody handles its signal, so it kills
            while True:
                change_everything()
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "killed"
    return "done" if os.WEXITSTATUS(status) == 0 else "failed"


def obey(command: str, number: str) -> str:
    """Do what one line says; return the answer."""
    if command == "publish":
        return " ".join(str(change_everything()) for _ in range(int(number)))
    return in_child(int(number) if command == "step" else None, float(number))


files.CHUNK_BYTES = 1 << 10  # Many chunks, so that many of the deaths are in the middle of a file.
if "--no-sync" in sys.argv:
    os.fsync = lambda fd: None  # A killed process loses nothing that it gave to the kernel.
for line in sys.stdin:
    print(obey(*line.split()), flush=True)
