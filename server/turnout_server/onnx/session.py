"""A servable over one ONNX Runtime session, whoever opened it: ONNX Runtime's own binding or the engine."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from turnout_server.store.manifest import Manifest, RuntimeOptions
from turnout_server.vocabulary.errors import ModelFailedError, ModelRejectedInputError, RunTimedOutError
from turnout_server.vocabulary.signature import Signature
from turnout_server.vocabulary.tensors import Array, Arrays


class Argument(Protocol):
    """An input or output of a graph."""

    @property
    def name(self) -> str:
        """What the graph calls it."""

    @property
    def type(self) -> str:
        """As ONNX Runtime writes it, such as `tensor(float)`."""

    @property
    def shape(self) -> Sequence[int | str | None]:
        """The axes' sizes; a free one is a name, or None where it has none."""


class Session(Protocol):
    """A graph, ready to run from any thread."""

    @property
    def rejections(self) -> tuple[type[Exception], ...]:
        """What `run` raises where values or sizes do not fit the graph; anything else is the graph's own failure."""

    @property
    def native(self) -> object | None:
        """The engine's own session, which runs without Python; None where something else opened the graph."""

    def get_inputs(self) -> Sequence[Argument]:
        """Return what must be given, in the graph's order."""

    def get_outputs(self) -> Sequence[Argument]:
        """Return what comes out, in the graph's order."""

    def run(self, outputs: Sequence[str], inputs: Arrays, options: Any = None, /) -> list[Array]:
        """Run the graph once, on the calling thread, and return the outputs in the order wanted.

        With *options* of `run_options` it can be ended.
        """

    def run_bytes(self) -> int | None:
        """Return the most bytes that this thread's last run had, beside its inputs; None where nobody counts."""

    def run_options(self) -> Any:
        """Return what runs can be ended by."""

    def terminate(self, options: Any) -> None:
        """End the runs with these options, soon, and let none begin. From any thread."""

    def close(self) -> None:
        """Give its memory back to the system. No run may be under way."""


class OpenSession(Protocol):
    """Makes a session for the graph in a file."""

    def __call__(self, path: Path, options: RuntimeOptions, extensions: Path | None = None, /) -> Session:
        """Open the graph at *path*, with the operators in the library *extensions*.

        Raises:
            InvalidModelError: ONNX Runtime cannot load it.
        """


class RunEnding:
    """Ends one batch's runs from outside; see `turnout_server.execution.batch_run.Ending`."""

    __slots__ = ("_session", "has_ended", "options")

    def __init__(self, session: Session) -> None:
        self._session = session
        self.options = session.run_options()
        self.has_ended = False

    def end(self) -> None:
        """End them, soon."""
        self.has_ended = True
        self._session.terminate(self.options)


class OnnxServable:
    """One version, able to predict. `run` may be called from several threads at once."""

    __slots__ = ("_rejections", "_session", "manifest", "output_names", "signature")

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self.manifest = manifest
        self.signature: Signature = manifest.signature
        self.output_names = tuple(spec.name for spec in manifest.signature.outputs)
        self._session: Session | None = session
        self._rejections = session.rejections

    @property
    def native(self) -> object | None:
        """The engine's own session, which runs without Python; None where something else opened it, or once closed."""
        return None if self._session is None else self._session.native

    def ending(self) -> RunEnding | None:
        """Return what ends runs; None once closed."""
        return None if self._session is None else RunEnding(self._session)

    def run(self, inputs: Arrays, outputs: tuple[str, ...] = (), ending: RunEnding | None = None) -> list[Array]:
        """Run the graph once, on the calling thread.

        Args:
            inputs: every input of the signature, with its dtype and shape.
            outputs: the outputs wanted; empty for all.
            ending: of `ending`, to end the run by; None where nobody will.

        Returns:
            The outputs in the order wanted.

        Raises:
            ModelRejectedInputError: the graph refused the values.
            RunTimedOutError: *ending* has ended it.
            ModelFailedError: it failed in another way; the cause is chained.
        """
        manifest, session = self.manifest, self._session
        if session is None:
            raise ModelFailedError(manifest.model, manifest.version)
        try:
            return session.run(outputs or self.output_names, inputs, None if ending is None else ending.options)
        except Exception as error:
            if ending is not None and ending.has_ended:
                raise RunTimedOutError(manifest.model, manifest.version) from error
            if not isinstance(error, self._rejections):
                raise ModelFailedError(manifest.model, manifest.version) from error
            # Values out of range, and sizes that don't fit each other; running out of memory is neither.
            # ONNX Runtime's text names nodes and files of the graph: it goes to the log through the chain, not out.
            raise ModelRejectedInputError(
                manifest.model, manifest.version, "values or sizes do not fit the graph"
            ) from error

    def run_bytes(self) -> int | None:
        """Return the most bytes that this thread's last run had, beside its inputs; None where nobody counts."""
        return None if self._session is None else self._session.run_bytes()

    def close(self) -> None:
        """Give the session's memory back to the system. No run may be under way."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


def trim_memory() -> None:
    """Let the C library return freed memory to the system, where it can (glibc's `malloc_trim`)."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL("libc.so.6")
    except OSError:
        return None
