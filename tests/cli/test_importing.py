"""What a start imports, it imports without looking for garbage."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

import pytest

from tests.e2e.conftest import environment
from turnout_server.cli.importing import importing

SERVE = """
import gc, json, sys
collecting = {}

class Watch:
    def find_spec(self, name, path=None, target=None):
        collecting[name] = gc.isenabled()

sys.meta_path.insert(0, Watch())
sys.argv[1:] = ["serve", "--store", "nowhere", "--listen", "127.0.0.1:0", "--metrics", "off"]
from turnout_server.cli import main
try:
    main()
except SystemExit as end:
    watched = [collecting[name] for name in ("turnout_server.cli.application", "turnout_server.app")]
    print(json.dumps([end.code, watched, gc.isenabled()]))
"""


def test_nothing_is_collected_meanwhile_and_then_as_before() -> None:
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_module_that_is_missing_changes_nothing() -> None:
    with pytest.raises(ModuleNotFoundError), importing():
        raise ModuleNotFoundError
    assert gc.isenabled()


def test_a_gateway_starts_so_and_collects_once_it_serves() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(done.stdout) == [69, [False, False], True], done.stderr
