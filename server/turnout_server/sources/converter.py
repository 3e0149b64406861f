"""The program of a child that converts or fetches one model, and ends. Its publisher has bounded its time.

What it reads may be anybody's, and where unpickling was allowed it runs code of theirs: here nothing but the user's own
files is within its reach, as with any program that they start.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

import msgspec

from turnout_server.sources.conversation import ANSWER, GRAPH, Answer, Failed, Missing, Request
from turnout_server.sources.frameworks import convert
from turnout_server.sources.registry import fetch
from turnout_server.sources.source import Kind, SourceError

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Do what the one argument asks for, and leave the answer in a file."""
    request = msgspec.json.decode(sys.argv[1], type=Request)
    _end_with(int(sys.argv[2]))
    _bound(request.memory_bytes)
    answer = _answer(request)
    (Path(request.out) / ANSWER).write_bytes(msgspec.json.encode(answer))


def _answer(request: Request) -> Answer:
    out = Path(request.out)
    try:
        if request.kind is Kind.MLFLOW:
            return fetch(request.where, out)
        return convert(request, out / GRAPH)
    except ModuleNotFoundError as error:
        return Missing(error.name or str(error))
    except SourceError as error:
        return Failed(error.message)
    except MemoryError:
        return Failed("it takes more memory than half of the machine's")
    except (Exception, SystemExit) as error:
        return Failed(f"{type(error).__name__}: {error}")


def _end_with(publisher: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != publisher:
            sys.exit()


def _bound(memory_bytes: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if memory_bytes and (most == resource.RLIM_INFINITY or memory_bytes < most):
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
