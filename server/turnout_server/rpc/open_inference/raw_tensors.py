"""Tensors as bytes: the Open Inference Protocol's raw contents, little-endian and row-major.

What ONNX Runtime 1.32 does with text, tried out, decides how BYTES are held: an object array of `str` goes through
unchanged, empty texts and embedded NULs included. Elements of type `bytes` would be replaced by their `repr`, and
NumPy's fixed-width text dtypes are cut at the first NUL. So BYTES are decoded here; what is not UTF-8 is refused.
"""

from __future__ import annotations

from struct import Struct

import numpy as np

from turnout_server.vocabulary.errors import InvalidInputError
from turnout_server.vocabulary.tensors import Array

MOST_ELEMENTS = 1 << 20
"""Elements of an input that may have to be decoded one by one: that takes a quarter of a second for so many texts, in
which the event loop does nothing else."""
_LENGTH = Struct("<I")
_BOOL = np.dtype(np.bool_)


def decode(name: str, dtype: np.dtype[np.generic], count: int, data: bytes) -> Array:
    """Return the *count* elements in *data* as a flat array: a read-only view, except for BYTES.

    Args:
        name: the input, for error messages.
        dtype: the elements' NumPy dtype; object for BYTES.
        count: how many there are by the tensor's shape, at least 0.
        data: each element in little-endian order; BYTES with a 4-byte length before each.

    Raises:
        InvalidInputError: too few or too many bytes, a BOOL other than 0 and 1, or BYTES that are not UTF-8.
    """
    if dtype.hasobject:
        return _decode_texts(name, count, data)
    if len(data) != count * dtype.itemsize:
        raise InvalidInputError(
            name, f"expected {count * dtype.itemsize} bytes ({count} x {dtype.itemsize}), found {len(data)}"
        )
    if not count:
        return np.empty(0, dtype)
    if dtype == _BOOL and data.translate(None, b"\0\1"):
        raise InvalidInputError(name, "a BOOL is neither 0 nor 1")
    return np.frombuffer(data, dtype)


def encode(array: Array) -> bytes:
    """Return *array*'s elements as raw contents, whatever its strides."""
    if not array.dtype.hasobject:
        return array.tobytes()
    pieces: list[bytes] = []
    for text in array.ravel().tolist():
        element = text.encode()
        pieces.append(_LENGTH.pack(len(element)))
        pieces.append(element)
    return b"".join(pieces)


def decode_text(name: str, index: int, element: bytes) -> str:
    """Return one element of a BYTES input.

    Raises:
        InvalidInputError: it is not UTF-8.
    """
    try:
        return element.decode()
    except UnicodeDecodeError as error:
        raise InvalidInputError(name, f"element {index} is not UTF-8, from byte {error.start} on") from None


def texts(elements: list[str]) -> Array:
    """Return *elements* as a flat object array."""
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def check_count(name: str, count: int) -> None:
    """Refuse more elements than may be decoded one by one.

    Raises:
        InvalidInputError: there are more than `MOST_ELEMENTS`.
    """
    if count > MOST_ELEMENTS:
        how = f"at most {MOST_ELEMENTS} may be texts or in typed contents; numbers may be any in raw_input_contents"
        raise InvalidInputError(name, f"found {count} elements; {how}")


def _decode_texts(name: str, count: int, data: bytes) -> Array:
    end = len(data)
    check_count(name, count)
    if count * _LENGTH.size > end:  # before any loop: the count is the caller's claim
        raise InvalidInputError(name, f"{count} elements need at least {count * _LENGTH.size} bytes, found {end}")
    elements: list[str] = []
    position = 0
    for index in range(count):
        start = position + _LENGTH.size
        if start > end:
            raise InvalidInputError(name, f"the data ends inside the length of element {index} of {count}")
        (length,) = _LENGTH.unpack_from(data, position)
        position = start + length
        if position > end:
            raise InvalidInputError(name, f"element {index} should have {length} bytes, but only {end - start} follow")
        elements.append(decode_text(name, index, data[start:position]))
    if position != end:
        raise InvalidInputError(name, f"{end - position} bytes follow the last of {count} elements")
    return texts(elements)
