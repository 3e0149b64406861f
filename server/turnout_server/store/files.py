"""Files that survive crashes: locked, copied, replaced and removed so that no half of anything is ever seen."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from turnout_server.vocabulary.errors import StoreError, StoreReadOnlyError

CHUNK_BYTES = 1 << 20

_READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def plain_errors(doing: str, *, writing: bool = False) -> Iterator[None]:
    """Turn an `OSError` within into a `StoreError` that says in one sentence what could not be done.

    Of *writing* that is not allowed it is a `StoreReadOnlyError`.
    """
    try:
        yield
    except OSError as error:
        kind = StoreReadOnlyError if writing and error.errno in _READ_ONLY else StoreError
        # No path: callers see the message, and where the store is here is not theirs to know. Commands add it.
        raised = kind(f"cannot {doing}: {error.strerror or type(error).__name__}")
        raised.place = str(error.filename or "")
        raise raised from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file *path*, waiting for it; the kernel lets go of it when its holder dies."""
    make_dirs(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # Closing alone would leave it held by a child that was forked meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Say whether some process may hold the lock file *path*; a missing file is held by nobody."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # Another user's: nothing proves that it is dead.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def workspace(staging: Path, lock: Path) -> Iterator[Path]:
    """Lend an empty directory under *staging*, removed afterwards; first remove what crashed processes left there.

    A workspace is held by a lock of its own, so the next caller can tell a slow owner from a dead one. Making a
    workspace and judging others both happen under *lock*: one without a lock file is dead, not just young.
    """
    with contextlib.ExitStack() as stack:
        with locked(lock):
            for entry in os.scandir(staging):
                if entry.is_dir(follow_symlinks=False) and not is_locked(Path(entry.path, "lock")):
                    shutil.rmtree(entry.path, ignore_errors=True)
            place = Path(tempfile.mkdtemp(dir=staging))
            stack.callback(shutil.rmtree, place, ignore_errors=True)
            stack.enter_context(locked(place / "lock"))
        inside = place / "work"
        inside.mkdir()
        yield inside


def copy(reader: BinaryIO, target: Path, on_progress: Callable[[int], None]) -> tuple[str, int]:
    """Copy what *reader* has to *target*, on disk and read-only; return SHA-256 (hex) and size (bytes) of it.

    *on_progress* hears of each chunk's bytes.
    """
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as writer:
        while chunk := reader.read(CHUNK_BYTES):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            on_progress(len(chunk))
        _settle(writer.fileno(), writer.flush)
    return digest.hexdigest(), size


def write(path: Path, content: bytes) -> None:
    """Write a whole new read-only file, replacing nothing, and wait until it is on disk."""
    with path.open("xb") as writer:
        writer.write(content)
        _settle(writer.fileno(), writer.flush)


def _settle(descriptor: int, flush: Callable[[], None]) -> None:
    flush()
    os.fchmod(descriptor, 0o444)
    os.fsync(descriptor)


def replace(path: Path, content: bytes, staging: Path) -> None:
    """Give *path* new content at once, as seen by any reader and after any crash. The caller holds the store's lock."""
    draft = staging / f"{path.name}.new"
    with draft.open("wb") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
    draft.replace(path)
    sync_dir(path.parent)


def make_dirs(path: Path) -> None:
    """Make *path* and its parents where missing, durably."""
    if path.is_dir():
        return
    make_dirs(path.parent)
    path.mkdir(exist_ok=True)
    sync_dir(path.parent)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """Open a plain file for reading, or one that a link leads to: a pipe would keep its reader waiting for ever.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as reader:
            yield reader
    finally:
        os.close(descriptor)


def read(path: Path, most: int) -> bytes:
    """Return what is in a plain file of at most so many bytes.

    Raises:
        OSError: it cannot be read, is something else, or larger; one that grows meanwhile, too.
    """
    with opened(path) as reader:
        size = os.fstat(reader.fileno()).st_size
        content = b"" if size > most else reader.read(most + 1)
        if max(size, len(content)) > most:
            raise OSError(errno.EFBIG, f"has {max(size, len(content))} bytes; at most {most} are read", str(path))
        return content


def sync_dir(path: Path) -> None:
    """Wait until the names in directory *path* are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Wait until the names in *path* and every directory below it are on disk."""
    for directory, _, _ in os.walk(path, topdown=False):
        sync_dir(Path(directory))
