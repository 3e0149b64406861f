"""Tensors in system shared memory: off by default, and harmless when on."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rpc.inference import FakeCall, fp32_request, identity, predicted
from turnout_server.rpc.open_inference import codec as codec
from turnout_server.rpc.open_inference.shared_memory import MOUNT, REGIONS_LIMIT, Place, SharedMemory
from turnout_server.rpc.stubs import open_inference_pb2 as pb
from turnout_server.vocabulary.errors import (
    InvalidRequestError,
    Kind,
    SharedMemoryDisabledError,
    SharedMemoryRegionExistsError,
    SharedMemoryRegionNotFoundError,
    TurnoutError,
)

pytestmark = pytest.mark.skipif(not Path(MOUNT).is_dir(), reason=f"no {MOUNT} here")
X = identity(("x", "FP32", (-1, 1)))

MakeObject = Callable[[bytes], str]


@pytest.fixture
def make_object() -> Iterator[MakeObject]:
    """Make shared memory objects; the fixture removes them."""
    paths: list[Path] = []

    def make(content: bytes) -> str:
        path = Path(MOUNT, f"turnout-test-{secrets.token_hex(8)}")
        path.write_bytes(content)
        paths.append(path)
        return f"/{path.name}"

    yield make
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    memory = SharedMemory(enabled=True)
    yield memory
    memory.close()


def content(key: str) -> bytes:
    return Path(MOUNT, key[1:]).read_bytes()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# ---------------------------------------------------------------- regions


def test_it_is_off_by_default(make_object: MakeObject) -> None:
    memory = SharedMemory()
    for use in (lambda: memory.register("r", make_object(b"1234"), 0, 4), lambda: memory.read(Place("r", 0, 4))):
        with pytest.raises(SharedMemoryDisabledError) as raised:
            use()
        assert raised.value.kind is Kind.FORBIDDEN
    assert memory.regions() == ()
    memory.unregister()


def test_a_place_is_counted_from_its_regions_start(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(b"0123456789")
    memory.register("r", key, 2, 6)
    assert memory.read(Place("r", 1, 3)) == b"345"
    memory.write(Place("r", 4, 2), b"ab")
    assert content(key) == b"012345ab89"


def test_the_slash_may_be_left_out(memory: SharedMemory, make_object: MakeObject) -> None:
    memory.register("r", make_object(b"12")[1:], 0, 2)
    assert memory.read(Place("r", 0, 2)) == b"12"


@pytest.mark.parametrize(
    "key",
    ["", "/", "..", "/..", ".", "../etc/passwd", "/../etc/passwd", "/a/b", "//a", "a\0", "a\n", "é", "a" * 300],
)
def test_only_plain_names_are_keys(memory: SharedMemory, key: str) -> None:
    with pytest.raises(InvalidRequestError, match="key: expected a plain POSIX name"):
        memory.register("r", key, 0, 1)


def test_there_must_be_such_an_object(memory: SharedMemory) -> None:
    with pytest.raises(InvalidRequestError, match="No such file"):
        memory.register("r", "/turnout-test-nothing", 0, 1)


def test_a_link_is_not_followed(memory: SharedMemory, make_object: MakeObject, tmp_path: Path) -> None:
    key = make_object(b"")
    link = Path(MOUNT, key[1:])
    link.unlink()
    (tmp_path / "secret").write_bytes(b"secret")
    link.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidRequestError):
        memory.register("r", key, 0, 6)


def test_a_pipe_is_no_shared_memory(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(b"")
    pipe = Path(MOUNT, key[1:])
    pipe.unlink()
    os.mkfifo(pipe)
    with pytest.raises(InvalidRequestError, match="is no shared memory object"):
        memory.register("r", key, 0, 1)


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 5), (4, 1), (2**64 - 1, 2), (0, 2**64 - 1), (1, 4), (0, 0)])
def test_a_region_lies_within_its_object(
    memory: SharedMemory, make_object: MakeObject, offset: int, byte_size: int
) -> None:
    key = make_object(b"1234")
    before = open_descriptors()
    with pytest.raises(InvalidRequestError):
        memory.register("r", key, offset, byte_size)
    assert memory.regions() == ()
    assert open_descriptors() == before


@pytest.mark.parametrize("place", [Place("r", 0, 5), Place("r", 4, 1), Place("r", 2**63 - 1, 2**63 - 1)])
def test_a_place_lies_within_its_region(memory: SharedMemory, make_object: MakeObject, place: Place) -> None:
    memory.register("r", make_object(b"12345678"), 0, 4)
    for use in (lambda: memory.read(place), lambda: memory.write(place, b"")):
        with pytest.raises(InvalidRequestError, match="reaches beyond its end"):
            use()


def test_an_object_that_shrinks_is_an_error_of_one_request(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(bytes(8192))
    memory.register("r", key, 0, 8192)
    os.truncate(Path(MOUNT, key[1:]), 4096)
    with pytest.raises(InvalidRequestError, match="made smaller"):
        memory.read(Place("r", 0, 8192))
    with pytest.raises(InvalidRequestError, match="made smaller"):
        memory.write(Place("r", 4096, 10), b"x" * 10)
    assert len(content(key)) == 4096
    assert memory.read(Place("r", 0, 4096)) == bytes(4096)


def test_a_name_is_taken_until_it_is_given_back(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(b"12")
    memory.register("r", key, 0, 2)
    with pytest.raises(SharedMemoryRegionExistsError):
        memory.register("r", key, 0, 2)
    memory.unregister("r")
    memory.unregister("r")
    memory.register("r", key, 0, 1)
    assert [region.byte_size for region in memory.regions("r")] == [1]
    with pytest.raises(SharedMemoryRegionNotFoundError):
        memory.regions("other")


def test_regions_are_limited_in_number_and_their_descriptors_given_back(
    memory: SharedMemory, make_object: MakeObject
) -> None:
    key = make_object(b"1")
    before = open_descriptors()
    for index in range(REGIONS_LIMIT):
        memory.register(str(index), key, 0, 1)
    with pytest.raises(InvalidRequestError, match="unregister some first"):
        memory.register("more", key, 0, 1)
    memory.unregister()
    assert open_descriptors() == before


# ---------------------------------------------------------------- requests


def shared_input(region: str, rows: int, **extra: int) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[rows, 1])
    _put(tensor.parameters, region, rows * 4, **extra)
    return request


def _put(parameters: Any, region: str, byte_size: int, offset: int = 0) -> None:
    parameters["shared_memory_region"].string_param = region
    parameters["shared_memory_byte_size"].int64_param = byte_size
    if offset:
        parameters["shared_memory_offset"].int64_param = offset


def test_an_input_is_copied_when_it_arrives(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(np.array([1, 2, 3], np.float32).tobytes())
    memory.register("r", key, 0, 12)
    query = codec.decode(shared_input("r", 2, offset=4), FakeCall(), memory)
    Path(MOUNT, key[1:]).write_bytes(bytes(12))
    assert query.prepare(X)["x"].tolist() == [[2], [3]]


def test_inputs_in_shared_memory_have_no_raw_contents(memory: SharedMemory, make_object: MakeObject) -> None:
    memory.register("r", make_object(np.array([9], np.float32).tobytes()), 0, 4)
    request = shared_input("r", 1)
    request.inputs[0].name = "s"
    request.inputs.append(fp32_request(5).inputs[0])
    request.raw_input_contents.append(fp32_request(5).raw_input_contents[0])
    arrays = codec.decode(request, FakeCall(), memory).prepare(identity(("s", "FP32", (-1, 1)), ("x", "FP32", (-1, 1))))
    assert (arrays["s"].item(), arrays["x"].item()) == (9, 5)
    request.raw_input_contents.append(b"")
    with pytest.raises(InvalidRequestError, match="2 entries for 1 inputs"):
        codec.decode(request, FakeCall(), memory).prepare(X)


def test_one_request_cannot_multiply_a_region(make_object: MakeObject) -> None:
    memory = SharedMemory(enabled=True, max_request_bytes=10)
    memory.register("r", make_object(bytes(4)), 0, 4)
    request = shared_input("r", 1)
    for _ in range(2):
        request.inputs.append(request.inputs[0])
    with pytest.raises(InvalidRequestError, match="may bring 10 bytes in shared memory; found 12"):
        codec.decode(request, FakeCall(), memory)
    memory.close()


def test_an_output_is_written_where_it_was_wanted(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(bytes(12))
    memory.register("r", key, 0, 12)
    request = fp32_request(1)
    _put(request.outputs.add(name="x").parameters, "r", 8, 4)
    request.outputs.add(name="b")
    signature = identity(("x", "FP32", (-1, 1)), ("b", "BOOL", (-1,)))
    outputs = {"x": np.array([[7]], np.float32), "b": np.array([True])}
    response = codec.encode(request, predicted(outputs, signature), memory)
    assert list(response.raw_output_contents) == [b"", b"\1"]
    assert response.outputs[0].parameters["shared_memory_region"].string_param == "r"
    assert response.outputs[0].parameters["shared_memory_byte_size"].int64_param == 4
    assert response.outputs[0].parameters["shared_memory_offset"].int64_param == 4
    assert np.frombuffer(content(key), np.float32).tolist() == [0, 7, 0]


def test_an_output_that_does_not_fit_is_not_written(memory: SharedMemory, make_object: MakeObject) -> None:
    key = make_object(b"untouched!")
    memory.register("r", key, 0, 10)
    request = fp32_request(1)
    _put(request.outputs.add(name="x").parameters, "r", 7)
    with pytest.raises(InvalidRequestError, match="has 8 bytes, but its shared memory has room for 7"):
        codec.encode(request, predicted({"x": np.ones((2, 1), np.float32)}, X), memory)
    assert content(key) == b"untouched!"


@pytest.mark.parametrize("side", ["input", "output"])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shared_memory_region", {"int64_param": 1}),
        ("shared_memory_region", {"string_param": "unknown"}),
        ("shared_memory_byte_size", {"int64_param": -4}),
        ("shared_memory_byte_size", {"int64_param": 2**62}),
        ("shared_memory_offset", {"int64_param": -1}),
        ("shared_memory_offset", {"uint64_param": 2**64 - 1}),
        ("shared_memory_offset", {"string_param": "0"}),
    ],
)
def test_wrong_places_are_refused_before_the_model_runs(
    memory: SharedMemory, make_object: MakeObject, side: str, key: str, value: dict[str, Any]
) -> None:
    memory.register("r", make_object(bytes(8)), 0, 8)
    request = shared_input("r", 1) if side == "input" else fp32_request(1)
    if side == "output":
        _put(request.outputs.add(name="x").parameters, "r", 4)
    codec.decode(request, FakeCall(), memory)
    tensor = request.inputs[0] if side == "input" else request.outputs[0]
    tensor.parameters[key].CopyFrom(pb.InferParameter(**value))
    with pytest.raises(TurnoutError):
        codec.decode(request, FakeCall(), memory)
