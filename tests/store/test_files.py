"""Files that survive crashes, and readers that nobody can keep waiting."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from turnout_server.store import files
from turnout_server.vocabulary.errors import StoreError, StoreReadOnlyError


def test_a_pipe_keeps_no_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        files.read(tmp_path / "pipe", 3)
    (tmp_path / "plain").write_bytes(b"abc")
    assert files.read(tmp_path / "plain", 3) == b"abc"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_plain_files_are_read(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "it")
    with pytest.raises(OSError, match="not a plain file"):
        files.read(tmp_path / "it", 1 << 20)


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "it").symlink_to("it")
    with pytest.raises(OSError, match="Too many levels"):
        files.read(tmp_path / "it", 1)


def test_a_link_to_a_plain_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes shows the files of a ConfigMap so."""
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "it").symlink_to("real")
    assert files.read(tmp_path / "it", 3) == b"abc"


def test_what_is_too_large_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "sparse").open("wb") as writer:
        writer.truncate(3 << 30)
    with pytest.raises(OSError, match="has 3221225472 bytes; at most 16 are read"):
        files.read(tmp_path / "sparse", 16)


def test_a_file_that_is_another_size_than_it_says_is_bounded_too(tmp_path: Path) -> None:
    """As one that grows while it is read; what is in /proc says it has none."""
    with pytest.raises(OSError, match="at most 4 are read"):
        files.read(Path("/proc/self/maps"), 4)


def test_a_file_that_shrinks_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(b"x" * 100_000)
    with files.opened(path) as reader:
        path.write_bytes(b"abc")
        assert reader.read() == b"abc"


def test_a_lock_is_held_as_long_as_the_context_lasts(tmp_path: Path) -> None:
    lock = tmp_path / "deep" / "lock"
    assert not files.is_locked(lock)
    with files.locked(lock):
        assert files.is_locked(lock)
    assert not files.is_locked(lock)


def test_a_file_is_replaced_whole_and_a_written_one_is_read_only(tmp_path: Path) -> None:
    target = tmp_path / "labels.json"
    for content in (b"one", b"two"):
        files.replace(target, content, tmp_path)
        assert target.read_bytes() == content
    files.write(tmp_path / "manifest.json", b"{}")
    assert stat.S_IMODE((tmp_path / "manifest.json").stat().st_mode) == 0o444
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "manifest.json", b"{}")


def test_a_copy_says_what_was_written(tmp_path: Path) -> None:
    source, heard = tmp_path / "source", []
    source.write_bytes(b"x" * 3)
    with source.open("rb") as reader:
        digest, size = files.copy(reader, tmp_path / "target", heard.append)
    assert (size, sum(heard)) == (3, 3)
    assert digest == "cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860"


def test_the_systems_errors_say_what_could_not_be_done() -> None:
    with (
        pytest.raises(StoreError, match=r"^cannot read the labels: No such file or directory$"),
        files.plain_errors("read the labels"),
    ):
        Path("/nowhere/at/all").read_bytes()
    with pytest.raises(StoreReadOnlyError), files.plain_errors("write the labels", writing=True):
        raise PermissionError(13, "Permission denied")
