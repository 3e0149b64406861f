"""The small parts: ring, counter file, keys, boots, causes."""

from __future__ import annotations

import errno
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.journal.records import record
from turnout_server.journal.boot import BOOTS, identify
from turnout_server.journal.counters import CLOSED, OFFERED, SIZE, CounterFile, counters_of
from turnout_server.journal.keys import key_id, keys_in, own_keys
from turnout_server.journal.ring import Ring
from turnout_server.journal.segments import cause_of
from turnout_server.vocabulary.errors import ConfigurationError


def test_a_full_ring_drops_the_newest_and_counts() -> None:
    ring = Ring(2)
    for seq in range(3):
        ring.append(record(seq))
    assert (ring.offered, ring.dropped, [one.seq for one in ring.take(9)]) == (3, 1, [0, 1])


def test_a_record_without_a_decision_is_not_offered() -> None:
    ring = Ring(2)
    ring.append(record(-1, decision=None))
    assert (ring.offered, len(ring)) == (0, 0)


def test_counters_move_from_memory_into_a_file(tmp_path: Path) -> None:
    ring = Ring(1)
    ring.append(record(0))
    ring.append(record(1))
    counters = CounterFile(tmp_path, "gw-1")
    ring.count_in(counters.cells)
    ring.append(record(2))
    said = counters_of(tmp_path / BOOTS / "gw-1")
    assert (said.offered, said.dropped["ring_full"], said.is_running) == (3, 2, True)
    ring.count_in(Ring(1).cells)
    counters.close()
    assert not counters_of(tmp_path / BOOTS / "gw-1").is_running


def test_a_counter_file_is_private_and_has_its_blocks(tmp_path: Path) -> None:
    counters = CounterFile(tmp_path, "gw-1")
    counters.cells[OFFERED], counters.cells[CLOSED] = 2**40, 1
    counters.close()
    file = tmp_path / BOOTS / "gw-1"
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_size) == (0o600, SIZE)
    assert file.stat().st_blocks * 512 >= SIZE
    assert file.read_bytes()[:16] == b"TURNOUT1" + (2**40).to_bytes(8, "little")


def test_another_file_is_no_counter_file(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(SIZE))
    with pytest.raises(ValueError, match="not a counter file"):
        counters_of(tmp_path / "other")


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


@pytest.mark.parametrize("instance", ["../../etc/cron.d", "a b/c", "...", None])
def test_an_instance_is_safe_as_a_part_of_a_file_name(instance: str | None) -> None:
    boot = identify(instance, 0x692937A0)
    assert boot.instance
    assert not set(boot.name) & set("/ ")
    assert not boot.name.startswith(".")
    assert (boot.boot[:8], len(boot.boot)) == ("692937a0", 16)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.EDQUOT, "quota"), "no_space"),
        (OSError(errno.EPERM, "no"), "no_permission"),
        (RuntimeError('failed: {"errno":"28"}'), "no_space"),
        (RuntimeError("Cannot open file: Read-only file system"), "no_permission"),
        (RuntimeError("whatever"), "io_error"),
    ],
)
def test_why_a_segment_could_not_be_written(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause
