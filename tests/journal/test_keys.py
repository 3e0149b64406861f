"""One key for all who write into a journal, and raw units nowhere."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from turnout_server.journal.keys import KEY, hashed, key_id, keys_in, own_keys
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


@pytest.mark.parametrize("content", ["", "xyz", "11" * 15, "11" * 65])
def test_a_bad_key_file(content: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="keys"):
        keys_in(file)


def test_a_third_key_is_one_too_many(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("\n".join(["11" * 16, "22" * 16, "33" * 16]))
    with pytest.raises(ConfigurationError, match="expected one or two"):
        keys_in(file)


MAKER = """
import sys
from pathlib import Path
from turnout_server.journal.keys import own_keys
sys.stdin.read(1)
print(own_keys(Path(sys.argv[1]))[0].hex())
"""


def test_processes_that_make_a_key_at_once_get_one(tmp_path: Path) -> None:
    here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # the code under test, whatever is installed
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=here
        )
        for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("x")
        maker.stdin.flush()
    found = {maker.communicate(timeout=60)[0].splitlines()[-1] for maker in makers}
    assert found == {(tmp_path / KEY).read_text().strip()}
    assert [file.name for file in tmp_path.iterdir()] == [KEY]
    assert stat.S_IMODE((tmp_path / KEY).stat().st_mode) == 0o600


def test_a_key_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / KEY).write_text("11" * 16)
    assert own_keys(tmp_path) == (b"\x11" * 16,)
    assert (tmp_path / KEY).read_text() == "11" * 16


def test_units_are_hashed_with_the_key(tmp_path: Path) -> None:
    key = b"k" * 16
    assert hashed("ann", key) == hashlib.blake2b(b"ann", key=key, digest_size=16).digest()
    assert hashed("ann", key) != hashed("ann", b"l" * 16)
    assert len(hashed("\ud800", key)) == 16
    assert key_id(key) == hashlib.blake2b(key, person=b"turnout.key").hexdigest()[:8]
