"""`turnout incident`: all that helps, and nothing that is somebody's."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.test_readings import TEXT, Serve, serve  # noqa: F401
from tests.client.fake import FakeGateway
from turnout_server.cli import exits, health

LOG = """\
{"timestamp": "2026-11-29T01:00:00Z", "level": "error", "event": "a run took too long", "model": "price", "unit": "u-7"}
Fatal Python error: Segmentation fault
calling with token=s3cret for unit=customer
"""
SECRETS = ("vip", "x-qa: ", "u-7", "s3cret", "Ideal", "p4ss")


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    fake = FakeGateway()
    yield fake
    fake.stop()


def contents(bundle: Path) -> dict[str, str]:
    with tarfile.open(bundle) as opened:
        files = {Path(entry.name).name: opened.extractfile(entry) for entry in opened.getmembers()}
        return {name: file.read().decode() for name, file in files.items() if file is not None}


def test_a_bundle_has_all_that_helps_and_no_units_features_or_secrets(
    run: Run,
    store: Path,
    tmp_path: Path,
    gateway: FakeGateway,
    serve: Serve,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=p4ss")
    log, bundle = tmp_path / "log.jsonl", tmp_path / "incident-7.tar.gz"
    log.write_text("left behind\n" + LOG)
    places = ("--target", gateway.target, "--metrics", f"127.0.0.1:{serve(200, TEXT.encode())}")
    ran = run("incident", *places, "--log", log, "--lines", "3", "--output", bundle)
    assert (ran.code, ran.err) == (0, "")
    found = contents(bundle)
    assert found.keys() == {
        "README.txt", "versions.json", "doctor.json", "health.json", "models.json", "routes.json", "store.json",
        "metrics.txt", "log.txt",
    }  # fmt: skip
    for name, content in found.items():
        assert name in ran.out
        for secret in SECRETS:
            assert secret not in content, (name, secret)
    assert found["metrics.txt"] == TEXT
    assert "Segmentation fault" in found["log.txt"]
    assert "left behind" not in found["log.txt"]
    stored: dict[str, Any] = json.loads(found["store.json"])
    assert stored["models"]["price"]["labels"] == {"champion": 1, "challenger": 2}
    (price,) = [route for route in stored["routes"] if route["name"] == "price"]
    assert price["overrides"][1] == {"target": "control", "headers": [], "units": 1}
    assert json.loads(found["versions.json"])["environment"].count("OTEL_EXPORTER_OTLP_HEADERS") == 1
    assert {one["what"] for one in json.loads(found["doctor.json"])} >= {"python", "store", "routes", "gateway"}
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_a_gateway_that_is_gone_is_named_and_the_rest_is_there(run: Run, store: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"
    ran = run("incident", "--target", "127.0.0.1:9", "--metrics", "127.0.0.1:9", "-o", bundle, "--json")
    assert ran.code == 0
    missing = {part["name"] for part in ran.json["parts"] if part["problem"]}
    assert missing == {"health.json", "models.json", "routes.json", "metrics.txt"}
    found = contents(bundle)
    assert not missing & found.keys()
    assert "missing: cannot reach 127.0.0.1:9" in found["README.txt"]
    assert "store.json" in found


def test_another_bundle_is_not_written_over(run: Run, store: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b.tar.gz"
    bundle.write_text("mine")
    ran = run("incident", "--target", "127.0.0.1:9", "--metrics", "127.0.0.1:9", "-o", bundle)
    assert (ran.code, ran.err) == (69, f"turnout: error: {bundle}: File exists\n")
    assert bundle.read_text() == "mine"


def test_the_bundle_has_the_health_of_the_server_and_of_each_route_and_why(
    run: Run, store: Path, tmp_path: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"": ("SERVING", ""), "route/price": ("NOT_SERVING", "price 2: a run took too long")}
    monkeypatch.setattr(health, "asked", lambda target, service, timeout_s: said.get(service, ("SERVING", "")))
    bundle = tmp_path / "b.tar.gz"
    assert run("incident", "--target", gateway.target, "--metrics", "127.0.0.1:9", "-o", bundle).code == 0
    found = json.loads(contents(bundle)["health.json"])
    assert found["server"] == {"status": "SERVING", "why": ""}
    assert found["routes"]["price"] == {"status": "NOT_SERVING", "why": "price 2: a run took too long"}
    assert found["problem"] is None


def test_what_a_gateway_said_of_its_health_is_kept_when_it_says_no_more(
    run: Run, store: Path, tmp_path: Path, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(target: str, service: str, timeout_s: float) -> tuple[str, str]:
        if service:
            raise exits.CommandError("no answer", exits.FAILED)
        return "NOT_SERVING", "the gateway is stopping"

    monkeypatch.setattr(health, "asked", asked)
    bundle = tmp_path / "b.tar.gz"
    assert run("incident", "--target", gateway.target, "--metrics", "127.0.0.1:9", "-o", bundle).code == 0
    assert json.loads(contents(bundle)["health.json"]) == {
        "server": {"status": "NOT_SERVING", "why": "the gateway is stopping"},
        "routes": {},
        "problem": "no answer",
    }
