"""HTTP/2 from outside: a server gets frames that nobody would send, and in between a neighbour's calls are checked.

What is sent comes from a seed: calls that would be right, with some of their frames doubled, dropped, damaged, or
others put between. A client may be cut off for it. The server has to stay, and the neighbour's answers to be right.
"""

from __future__ import annotations

import contextlib
import random
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import grpc

from benchmarks import frames
from benchmarks.attack.wire import INFER, NOWHERE, STREAM, WATCH, block
from benchmarks.processes import ROOT, Server, ServerFailedError, serving, turnout
from turnout.v1 import pricing_service_pb2 as pricing
from turnout_server.rpc.stubs import open_inference_pb2 as oip

PRICE = b"/turnout.v1.PricingService/PredictPrice"
PATHS = (PRICE, INFER, STREAM, WATCH, NOWHERE, b"/grpc.health.v1.Health/Check", b"", b"nothing", b"/" + b"x" * 300)
CONVERSATIONS_A_CHECK = 4
PATIENCE_S = 20.0
"""How long a neighbour waits for an answer."""
GROWTH = 512 * 1024 * 1024
"""By how many bytes the server may have grown at the end."""


class Report(NamedTuple):
    """How it went."""

    conversations: int
    frames: int
    checks: int
    took_s: float
    problem: str
    crash: Path | None

    def __str__(self) -> str:
        text = f"none is counted; {self.frames:,} frames, {self.checks:,} times the neighbour was answered rightly"
        return f"{text}; {self.problem}" if self.problem else text


class FaultError(Exception):
    """The server did what it must not; the text says what."""


def tried(seconds: int, folder: Path) -> Report:
    """Talk to a server for so long; a seed that was the last one before something went wrong is kept in *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    first = random.SystemRandom().getrandbits(32)
    return _with_server(range(first, first + 10_000_000), max(seconds, 1), folder)


def again(file: Path) -> int:
    """Say once more what is in *file*, the seeds of conversations; return the exit code."""
    seeds = [int(line) for line in file.read_text("utf-8").split()]
    report = _with_server(seeds, 3600, file.parent)
    print(report)
    return 1 if report.problem else 0


def _with_server(seeds: range | list[int], seconds: float, folder: Path) -> Report:
    talked = sent = checks = 0
    problem, began, last = "", time.monotonic(), []
    with tempfile.TemporaryDirectory() as place:
        try:
            launch = turnout(ROOT / "model_store")
            with serving("fuzzed", launch, Path(place), [_ready()]) as server, _Neighbour(server) as neighbour:
                began, before = time.monotonic(), server.rss()
                for seed in seeds:
                    if time.monotonic() - began > seconds:
                        break
                    last = [*last[1 - CONVERSATIONS_A_CHECK :], seed]
                    sent += converse(server.address, seed)
                    talked += 1
                    if talked % CONVERSATIONS_A_CHECK == 0:
                        neighbour.check()
                        checks += 1
                neighbour.check()
                checks += 1
                if server.rss() > before + GROWTH:
                    raise FaultError(f"the server has grown from {before >> 20} to {server.rss() >> 20} MiB")
        except (FaultError, ServerFailedError, grpc.RpcError) as error:
            problem = str(error)
        said = "".join(file.read_text("utf-8", "replace") for file in Path(place).glob("*.log"))
    if problem:
        (folder / "log").write_text(said, "utf-8")
    elif "Traceback" in said or "panicked" in said:
        problem = "the server has complained: " + said[max(said.find("Traceback"), said.find("panicked")) :][:500]
    crash = None
    if problem:
        crash = folder / f"crash-{last[-1] if last else 'at-the-start'}"
        crash.write_text("".join(f"{seed}\n" for seed in last), "utf-8")
    return Report(talked, sent, checks, time.monotonic() - began, problem, crash)


class _Neighbour:
    """A client who behaves, on a connection of its own, and one anew each time."""

    def __init__(self, server: Server) -> None:
        self._address = server.address
        self._channel = grpc.insecure_channel(server.address)
        self._expected = self._asked(self._channel)

    def __enter__(self) -> _Neighbour:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def check(self) -> None:
        """Ask; raise `FaultError` where the answer is not the one that came first."""
        with grpc.insecure_channel(self._address) as anew:
            for channel in (self._channel, anew):
                try:
                    found = self._asked(channel)
                except grpc.RpcError as error:
                    raise FaultError(f"the neighbour got {error.code().name}: {error.details()}") from error
                if found != self._expected:
                    raise FaultError(f"the neighbour's price was {found}; expected {self._expected}")

    @staticmethod
    def _asked(channel: grpc.Channel) -> list[float]:
        price = channel.unary_unary(PRICE.decode(), pricing.PredictPriceRequest.SerializeToString)
        answer = pricing.PredictPriceResponse.FromString(price(_price(), timeout=PATIENCE_S))
        return [one.price for one in answer.prices]


def _price() -> pricing.PredictPriceRequest:
    asked = pricing.PredictPriceRequest()
    asked.selector.name, asked.selector.unit = "price", "neighbour"
    asked.features.add(name="carat", floats={"values": [0.7]})
    return asked


def _ready() -> bytes:
    """Return an inference that the demo store can answer once its models are loaded."""
    request = oip.ModelInferRequest(model_name="recommendation")
    for name, datatype, shape, values in (
        ("history", "INT64", [1, 1], [1]),
        ("exclude", "INT64", [1, 1], [1]),
        ("k", "INT64", [1], [3]),
    ):
        request.inputs.add(name=name, datatype=datatype, shape=shape, contents={"int64_contents": values})
    return request.SerializeToString()


def converse(address: str, seed: int) -> int:
    """Say to the server what *seed* makes, and hear what it answers; return how many frames were sent."""
    chance = random.Random(seed)
    said = conversation(chance)
    host, port = address.rsplit(":", 1)
    # A reset by the server is one of its answers; so is being closed on.
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.settimeout(0.02)
        raw = b"".join(said)
        at = 0
        while at < len(raw):
            size = chance.choice((1, 7, 100, 5_000, 100_000))
            connection.sendall(raw[at : at + size])
            at += size
            if chance.random() < 0.05:
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(65_536):
                        break
        if chance.random() < 0.5:
            with contextlib.suppress(TimeoutError):
                while connection.recv(65_536):
                    pass
        if chance.random() < 0.3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    return len(said)


def conversation(chance: random.Random) -> list[bytes]:
    """Return the frames of some calls, mostly right ones; what comes before them is one of the pieces too."""
    said = [frames.settings(_settings(chance))]
    for number in range(chance.randrange(1, 12)):
        said += _call(chance, 2 * number + 1)
    for _ in range(chance.choice((0, 0, 1, 3, 10))):
        place = chance.randrange(len(said))
        match chance.randrange(6):
            case 0:
                said.insert(place, said[place])
            case 1:
                del said[place]
                said = said or [b""]
            case 2:
                said[place] = _damaged(chance, said[place])
            case 3:
                other = chance.randrange(len(said))
                said[place], said[other] = said[other], said[place]
            case 4:
                said.insert(place, _any_frame(chance))
            case _:
                said[place:place] = [said[place]] * chance.choice((10, 300, 3_000))
    preface = frames.PREFACE if chance.random() < 0.97 else _damaged(chance, frames.PREFACE)
    return [preface, *said]


def _settings(chance: random.Random) -> list[tuple[int, int]]:
    every = [
        (frames.MAX_CONCURRENT_STREAMS, 100),
        (frames.INITIAL_WINDOW_SIZE, chance.choice((0, 1, 65_535, 2**31 - 1, 2**31))),
        (frames.HEADER_TABLE_SIZE, chance.choice((0, 4096, 2**32 - 1))),
        (frames.MAX_FRAME_SIZE, chance.choice((16_384, 2**24 - 1, 5))),
        (frames.ENABLE_PUSH, chance.choice((0, 1, 2))),
        (chance.randrange(65_536), chance.getrandbits(32)),
    ]
    # The odd ones end a connection before anything else is looked at.
    return chance.sample(every[:1] if chance.random() < 0.8 else every, k=1)


def _call(chance: random.Random, stream: int) -> list[bytes]:
    """Return a call's frames."""
    path = chance.choice(PATHS[:2]) if chance.random() < 0.6 else chance.choice(PATHS)
    fields = block(path[:200])
    if chance.random() < 0.2:
        fields += chance.choice((b"\0\1a\0" * 100, b"\x20", b"\x41\x03h:1", b"\xbe", b"\0\5te-bin\1x"))
    said = []
    if len(fields) > 2 and chance.random() < 0.2:
        cut = chance.randrange(1, len(fields))
        said.append(frames.frame(frames.HEADERS, 0, stream, fields[:cut]))
        said.append(frames.frame(frames.CONTINUATION, frames.END_HEADERS, stream, fields[cut:]))
    elif chance.random() < 0.1:
        said.append(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, stream, b"\3" + fields + bytes(3)))
    else:
        said.append(frames.frame(frames.HEADERS, frames.END_HEADERS, stream, fields))
    message = _price().SerializeToString() if path == PRICE else _ready() if path in (INFER, STREAM) else b""
    if chance.random() < 0.3:
        message = _damaged(chance, message)
    body = bytes([chance.choice((0, 0, 0, 0, 1, 2))]) + len(message).to_bytes(4, "big") + message
    if chance.random() < 0.1:
        body = _damaged(chance, body)
    pieces = []
    while body:
        size = chance.choice((1, 5, 40, 16_384))
        pieces.append(body[:size])
        body = body[size:]
    ends = chance.random() < 0.9
    for index, piece in enumerate(pieces):
        last = ends and index == len(pieces) - 1
        said.append(frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream, piece))
    if chance.random() < 0.15:
        said.append(frames.rst_stream(stream, chance.choice((0, 8, 2**32 - 1))))
    if chance.random() < 0.15:
        said.append(frames.window_update(chance.choice((0, stream)), chance.choice((0, 1, 2**31 - 1))))
    return said


def _any_frame(chance: random.Random) -> bytes:
    kind = chance.choice((*range(10), 77))
    size = chance.choice((0, 4, 5, 6, 8, 100, 16_385))
    stream = chance.choice((0, 1, 2, 3, 99, frames.MAX_STREAM_ID))
    return frames.frame(kind, chance.getrandbits(8), stream, chance.randbytes(size))


def _damaged(chance: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw)
    for _ in range(chance.randrange(1, 4)):
        if not changed:
            break
        place = chance.randrange(len(changed))
        match chance.randrange(4):
            case 0:
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                changed[place] = chance.getrandbits(8)
            case 2:
                del changed[place : place + chance.randrange(1, 9)]
            case _:
                changed[place:place] = chance.randbytes(chance.randrange(1, 9))
    return bytes(changed)
