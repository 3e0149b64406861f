"""What one start of a gateway is called."""

from __future__ import annotations

import re

import pytest

from turnout_server.journal.boot import identify


@pytest.mark.parametrize("instance", ["../../etc/cron.d", "a b/c", "...", None])
def test_an_instance_is_safe_as_a_part_of_a_file_name(instance: str | None) -> None:
    boot = identify(instance, 0x692937A0)
    assert boot.instance
    assert not set(boot.name) & set("/ ")
    assert not boot.name.startswith(".")
    assert (boot.boot[:8], len(boot.boot)) == ("692937a0", 16)


def test_two_boots_of_one_second_differ_and_later_ones_sort_later() -> None:
    one, other, later = identify("gw", 10.0), identify("gw", 10.9), identify("gw", 11.0)
    assert one.boot != other.boot
    assert max(one.boot, other.boot) < later.boot
    assert one.name == f"gw-{one.boot}"


@pytest.mark.parametrize(("instance", "expected"), [("GW-Zürich.1", "gw-z-rich.1"), ("x" * 99, "x" * 64)])
def test_an_instance_is_lower_case_and_short(instance: str, expected: str) -> None:
    assert identify(instance).instance == expected
    assert re.fullmatch(r"[a-z0-9._-]+", identify(None).instance)
