"""Blobs in memory, as an object store has them: single blobs only, conditional writes enforced, tags by revision."""

from __future__ import annotations

import builtins
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from turnout_server.store.blobs import Blob, Entry, Node, Size, Stamp
from turnout_server.vocabulary.errors import StoreError


class MemoryBlobs:
    """`Blobs` in a dictionary. *step* is called before each request that a real object store would see."""

    def __init__(self, step: Callable[[], None] = lambda: None) -> None:
        self._step = step
        self._blobs: dict[str, Blob] = {}
        self._revision = 0
        self._lock = Lock()

    def check(self) -> None:
        self._step()

    def get(self, key: str) -> Blob | None:
        self._step()
        return self._blobs.get(key)

    def list(self, folder: str, marker: str = "") -> tuple[Entry, ...] | None:
        self._step()
        below = self._below(folder)
        names = {key.partition("/")[0]: "/" in key for key in sorted(below)}
        entries = [Entry(name, deep, f"{name}/{marker}" in below) for name, deep in names.items() if name[0] != "."]
        return tuple(entries) if below else None

    def stamps(self, folder: str, edited: str = "") -> Iterator[Stamp]:
        self._step()
        marks: dict[str, builtins.list[tuple[str, str]]] = {}
        for path, blob in sorted(self._below(folder).items()):
            name, slash, rest = path.partition("/")
            if slash:
                marks.setdefault(name, []).append((rest, blob.tag))
        for name, mark in sorted(marks.items()):
            yield Stamp(name, tuple(mark), True)

    def is_quiet(self, folder: str, edited: str = "") -> bool:
        return False

    def put_if_absent(self, key: str, content: bytes) -> bool:
        return self._put(key, content, None)

    def put_if_match(self, key: str, content: bytes, tag: str) -> bool:
        return self._put(key, content, tag)

    def delete(self, key: str) -> bool:
        self._step()
        with self._lock:
            return self._blobs.pop(key, None) is not None

    def delete_tree(self, folder: str) -> bool:
        gone = [self.delete(f"{folder}/{path}") for path in sorted(self._below(folder))]
        return any(gone)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as place:
            yield Path(place)

    def put_tree_if_absent(self, folder: str, tree: Path, last: str) -> bool:
        self._step()
        if self._below(folder):
            return False
        paths = [path for path in sorted(tree.rglob("*")) if path.is_file() and path != tree / last]
        written = [self.put_if_absent(f"{folder}/{path.relative_to(tree)}", path.read_bytes()) for path in paths]
        return all(written) and self.put_if_absent(f"{folder}/{last}", (tree / last).read_bytes())

    def walk(self, folder: str) -> Mapping[str, Node]:
        self._step()
        return dict.fromkeys(self._below(folder), Node.FILE)

    def measure(self, key: str, most: int) -> Size:
        content = self._content(key)
        return Size(len(content), hashlib.sha256(content).hexdigest() if len(content) <= most else "")

    def download(self, key: str, target: Path) -> None:
        target.write_bytes(self._content(key))

    def local(self, folder: str) -> Path | None:
        return None

    def corrupt(self, key: str, content: bytes) -> None:
        """Change a blob as nobody may."""
        self._blobs[key] = self._blobs[key]._replace(content=content)

    def _below(self, folder: str) -> dict[str, Blob]:
        with self._lock:
            return {key[len(folder) + 1 :]: blob for key, blob in self._blobs.items() if key.startswith(f"{folder}/")}

    def _put(self, key: str, content: bytes, tag: str | None) -> bool:
        self._step()
        with self._lock:
            present = self._blobs.get(key)
            if (present and present.tag) != tag:
                return False
            self._revision += 1
            self._blobs[key] = Blob(content, str(self._revision))
            return True

    def _content(self, key: str) -> bytes:
        self._step()
        blob = self._blobs.get(key)
        if blob is None:
            raise StoreError(f"there is no {key}")
        return blob.content
