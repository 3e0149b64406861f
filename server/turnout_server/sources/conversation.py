"""What a publisher and the child that converts for it say to each other."""

from __future__ import annotations

import msgspec

from turnout_server.sources.source import Kind

ANSWER = "answer.json"
GRAPH = "model.onnx"


class Request(msgspec.Struct, frozen=True):
    """Make an ONNX file of this, or fetch it."""

    kind: Kind
    where: str
    out: str
    """A folder for what is made, and for the answer."""
    trusted: bool = False
    """Whether it may run code of its own."""
    columns: dict[str, str] = {}
    """The inputs' dtypes by column, where they are known."""
    memory_bytes: int = 0


class Converted(msgspec.Struct, frozen=True, tag=True):
    """There is an ONNX file."""

    framework: str
    """What trained and what converted it, with releases."""
    columns: list[str] = []
    """The features' names, in order, where the graph takes them as one matrix."""
    notes: list[str] = []


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """A registry's model is here now."""

    folder: str
    version: str = ""
    run_id: str = ""
    metrics: dict[str, float] = {}


class Missing(msgspec.Struct, frozen=True, tag=True):
    """A library that it takes is not installed."""

    module: str


class Failed(msgspec.Struct, frozen=True, tag=True):
    """It could not be done."""

    problem: str


Answer = Converted | Fetched | Missing | Failed
