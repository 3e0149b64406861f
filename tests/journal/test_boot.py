"""What a start of a gateway is called."""

from __future__ import annotations

import pytest

from turnout_server.journal.boot import identify


@pytest.mark.parametrize("instance", ["../../etc/cron.d", "a b/c", "...", "Gateway_7", None])
def test_an_instance_is_safe_as_a_part_of_a_file_name(instance: str | None) -> None:
    boot = identify(instance, 0x692937A0)
    assert boot.instance
    assert not set(boot.name) & set("/ ")
    assert not boot.name.startswith(".")
    assert boot.name == boot.name.lower()
    assert (boot.boot[:8], len(boot.boot)) == ("692937a0", 16)
