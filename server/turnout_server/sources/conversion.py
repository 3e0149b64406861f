"""A conversion as its publisher sees it: a child process, bounded in time and memory, and its answer."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from turnout_server import machine
from turnout_server.sources.conversation import ANSWER, Answer, Failed, Missing, Request
from turnout_server.sources.recipes import RECIPES, advice
from turnout_server.sources.source import Kind, SourceError
from turnout_server.vocabulary.errors import Kind as ErrorKind

_SHOWN = 1000
_TAIL_BYTES = 4096
_ANSWERS: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


class ConverterMissingError(SourceError):
    """What converts it is not installed; `lines` are what to do instead."""

    reason = "CONVERTER_MISSING"
    kind = ErrorKind.UNAVAILABLE


class UntrustedError(SourceError):
    """Reading it runs code, and nobody said that this is wanted."""

    reason = "SOURCE_UNTRUSTED"
    kind = ErrorKind.FORBIDDEN


def check(kind: Kind, trusted: bool) -> None:
    """See that a source of this kind may be read, and can be converted here.

    Raises:
        UntrustedError: reading it would run code.
        ConverterMissingError: nothing here converts it.
    """
    recipe = RECIPES[kind]
    if not recipe.modules:
        raise ConverterMissingError(f"{kind} is not converted here; what makes an ONNX file of it:", advice(kind))
    if kind.runs_code and not trusted:
        raise UntrustedError(
            f"{kind}: reading it runs whatever code is in it; --unpickle says that you trust who made it. "
            "Or make the ONNX file where it was trained:",
            advice(kind),
        )


def run(request: Request, timeout_s: float) -> Answer:
    """Have a child do what is asked, and return its answer, which is no `Missing` and no `Failed`.

    Args:
        request: what to do; its bound on memory is set here.
        timeout_s: how long that may take, in seconds.

    Raises:
        ConverterMissingError: a library is not installed.
        SourceError: it failed, or took too long.
    """
    request = msgspec.structs.replace(request, memory_bytes=machine.memory_bytes() // 2)
    with tempfile.TemporaryFile() as said:
        code = _run(request, timeout_s, said.fileno())
        said.seek(max(said.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
        last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
    if code is None:
        raise SourceError(f"{request.where}: took more than {timeout_s:g} s (--convert-timeout), and was ended")
    try:
        answer = _ANSWERS.decode((Path(request.out) / ANSWER).read_bytes())
    except (OSError, msgspec.MsgspecError):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        words = _shown(f": {last}" if last else "")
        raise SourceError(f"{request.where}: what reads it ended with {how}{words}") from None
    match answer:
        case Missing(module):
            what = "what fetches it" if request.kind is Kind.MLFLOW else "what makes an ONNX file of it"
            raise ConverterMissingError(
                f"{request.kind} needs {_shown(module)}, which is not installed; {what}:", advice(request.kind)
            )
        case Failed(problem):
            raise SourceError(f"{request.where}: {_shown(problem)}")
    return answer


def _run(request: Request, timeout_s: float, said: int) -> int | None:
    """Return the child's exit code; None where it was ended. Nothing that it has started is left."""
    command = [sys.executable, "-P", "-m", "turnout_server.sources.converter"]
    process = subprocess.Popen(
        [*command, msgspec.json.encode(request).decode(), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        # Its number is its own until it has been waited for; where it has, its group may still be there.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _shown(text: str) -> str:
    """Return what others have said, as a terminal can take it."""
    short = " ".join(text.split())
    short = short if len(short) <= _SHOWN else f"{short[:_SHOWN]}..."
    return "".join(character if character.isprintable() else "?" for character in short)
