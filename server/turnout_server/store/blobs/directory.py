"""Blobs in a directory, on any file system that its users share and that has POSIX renames and locks.

A blob is a file, a folder a directory. Files are written beside, in `.staging/`, synced, and renamed into place. A
condition is looked at and acted on under one lock file, `.staging/lock`, which the kernel takes from whoever dies; a
tag is the content's digest.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from turnout_server.store import files
from turnout_server.store.blobs import MOST_BLOB_BYTES, Blob, Entry, Node, Size, Stamp
from turnout_server.store.blobs.notices import Notices

_SETTLED_S = 2.0
"""A directory touched more recently than this is not settled: its clock may be too coarse for the next change."""

_MISSING = (FileNotFoundError, NotADirectoryError)


class DirectoryBlobs:
    """`Blobs` under the directory *root*, which the first write makes."""

    def __init__(self, root: Path) -> None:
        """Use *root*; nothing is read yet."""
        self._root = root
        self._staging = root / ".staging"
        self._lock = self._staging / "lock"
        self._notices: dict[tuple[str, str], Notices] = {}

    def check(self) -> None:
        """Raise `StoreError` where *root* is no directory."""
        with files.plain_errors("read the store"):
            if not stat.S_ISDIR(self._root.stat().st_mode):
                raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(self._root))

    def get(self, key: str) -> Blob | None:
        """Return the file *key*."""
        with files.plain_errors(f"read {key}"):
            return self._get(key)

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        """Return what is in the directory *folder*; a link counts as a folder that has no marker."""
        path = self._root / folder
        with files.plain_errors(f"list {folder}"):
            try:
                if not stat.S_ISDIR(path.lstat().st_mode):
                    return None
            except _MISSING:
                return None
            with os.scandir(path) as found:
                entries = tuple(_entry(entry, marker) for entry in found if entry.name[0] != ".")
            # A store that goes away in the middle of a look seems to be empty, when really it cannot be read.
            path.lstat()
        return entries

    def stamps(self, folder: str, edited: str = "") -> Iterator[Stamp]:
        """Yield the directories in *folder*.

        What appears or is replaced does so by a rename into its directory, which changes the directory's time. A file
        edited in place changes its own.
        """
        notices = self._notices.get((folder, edited))
        if notices is not None:
            notices.begin()
        with files.plain_errors(f"list {folder}"):
            found = _subdirectories(self._root / folder)
        # Taken once, and early: what seems too young because of that is only looked at once more.
        settled_before = time.time() - _SETTLED_S
        for entry in found:
            if notices is not None:
                notices.add(entry)
            try:
                yield _stamp(entry, edited, settled_before)
            except OSError:
                yield Stamp(entry.name, None, False)
        if notices is not None:
            notices.complete()

    def is_quiet(self, folder: str, edited: str = "") -> bool:
        """Ask the kernel, which listens from the next stamps on."""
        notices = self._notices.get((folder, edited))
        if notices is None:
            notices = self._notices[folder, edited] = Notices(self._root / folder, edited)
        return notices.are_none()

    def put_if_absent(self, key: str, content: bytes) -> bool:
        """Create the file *key* under the lock."""
        return self._put(key, content, None)

    def put_if_match(self, key: str, content: bytes, tag: str) -> bool:
        """Replace the file *key* under the lock."""
        return self._put(key, content, tag)

    def delete(self, key: str) -> bool:
        """Remove the file *key* under the lock."""
        path = self._root / key
        with files.plain_errors(f"remove {key}", writing=True), files.locked(self._lock):
            try:
                path.unlink()
            except _MISSING:
                return False
            files.sync_dir(path.parent)
            return True

    def delete_tree(self, folder: str) -> bool:
        """Rename the directory *folder* into a workspace, which goes with it; a link goes alone."""
        path = self._root / folder
        with self.workspace() as grave, files.plain_errors(f"remove {folder}", writing=True):
            with files.locked(self._lock):
                try:
                    path.rename(grave / "removed")
                except _MISSING:
                    return False
                files.sync_dir(path.parent)
            return True

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Lend a directory on the store's own file system, so that what is in it can be renamed into place."""
        with files.plain_errors("write to the store", writing=True):
            files.make_dirs(self._staging)
            workspace = files.workspace(self._staging, self._lock)
            inside = workspace.__enter__()
        try:
            yield inside
        finally:
            workspace.__exit__(None, None, None)

    def put_tree_if_absent(self, folder: str, tree: Path, last: str) -> bool:
        """Rename *tree* to *folder*: all of it appears at once, and *last* needs no care.

        The rename refuses to replace anything, so even a writer that ignores the lock destroys nothing.
        """
        target = self._root / folder
        with files.plain_errors(f"write {folder}", writing=True):
            files.sync_tree(tree)
            with files.locked(self._lock):
                files.make_dirs(target.parent)
                if os.path.lexists(target):
                    return False
                try:
                    tree.rename(target)
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                        raise
                    return False
                files.sync_dir(target.parent)
                return True

    def walk(self, folder: str) -> Mapping[str, Node]:
        """Return what is in the directory *folder*."""
        with files.plain_errors(f"list {folder}"):
            return walk(self._root / folder)

    def measure(self, key: str, most: int) -> Size:
        """Return size and digest of the file *key*."""
        with files.plain_errors(f"read {key}"):
            return measure(self._root / key, most)

    def download(self, key: str, target: Path) -> None:
        """Copy the file *key*."""
        with files.plain_errors(f"copy {key}"), ExitStack() as its:
            reader = its.enter_context(files.opened(self._root / key))
            shutil.copyfileobj(reader, its.enter_context(target.open("xb")), files.CHUNK_BYTES)

    def local(self, folder: str) -> Path | None:
        """Return the directory *folder*."""
        return self._root / folder

    def _get(self, key: str) -> Blob | None:
        try:
            content = files.read(self._root / key, MOST_BLOB_BYTES)
        except _MISSING:
            return None
        return Blob(content, _tag(content))

    def _put(self, key: str, content: bytes, tag: str | None) -> bool:
        path = self._root / key
        with files.plain_errors(f"write {key}", writing=True), files.locked(self._lock):
            present = self._get(key)
            if (None if present is None else present.tag) != tag:
                return False
            files.make_dirs(path.parent)
            files.replace(path, content, self._staging)
            return True


def walk(directory: Path) -> dict[str, Node]:
    """Return all that is in a local directory at any depth, following no link. Raise `OSError` where it cannot be."""
    return dict(_walk(directory, ""))


def measure(path: Path, most: int) -> Size:
    """Return size and digest of what is in a local file now; of more than *most* bytes the size alone.

    Raise `OSError` where it cannot be read.
    """
    with files.opened(path) as reader:
        size = os.fstat(reader.fileno()).st_size
        if size > most:
            return Size(size, "")
        sha256 = hashlib.file_digest(reader, "sha256").hexdigest()
        return Size(reader.tell(), sha256)


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Node]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            node = _node(entry.stat(follow_symlinks=False).st_mode)
            yield prefix + entry.name, node
            if node is Node.FOLDER:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _node(mode: int) -> Node:
    if stat.S_ISREG(mode):
        return Node.FILE
    if stat.S_ISDIR(mode):
        return Node.FOLDER
    return Node.LINK if stat.S_ISLNK(mode) else Node.OTHER


def _entry(entry: os.DirEntry[str], marker: str) -> Entry:
    if entry.is_symlink():
        return Entry(entry.name, True, False)
    is_folder = entry.is_dir(follow_symlinks=False)
    return Entry(entry.name, is_folder, is_folder and bool(marker) and _has(entry, marker))


def _has(folder: os.DirEntry[str], name: str) -> bool:
    try:
        return stat.S_ISREG(os.lstat(f"{folder.path}/{name}").st_mode)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True  # Perhaps; who reads it learns why not, and others learn that it exists.


def _subdirectories(path: Path) -> list[os.DirEntry[str]]:
    """Return the directories, and links, in *path* that are not hidden, sorted; none where *path* is missing."""
    try:
        with os.scandir(path) as entries:
            found = [e for e in entries if e.name[0] != "." and (e.is_dir(follow_symlinks=False) or e.is_symlink())]
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def _stamp(entry: os.DirEntry[str], edited: str, settled_before: float) -> Stamp:
    if entry.is_symlink():
        return Stamp(entry.name, None, False, "is a symbolic link; a model has to be a directory here")
    own = entry.stat(follow_symlinks=False)
    mark: tuple[int, ...] = (own.st_ino, own.st_mtime_ns)
    newest = own.st_mtime
    if edited:
        try:
            file = os.stat(f"{entry.path}/{edited}")  # noqa: PTH116 - a thousand times a second
        except FileNotFoundError:
            pass
        else:
            mark = (*mark, file.st_ino, file.st_mtime_ns, file.st_size)
            newest = max(newest, file.st_mtime)
    return Stamp(entry.name, mark, newest < settled_before)


def _tag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
