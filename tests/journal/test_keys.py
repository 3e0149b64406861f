"""What units are hashed with."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from turnout_server.journal.keys import key_id, keys_in, own_keys
from turnout_server.vocabulary.errors import ConfigurationError


def test_many_who_make_a_key_at_once_get_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(own_keys, [tmp_path] * 16))
    assert len(found) == 1
    assert [file.name for file in tmp_path.iterdir()] == [".key"]


def test_two_keys_newest_first(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("11" * 16 + "\n" + "22" * 32 + "\n")
    assert keys_in(file) == (b"\x11" * 16, b"\x22" * 32)
    assert len(key_id(b"\x11" * 16)) == 8


@pytest.mark.parametrize("content", ["", "xyz", "11" * 15, "11" * 65, "\n".join(["11" * 16] * 3)])
def test_a_bad_key_file(content: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="keys"):
        keys_in(file)
