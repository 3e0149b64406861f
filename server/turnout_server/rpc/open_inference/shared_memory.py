"""System shared memory that clients on the same machine registered for their tensors.

Regions are read and written through a file descriptor and never mapped: were a client to shrink an object under a
mapping, the process would die of SIGBUS. A short read is an error of one request.
"""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

from turnout_server.rpc.open_inference import parameters
from turnout_server.vocabulary.errors import (
    InvalidRequestError,
    SharedMemoryDisabledError,
    SharedMemoryRegionExistsError,
    SharedMemoryRegionNotFoundError,
)

MOUNT = "/dev/shm"
"""Where Linux keeps POSIX shared memory."""
REGIONS_LIMIT = 256
_KEY = re.compile(r"/?(?!\.{1,2}\Z)([A-Za-z0-9_.-]{1,250})", re.ASCII)
_NAME_LIMIT = 256


class Place(NamedTuple):
    """Where one tensor is: bytes `offset` to `offset + byte_size` of a region."""

    region: str
    offset: int
    byte_size: int


class Region(NamedTuple):
    """One registered region: bytes `offset` to `offset + byte_size` of a shared memory object."""

    name: str
    key: str
    offset: int
    byte_size: int
    descriptor: int


class SharedMemory:
    """The registered regions. Off unless enabled: who may register can read and write what this process may."""

    def __init__(self, *, enabled: bool = False, max_request_bytes: int = 64 * 1024 * 1024) -> None:
        """Start without regions.

        Args:
            enabled: whether clients may register regions.
            max_request_bytes: how much one request may bring in shared memory.
        """
        self.enabled = enabled
        self.max_request_bytes = max_request_bytes
        self._regions: dict[str, Region] = {}

    def register(self, name: str, key: str, offset: int, byte_size: int) -> None:
        """Make *byte_size* bytes of the object *key*, from *offset* on, known as *name*.

        Raises:
            SharedMemoryDisabledError: this server does not use shared memory.
            SharedMemoryRegionExistsError: the name is taken.
            InvalidRequestError: the key is no plain POSIX name, there is no such object, it cannot be opened or is too
                small, or too many regions are registered.
        """
        if not self.enabled:
            raise SharedMemoryDisabledError
        if not 0 < len(name) <= _NAME_LIMIT:
            raise InvalidRequestError(f"name: expected 1 to {_NAME_LIMIT} characters, found {len(name)}")
        if name in self._regions:
            raise SharedMemoryRegionExistsError(name)
        if len(self._regions) >= REGIONS_LIMIT:
            raise InvalidRequestError(f"{REGIONS_LIMIT} shared memory regions are registered; unregister some first")
        if byte_size < 1:
            raise InvalidRequestError("byte_size: expected at least 1")
        descriptor = _open(key)
        try:
            size = os.fstat(descriptor).st_size
            if offset + byte_size > size:
                raise InvalidRequestError(
                    f"shared memory {key!r} has {size} bytes; {offset} + {byte_size} would reach beyond its end"
                )
        except BaseException:
            os.close(descriptor)
            raise
        self._regions[name] = Region(name, key, offset, byte_size, descriptor)

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all for an empty name. A name that is not registered is no error."""
        for key in [name] if name else list(self._regions):
            region = self._regions.pop(key, None)
            if region is not None:
                os.close(region.descriptor)

    def close(self) -> None:
        """Forget every region."""
        self.unregister()

    def regions(self, name: str = "") -> tuple[Region, ...]:
        """Return one region, or all for an empty name.

        Raises:
            SharedMemoryRegionNotFoundError: there is none called *name*.
        """
        return (self._require(name),) if name else tuple(self._regions.values())

    def check(self, place: Place) -> Region:
        """Return the region that *place* is in.

        Raises:
            SharedMemoryDisabledError: this server does not use shared memory.
            SharedMemoryRegionNotFoundError: no such region is registered.
            InvalidRequestError: *place* reaches beyond its region.
        """
        if not self.enabled:
            raise SharedMemoryDisabledError
        region = self._require(place.region)
        if place.offset + place.byte_size > region.byte_size:
            raise InvalidRequestError(
                f"shared memory region {place.region!r} has {region.byte_size} bytes; "
                f"{place.offset} + {place.byte_size} reaches beyond its end"
            )
        return region

    def read(self, place: Place) -> bytes:
        """Return a copy of what is at *place*.

        Raises:
            SharedMemoryDisabledError, SharedMemoryRegionNotFoundError, InvalidRequestError: as `check` says; also if
                the object has been made smaller since it was registered.
        """
        region = self.check(place)
        data = os.pread(region.descriptor, place.byte_size, region.offset + place.offset)
        if len(data) != place.byte_size:
            raise _shrunk(region)
        return data

    def write(self, place: Place, data: bytes) -> None:
        """Put *data*, which is no longer than `place.byte_size`, at *place*.

        Raises:
            SharedMemoryDisabledError, SharedMemoryRegionNotFoundError, InvalidRequestError: as `read` says.
        """
        region = self.check(place)
        start = region.offset + place.offset
        if os.fstat(region.descriptor).st_size < start + len(data):  # a write would make it grow again
            raise _shrunk(region)
        try:
            written = os.pwrite(region.descriptor, data, start)
        except OSError as error:
            raise InvalidRequestError(f"shared memory region {region.name!r}: {error.strerror}") from None
        if written != len(data):
            raise _shrunk(region)

    def _require(self, name: str) -> Region:
        region = self._regions.get(name)
        if region is None:
            raise SharedMemoryRegionNotFoundError(name[:_NAME_LIMIT])
        return region


def place_of(given: parameters.Parameters) -> Place | None:
    """Return where a tensor's parameters say it is; None for one that is not in shared memory.

    Raises:
        InvalidRequestError: a shared memory parameter is of the wrong type, negative or missing.
    """
    region = parameters.text(given, "shared_memory_region")
    if region is None:
        return None
    byte_size = parameters.integer(given, "shared_memory_byte_size")
    if byte_size is None:
        raise InvalidRequestError("parameter shared_memory_byte_size is missing beside shared_memory_region")
    return Place(region, parameters.integer(given, "shared_memory_offset") or 0, byte_size)


def _open(key: str) -> int:
    match = _KEY.fullmatch(key)
    if match is None:
        raise InvalidRequestError(f"key: expected a plain POSIX name such as '/name', found {key[:_NAME_LIMIT]!r}")
    try:
        # Neither a link out of there nor a pipe that blocks.
        descriptor = os.open(f"{MOUNT}/{match[1]}", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidRequestError(f"shared memory {key!r}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InvalidRequestError(f"shared memory {key!r} is no shared memory object")
    return descriptor


def _shrunk(region: Region) -> InvalidRequestError:
    return InvalidRequestError(f"shared memory region {region.name!r} has been made smaller since it was registered")
