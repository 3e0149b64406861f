"""What the kernel tells of changes in directories, so that a store in which nothing happens is seldom looked at.

Linux only, and only of file systems whose every change goes through this kernel: what another machine does to a shared
one is never told. Where there is any doubt nothing counts as quiet, and all is looked at as if this were not here.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
import weakref
from pathlib import Path

_IN_MODIFY, _IN_ATTRIB = 0x2, 0x4
_IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x40, 0x80, 0x100, 0x200
_IN_DELETE_SELF, _IN_MOVE_SELF = 0x400, 0x800
_IN_ONLYDIR = 0x1000000
_CONTENT = _IN_MODIFY | _IN_ATTRIB | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
_MASK = _CONTENT | _IN_DELETE_SELF | _IN_MOVE_SELF | _IN_ONLYDIR
_NO_MORE = (errno.ENOSPC, errno.ENOMEM)
"""How the kernel says that it listens to as many directories as it may for this user."""
_READ_BYTES = 1 << 16

_LOCAL = frozenset(
    {
        0xEF53,  # ext2, ext3, ext4
        0x58465342,  # XFS
        0x9123683E,  # Btrfs
        0x2FC12FC1,  # ZFS
        0xF2F52010,  # F2FS
        0x01021994,  # tmpfs
    }
)
"""File systems of one machine, by the number that `statfs` has for them. Not overlayfs: its layers may change, too."""
_STATFS_BYTES = 512
"""More than any system's `struct statfs`."""

_libc = ctypes.CDLL(None, use_errno=True)


class Notices:
    """Listens to a directory and to those in it. One thread at a time.

    To be told of all, listen first and look then: `begin`, look into the outer directory, `add` and look into each of
    the others, `complete`.
    """

    def __init__(self, directory: Path, edited: str) -> None:
        """Listen to nothing yet.

        Args:
            directory: the outer one.
            edited: the name of a file in the others that may be edited in place.
        """
        self._directory = directory
        self._edited = edited
        self._may = sys.platform == "linux"
        self._descriptor: int | None = None
        self._place: tuple[int, int] | None = None
        """Device and inode of the outer directory."""
        self._hears_all = False
        self._completed = False

    def begin(self) -> None:
        """Listen to the outer directory."""
        self._hears_all = self._completed = False
        place = self._find()  # first: what takes its place from now on is another one
        if place != self._place:
            self._stop()  # the kernel would go on listening to those in the old one
        self._place = place
        if not self._may or self._place is None or not _is_local(self._directory):
            return
        if self._descriptor is None:
            descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if descriptor < 0:
                return
            self._descriptor, self._close = descriptor, weakref.finalize(self, os.close, descriptor)
        self._hears_all = self._listen(self._directory)

    def add(self, folder: os.DirEntry[str]) -> None:
        """Listen to a directory in it. Again does no harm; a link is nobody's folder, and none needs to hear of it."""
        if self._hears_all and not folder.is_symlink():
            self._hears_all = self._listen(folder) and self._is_within_hearing(folder)

    def complete(self) -> None:
        """All was listened to and looked at."""
        self._completed = self._hears_all

    def are_none(self) -> bool:
        """Say whether surely nothing has changed since all was looked at."""
        if self._descriptor is None or not self._completed:
            return False
        # Another directory may have come into this one's place without a word to this one.
        return self._find() == self._place and not _drain(self._descriptor)

    def _find(self) -> tuple[int, int] | None:
        try:
            found = self._directory.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _listen(self, directory: Path | os.DirEntry[str]) -> bool:
        if self._descriptor is None:
            return False
        if _libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MASK) >= 0:
            return True
        if ctypes.get_errno() in _NO_MORE:
            # All are given back, and for good: others may need them more.
            self._may = False
            self._stop()
        return False

    def _stop(self) -> None:
        if self._descriptor is not None:
            self._descriptor = None
            self._close()

    def _is_within_hearing(self, folder: os.DirEntry[str]) -> bool:
        """Say whether it is on the same device, and the edited file is in it alone.

        What a link leads to, or what has a second name, may be edited elsewhere without a word to this folder.
        """
        try:
            if self._place is None or folder.stat(follow_symlinks=False).st_dev != self._place[0]:
                return False
            found = os.lstat(f"{folder.path}/{self._edited}")
            return not stat.S_ISLNK(found.st_mode) and found.st_nlink == 1
        except FileNotFoundError:
            return True
        except OSError:
            return False


def _drain(descriptor: int) -> bool:
    """Take what has come, and say whether anything has."""
    heard = False
    try:
        while os.read(descriptor, _READ_BYTES):
            heard = True
    except BlockingIOError:
        return heard
    except OSError:
        return True
    return heard


def _is_local(directory: Path) -> bool:
    """Say whether *directory* is on a file system that is known to be this machine's own."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _libc.statfs(os.fsencode(directory), found) != 0:
        return False
    return (ctypes.c_ulong.from_buffer(found).value & 0xFFFFFFFF) in _LOCAL
