"""Whether a server answers what the graph answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import grpc

from benchmarks.field.scenarios import Scenario
from benchmarks.field.servers import Running
from benchmarks.processes import ServerFailedError
from turnout_server.onnx.binding import open_session
from turnout_server.store.manifest import RuntimeOptions
from turnout_server.vocabulary.tensors import Array, Arrays


def expected(scenario: Scenario) -> Iterator[dict[str, Array]]:
    """Yield the graph's own outputs for each request."""
    session = open_session(scenario.file, RuntimeOptions())
    names = [spec.name for spec in scenario.signature.outputs]
    for inputs in scenario.inputs:
        yield dict(zip(names, session.run(names, dict(inputs)), strict=True))


def check(server: Running, scenarios: Mapping[str, Scenario]) -> dict[str, tuple[bytes, ...]]:
    """Compare the answers to all requests, sent one by one, with the graph's own.

    Returns:
        What each answer is to have again, by scenario: see `Way.contents`.

    Raises:
        ServerFailedError: one differs.
    """
    if not server.address:  # it runs the graph itself, and says whether that came to the same
        return {name: tuple(map(_raw, expected(scenario))) for name, scenario in scenarios.items()}
    with grpc.insecure_channel(server.address) as channel:
        return {name: tuple(_answers(server.setup.name, channel, scenario)) for name, scenario in scenarios.items()}


def _answers(server: str, channel: grpc.Channel, scenario: Scenario) -> Iterator[bytes]:
    ask: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{scenario.way.method}")
    for body, outputs in zip(scenario.bodies(), expected(scenario), strict=True):
        try:
            answer = ask(body, timeout=30)
        except grpc.RpcError as error:
            wrong = f"{error.code().name} {error.details()}"
        else:
            wrong = scenario.way.difference(answer, outputs)
        if wrong:
            raise ServerFailedError(f"{server} answers {scenario.name} wrongly: {wrong}")
        yield scenario.way.contents(answer)


def _raw(outputs: Arrays) -> bytes:
    return b"".join(one.tobytes() for one in outputs.values())
