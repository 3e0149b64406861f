"""Files that survive crashes, and readers that nobody can keep waiting."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from turnout_server.store import files
from turnout_server.vocabulary.errors import StoreError, StoreReadOnlyError


def test_a_pipe_keeps_no_reader_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a plain file"):
        files.read(tmp_path / "pipe")
    (tmp_path / "plain").write_bytes(b"abc")
    assert files.read(tmp_path / "plain") == b"abc"


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
        pytest.raises(StoreError, match=r"cannot read the labels: .*: No such file"),
        files.plain_errors("read the labels"),
    ):
        Path("/nowhere/at/all").read_bytes()
    with pytest.raises(StoreReadOnlyError), files.plain_errors("write the labels", writing=True):
        raise PermissionError(13, "Permission denied")
