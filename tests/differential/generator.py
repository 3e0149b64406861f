"""Which calls are sent: the same ones for the same seed, each by itself, whatever the others are."""

from __future__ import annotations

from enum import Enum
from random import Random

from google.protobuf.message import DecodeError

from tests.differential import inferences, others, wire
from tests.differential.calls import ANY, INFER, STREAM, Call
from tests.differential.world import HEADERS, UNITS, World
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.transport.values import UNCOUNTED, count, shape_of

MIRRORED = "mirrored"
"""The route whose requests are copied: where, and whether, a copy runs depends on what else is going on."""
TRACE = "00-{:032x}-{:016x}-{}"
_SHAPE = shape_of(pb.ModelInferRequest.DESCRIPTOR)


STATES = ("", "vendor=1", "a=1 ,, b_-*/2=x y,", "1@tenant=2", "a=1,a=2", "=wrong=", "k=" + "v" * 600)
"""Values of `tracestate`."""
HURRIED = ("0n", "1n", "0S", "1m")
TIMEOUTS = (*HURRIED, "1H", "99999999H", "50000000u")
"""Values of `grpc-timeout`."""


class Kind(Enum):
    """What about a call's end is for its request alone to say."""

    CERTAIN = "certain"
    """All of it."""
    MIRRORED = "mirrored"
    """All of it, if it is sent when nothing else is under way."""
    DRAWN = "drawn"
    """All but the target: there is no unit, so it is drawn."""
    HURRIED = "hurried"
    """Little: it has hardly any time, and how far it gets is chance."""


def make_call(world: World, seed: str, index: int) -> Call:
    """Return call number *index*."""
    random = Random(f"{seed}/{index}")
    what = random.random()
    if what < 0.66:
        call = _inference(random, world)
    elif what < 0.74:
        call = _stream(random, world)
    elif what < 0.85:
        method, message, about = others.anything(random, world)
        call = Call(method, (message.SerializeToString(),), about=about)
    elif what < 0.93:
        method, message = others.typed(random, world)
        call = Call(method, (message.SerializeToString(),))
    else:
        method, message = others.looking(random, world)
        call = Call(method, (message.SerializeToString(),))
    if call.method not in (INFER, STREAM) and random.random() < 0.05:
        call = call._replace(messages=(call.messages[0] + b"\x0b",), about="broken")
    metadata = _metadata(random, index, certain=call.method != INFER)
    if len(call.messages) == 1 and random.random() < 0.05:  # which ends a stream, as above
        metadata = (("triton_grpc_error", random.choice(("true", "True", "false"))), *metadata)
    if call.method == INFER and random.random() < 0.04:
        metadata = (("grpc-timeout", random.choice(TIMEOUTS)), *metadata)
    return call._replace(metadata=metadata, gzip=random.random() < 0.1)


def kind_of(call: Call, world: World) -> Kind:
    """Say what about the end of *call* may be compared."""
    if dict(call.metadata).get("grpc-timeout") in HURRIED:
        return Kind.HURRIED
    if call.method == INFER:
        try:
            request = pb.ModelInferRequest.FromString(call.messages[0])
        except DecodeError:
            return Kind.CERTAIN
        if _is_drawn(request, call, world):
            return Kind.DRAWN
        if request.model_name == MIRRORED:
            return Kind.MIRRORED
    if call.method in (STREAM, ANY) and any(MIRRORED.encode() in message for message in call.messages):
        return Kind.MIRRORED
    return Kind.CERTAIN


def _is_drawn(request: pb.ModelInferRequest, call: Call, world: World) -> bool:
    route = world.routes.get(request.model_name)
    if (
        route is None
        or request.model_version
        or "experiment" in route
        or sum(target["weight"] > 0 for target in route["targets"]) < 2
    ):
        return False
    unit = request.parameters["unit_id"] if "unit_id" in request.parameters else pb.InferParameter()
    named = unit.string_param or unit.HasField("int64_param") or unit.HasField("uint64_param")
    return not named and not next((value for key, value in reversed(call.metadata) if key == "x-turnout-unit"), "")


def _name(random: Random, world: World) -> str:
    if random.random() < 0.08:
        return MIRRORED
    return random.choice((*world.models, *tuple(world.routes) * 4))


def _inference(random: Random, world: World) -> Call:
    request, about = inferences.inference(random, world, _name(random, world))
    message = request.SerializeToString()
    if random.random() < 0.12:
        message, how = wire.rewritten(random, message)
        about = f"{about} {how}"
    return Call(INFER, (message,), about=about.strip())


def _stream(random: Random, world: World) -> Call:
    parts = [_inference(random, world) for _ in range(random.randint(1, 8))]
    # One that is too long, or holds too much, may end the stream before anything of it is counted, or after.
    parts = [part for part in parts if _is_taken(part.messages[0])]
    if not all(_is_whole(part.messages[0]) for part in parts):
        parts = parts[:1]  # one that is broken ends the stream, and how far the others have come is chance
    return Call(STREAM, tuple(part.messages[0] for part in parts), about=" | ".join(part.about for part in parts))


def _is_taken(message: bytes) -> bool:
    return len(message) <= wire.MOST_BYTES and (
        len(message) <= UNCOUNTED or count(message, _SHAPE, wire.MOST_VALUES) <= wire.MOST_VALUES
    )


def _is_whole(message: bytes) -> bool:
    try:
        pb.ModelInferRequest.FromString(message)
    except DecodeError:
        return False
    return True


def _metadata(random: Random, index: int, *, certain: bool) -> tuple[tuple[str, str | bytes], ...]:
    """Return metadata with a request id that no other call has.

    *certain* ones name a unit, so that no target is drawn.
    """
    found: list[tuple[str, str | bytes]] = []
    for key, values in HEADERS.items():
        if random.random() < 0.4:
            found += [(key, random.choice(values)) for _ in range(random.choice((1, 1, 2)))]
    if random.random() < 0.5:
        # A list of lists beyond printable ASCII is not for metadata to carry.
        plain = [unit for unit in UNITS if unit.isascii() and (unit or not certain)]
        found += [("x-turnout-unit", random.choice(plain)) for _ in range(random.choice((1, 1, 1, 2)))]
    elif certain:
        found.append(("x-turnout-unit", f"m-{random.randint(0, 10**6)}"))
    if random.random() < 0.3:
        trace = TRACE.format(random.getrandbits(128), random.getrandbits(64), random.choice(("00", "01")))
        found.append(
            ("traceparent", random.choice((trace, trace, trace, "nonsense", trace.upper(), trace[:-1], "0" * 70)))
        )
        if random.random() < 0.3:
            found.append(("tracestate", random.choice(STATES)))
    if random.random() < 0.1:
        found.append(("x-data-bin", random.randbytes(5)))
    random.shuffle(found)
    return (*found, ("x-request-id", f"call-{index}"))
