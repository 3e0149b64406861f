"""Which load generator does the jobs: the one in Rust where it can be had, else the one in Python."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from benchmarks.field.generator import Generator
from benchmarks.field.measurement import Measures
from benchmarks.field.native_generator import CONNECTIONS, BuildError, NativeGenerator, build

GENERATORS = ("auto", "rust", "python")
"""What may be wanted."""


@contextlib.contextmanager
def generating(wanted: str) -> Iterator[tuple[str, Measures]]:
    """Lend the load generator that is *wanted*, and say in words which one it is.

    Raises:
        BuildError: the one in Rust is, and cannot be built.
    """
    program = None
    if wanted != "python":
        _say("building the load generator, which takes a minute or so, once")
        try:
            program = build()
        except BuildError as error:
            if wanted == "rust":
                raise
            _say(f"{error}: the load generator in Python does it, and bounds quick servers")
    if program is not None:
        yield f"in Rust, up to {CONNECTIONS} connections, a trace and a unit for each call", NativeGenerator(program)
        return
    with Generator() as generator:
        yield "in Python, one connection", generator


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
