"""An orchestrator replaces gateways, and goes by their health: what cannot do its work never gets traffic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import turnout
from tests.e2e import probes
from tests.e2e.conftest import Gateway, StartGateway, environment
from tests.e2e.tiny_store import ROUTES
from turnout_server.cli import probe
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.store.store import DirectoryStore

CHECKS = 5
"""A deployment that does not pass one of so many checks is reverted."""


class Orchestrator:
    """A job of one gateway, with a canary beside it at each deployment, and auto-revert."""

    def __init__(self, start: StartGateway, store: Path) -> None:
        """Run the first gateway on *store*."""
        self._start = start
        self._store = store
        self.serving = start(store)
        self.said: list[probe.Answer] = []
        """What the checks of the last deployment were told."""

    def deploy(self) -> bool:
        """Start a gateway beside the old one, and keep the one that is healthy; return whether that is the new one."""
        canary, self.said = self._start(self._store), []
        while len(self.said) < CHECKS and (probe.SERVING, "") not in self.said:
            self.said.append(asked(canary))
        promoted = (probe.SERVING, "") in self.said
        leaving, self.serving = (self.serving, canary) if promoted else (canary, self.serving)
        assert leaving.terminate() == 0
        return promoted


def asked(gateway: Gateway, service: str = "") -> probe.Answer:
    answer = probe.ask(gateway.address, service, 20.0)
    assert answer is not None
    return answer


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "turnout_server", *arguments],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def spoil(store: Path, model: str, version: int) -> None:
    """Make a version one that cannot be loaded."""
    file = store / f"models/{model}/{version}/model.onnx"
    file.chmod(0o644)
    file.write_bytes(b"not the model that was published")


def ready(gateway: Gateway, name: str) -> tuple[bool, bool]:
    """Return what ServerReady says, and ModelReady of *name*."""
    with probes.connected(gateway.address) as channel:
        service = "inference.GRPCInferenceService"
        server = probes.unary(channel, f"{service}/ServerReady")(b"", timeout=20.0)
        asked_for = oip.ModelReadyRequest(name=name).SerializeToString()
        model = probes.unary(channel, f"{service}/ModelReady")(asked_for, timeout=20.0)
    return oip.ServerReadyResponse.FromString(server).ready, oip.ModelReadyResponse.FromString(model).ready


def test_a_champion_that_cannot_be_loaded_is_reverted_and_the_old_gateway_stays(
    store: Path, start_gateway: StartGateway
) -> None:
    job = Orchestrator(start_gateway, store)
    old = job.serving
    spoil(store, "ranking", 2)  # the route's challenger; what is loaded goes on
    DirectoryStore(store).set_label("ranking", "champion", 2)

    assert not job.deploy()
    assert job.serving is old
    assert len(job.said) == CHECKS
    for status, why in job.said:
        assert status == "NOT_SERVING"
        assert why.startswith("route 'ranking': model 'ranking' version 2 is not available: ")
        assert "model.onnx" in why

    # What serves is as well as before, though it cannot load that version anew either.
    assert (asked(old), asked(old, "route/ranking")) == ((probe.SERVING, ""), (probe.SERVING, ""))
    assert ready(old, "ranking") == (True, True)
    with turnout.Client(old.address) as client:
        assert client.rank("ranking", {"a": {"price": 1}}).served.model == "ranking"

    DirectoryStore(store).set_label("ranking", "champion", 1)
    DirectoryStore(store).set_label("ranking", "challenger", 1)
    assert job.deploy()
    assert job.serving is not old


def test_a_cold_start_with_a_wrong_table_is_told_everywhere_until_it_is_mended(
    store: Path, start_gateway: StartGateway
) -> None:
    (store / "routes.yaml").write_text(ROUTES.replace("weight: 90", "weight: heavy"))
    gateway = start_gateway(store)
    place = "$.routes.ranking.targets[0].weight"
    assert gateway.started["health"] == "NOT_SERVING"
    assert gateway.started["why"].startswith(f"there is no route table: {place}")
    assert "there is none before it" in gateway.log()
    for service in ("", "turnout.v1.RankingService", "route/ranking", "route/any"):
        status, why = asked(gateway, service)
        assert (status, place in why) == ("NOT_SERVING", True)
    assert ready(gateway, "price") == (False, False)

    check = command("health", "--target", gateway.address)
    assert (check.returncode, check.stderr) == (1, "")
    assert check.stdout.startswith(f"NOT_SERVING: there is no route table: {place}")
    doctor = command("doctor", "--store", str(store), "--target", gateway.address, "--json")
    found = {one["what"]: one["found"] for one in json.loads(doctor.stdout) if one["result"] == "fail"}
    assert doctor.returncode == 1
    assert place in found["routes"]
    assert place in found["gateway"]

    (store / "routes.yaml").write_text(ROUTES)
    probes.eventually(lambda: asked(gateway) == (probe.SERVING, ""))
    assert command("health", "--target", gateway.address, "--service", "route/ranking").stdout == "SERVING\n"
    assert ready(gateway, "price") == (True, True)
