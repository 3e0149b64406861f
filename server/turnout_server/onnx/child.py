"""The program of a child that tries versions out for a gateway, one after the other, until the gateway hangs up.

What it is told comes as `turnout_server.onnx.conversation` says, on its standard input, which is a socket. It is
started by its keeper (`turnout_server.onnx.keeper`).
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import msgspec

from turnout_server.onnx.conversation import (
    REQUESTS,
    Began,
    Line,
    OutOfMemory,
    Passed,
    Puzzled,
    Refused,
    Request,
    Settings,
    Word,
)
from turnout_server.onnx.session import OpenSession
from turnout_server.onnx.trial import load
from turnout_server.vocabulary.errors import TurnoutError

NICENESS = 10
"""Requests go before trials."""
SESSION = Path("/proc/self/autogroup")
"""Where Linux shares the processor among sessions, and only in them by niceness, a session has one, too."""
SESSION_NICENESS = 5
"""A third of what the gateway gets where both want all. Less, and on a machine that many use trials would never end."""
_PATIENCE = (5, 0.1)
"""How often that is tried to be set, and how long is waited after each, in seconds: ten a second are allowed."""
_EXPENDABLE = "1000"
"""Where memory ends, the kernel takes this process first, and not the gateway."""
_PR_SET_PDEATHSIG = 1
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory")
"""How ONNX Runtime says that it got none."""


def main() -> None:
    """Try out what is asked for until nobody is there to ask."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    _end_with(keeper=int(sys.argv[2]))
    _be_modest(settings.memory_bytes)
    open_session: OpenSession = importlib.import_module(f"turnout_server.onnx.{settings.opener}").open_session
    end = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    with contextlib.closing(Line(end, REQUESTS)) as line, contextlib.suppress(EOFError, OSError):
        while True:
            line.say(_answer(line.hear(), open_session, line, settings.extensions))


def _answer(request: Request, open_session: OpenSession, line: Line[Request], extensions: bool) -> Word:
    try:
        loaded = load(
            Path(request.directory), request.manifest, open_session, lambda step: line.say(Began(step)), extensions
        )
        loaded.servable.close()
    except Exception as error:
        if any(_is_no_memory(one) for one in _causes(error)):
            return OutOfMemory()
        if isinstance(error, TurnoutError):
            return Refused(error.message)
        return Puzzled(type(error).__name__, traceback.format_exc())
    return Passed(loaded.measured, loaded.independent, loaded.by_value, loaded.extensions, dict(loaded.needs))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _is_no_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY)


def _end_with(keeper: int) -> None:
    """End when the process *keeper* does, even in the middle of a run that never ends by itself.

    It ends when the gateway does, and ends this one then; this is for when somebody has ended it alone. Where the
    kernel has no such thing, a child at rest ends all the same, for its socket does.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != keeper:
            sys.exit()


def _be_modest(memory_bytes: int) -> None:
    """Take no more memory than that, and the processor only when nobody else wants it.

    What is bounded is memory that is written to, as the kernel reckons it at the moment when it is asked for: a request
    beyond that is refused, which the graph's run survives as an error. The address space would be a worse measure, for
    mapped files and what threads merely reserve are in it; and somebody who watched the resident memory would come
    after the machine's had been taken.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or memory_bytes < most:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))
    _let_other_sessions_go_first()
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE)


def _let_other_sessions_go_first() -> None:
    times, wait_s = _PATIENCE
    for _ in range(times):
        try:
            SESSION.write_text(str(SESSION_NICENESS))
        except BlockingIOError:
            time.sleep(wait_s)
        except OSError:  # sessions are nothing to this kernel
            return
        else:
            return


if __name__ == "__main__":
    main()
