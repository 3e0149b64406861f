"""Everything changes while requests come in, and not one of them fails."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest

import turnout
from tests.e2e import graphs
from tests.e2e.conftest import Gateway, StartGateway
from tests.e2e.probes import connected, events, eventually, fp32, index, metrics, records, stream
from tests.e2e.tiny_store import PRICE, ROUTES, publish_graph
from tests.tables import check_all
from turnout_server.rpc.stubs import open_inference_pb2 as oip
from turnout_server.store.store import DirectoryStore
from turnout_server.vocabulary.task import Task


class Traffic:
    """Several clients that ask without a pause, never try anything twice, and remember what they got."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._over = threading.Event()
        self._answers = itertools.count(1)
        self.answers = 0
        self.failures: list[Exception] = []
        self.latest: dict[str, turnout.Served] = {}
        """By target of the route `price`, who answered last."""
        self._threads = [threading.Thread(target=one) for one in (self._price, self._price, self._rank, self._stream)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self) -> None:
        """Wait for a good many more answers, whatever is being served by now."""
        enough = self.answers + 100
        eventually(lambda: self.failures or self.answers > enough)
        assert self.failures == []

    def reaches(self, target: str, version: int) -> None:
        """Wait until *target*'s requests are answered by *version*."""
        eventually(lambda: self.failures or (target in self.latest and self.latest[target].version == version))
        self.goes_on()
        assert self.latest[target].version == version

    def _note(self, served: turnout.Served | None = None) -> None:
        if served is not None and served.route == "price":
            self.latest[served.target] = served
        self.answers = next(self._answers)

    def _until_over(self, ask: Callable[[], turnout.Served]) -> None:
        while not self._over.is_set():
            try:
                self._note(ask())
            except Exception as error:
                self.failures.append(error)

    def _price(self) -> None:
        with turnout.Client(self._gateway.address, retries=0, timeout=30) as client:
            units = itertools.count()
            self._until_over(lambda: client.predict_price("price", {"carat": 1}, unit=f"{next(units)}").served)

    def _rank(self) -> None:
        with turnout.Client(self._gateway.address, retries=0, timeout=30) as client:
            self._until_over(lambda: client.rank("ranking", {"a": {"price": 1}, "b": {"price": 2}}).served)

    def _stream(self) -> None:
        """One stream for the whole time, with one request under way at a time."""
        answered = threading.Semaphore(1)

        def requests() -> Iterator[bytes]:
            while not self._over.is_set():
                answered.acquire(timeout=30)
                yield fp32(1.0, model="echo-fp32").SerializeToString()

        try:
            with connected(self._gateway.address) as channel:
                for raw in stream(channel, "inference.GRPCInferenceService/ModelStreamInfer")(requests()):
                    answer = oip.ModelStreamInferResponse.FromString(raw)
                    assert not answer.error_message, answer.error_message
                    self._note()
                    answered.release()
        except Exception as error:
            self.failures.append(error)


@pytest.fixture
def gateway(store: Path, start_gateway: StartGateway) -> Gateway:
    """A gateway that looks at a store of its own ten times a second."""
    return start_gateway(store, "--set", "store.poll_s=0.1")


@pytest.fixture
def traffic(gateway: Gateway) -> Iterator[Traffic]:
    with Traffic(gateway) as traffic:
        yield traffic
    assert traffic.failures == []
    unavailable = {
        labels: n for labels, n in metrics(gateway, "turnout_requests_total").items() if n and not ok(labels)
    }
    assert unavailable == {}
    assert "Traceback" not in gateway.log()


def ok(labels: tuple[tuple[str, str], ...]) -> bool:
    return dict(labels)["code"] == "OK"


def publish_price(store: Path, tmp_path: Path, per_carat: float, label: str | None = None) -> int:
    file = tmp_path / "price.onnx"
    onnx.save(graphs.price(per_carat), file)
    return publish_graph(store, "price", Task.PRICE, PRICE, file, label=label)


def state(gateway: Gateway, model: str, version: int) -> tuple[str, str]:
    """Return a version's state and what there is to say about it, once both services that show it agree."""
    shown = {
        "AVAILABLE": "READY",
        "LOADING": "LOADING",
        "UNLOADING": "UNLOADING",
        "STORED": "UNAVAILABLE",
        "FAILED": "UNAVAILABLE",
    }
    with connected(gateway.address) as channel, turnout.Client(gateway.address) as client:
        found = next((one for one in client.model(model).versions if one.version == version), None)
        listed = index(channel).get((model, str(version)))
    agree = found is not None and listed is not None and listed[0] == shown[found.state]
    return (found.state, found.state_detail) if found is not None and agree else ("", "")


def put_table(store: Path, text: str) -> None:
    """Write a route table the way an editor does."""
    draft = store / "routes.yaml.draft"
    draft.write_text(text, encoding="utf-8")
    draft.replace(store / "routes.yaml")


# ---------------------------------------------------------------- what takes effect


def test_a_new_version_is_loaded_and_changes_nothing_by_itself(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    assert publish_price(store, tmp_path, 3000) == 3
    eventually(lambda: state(gateway, "price", 3)[0] == "AVAILABLE")
    traffic.goes_on()
    assert (traffic.latest["control"].version, traffic.latest["canary"].version) == (1, 2)
    with turnout.Client(gateway.address) as client:
        assert client.predict_price("price", {"carat": 1, "cut": "Fair"}, version=3).price == 3000
    assert len(events(gateway, "version available", model="price", version=3)) == 1


def test_a_label_that_moves_takes_its_traffic_along(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    publish_price(store, tmp_path, 3000, label="champion")
    traffic.reaches("control", 3)
    at, remark = state(gateway, "price", 1)
    assert (at, remark.startswith("kept warm for another ")) == ("AVAILABLE", True)
    DirectoryStore(store).set_label("price", "champion", 1)
    traffic.reaches("control", 1)
    assert len(events(gateway, "version available", model="price", version=1)) == 1
    assert events(gateway, "version unloaded", model="price") == []
    assert state(gateway, "price", 1) == ("AVAILABLE", "")


def test_a_version_is_unloaded_once_its_warm_time_is_over(
    start_gateway: StartGateway, store: Path, tmp_path: Path
) -> None:
    gateway = start_gateway(store, "--set", "store.poll_s=0.1", "--set", "store.keep_warm_s=0.5")
    publish_price(store, tmp_path, 3000, label="champion")
    eventually(lambda: events(gateway, "version unloaded", model="price", version=1))
    assert state(gateway, "price", 1)[0] == "STORED"


def test_many_moves_in_a_row_end_where_the_last_one_says(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    publish_price(store, tmp_path, 3000)
    labels = DirectoryStore(store)
    for number in range(60):
        labels.set_label("price", "champion", 1 + number % 3)
        labels.set_label("price", "challenger", 1 + (number + 1) % 3)
    traffic.reaches("control", 3)
    traffic.reaches("canary", 1)


def test_an_edited_table_takes_effect(gateway: Gateway, traffic: Traffic, store: Path) -> None:
    put_table(store, ROUTES.replace("version: challenger, weight: 50", "version: champion, weight: 50"))
    traffic.reaches("canary", 1)
    put_table(store, ROUTES)
    traffic.reaches("canary", 2)
    assert len(events(gateway, "route table adopted")) == 3


def test_a_table_waits_for_the_versions_that_it_needs(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    publish_price(store, tmp_path, 3000)
    publish_price(store, tmp_path, 4000)
    # Version 3 is neither the newest nor labelled: only the table asks for it, so only now is it loaded.
    put_table(store, ROUTES.replace("version: challenger, weight: 50", "version: 3, weight: 50"))
    traffic.reaches("canary", 3)


# ---------------------------------------------------------------- what must not


WRONG_TABLES = [
    ("no YAML", "routes: [", "line 1"),
    ("a weight", ROUTES.replace("weight: 50", "weight: -1", 1), "$.routes.price.targets[0].weight"),
    ("a label", ROUTES.replace("version: challenger", "version: nobody", 1), "$.routes.price.targets[1].version"),
    ("a model", ROUTES.replace("model: ranking,", "model: nothing,", 1), "$.routes.ranking.targets[0].model"),
    ("a field", ROUTES.replace("salt: price-test", "sallt: price-test"), "$.routes.price"),
]


def test_a_wrong_table_leaves_the_old_one_serving(gateway: Gateway, traffic: Traffic, store: Path) -> None:
    def check(name: str, table: str, place: str) -> None:
        put_table(store, table)
        try:
            problem = eventually(lambda: client.routes().problem)
            assert problem.startswith(place)
            traffic.goes_on()
            assert client.routes().routes == before.routes
            event = "the store's route table is not being served; the one before it is"
            (told,) = events(gateway, event, problem=problem)
            assert told["level"] == "warning"
        finally:
            put_table(store, ROUTES)
            eventually(lambda: not client.routes().problem)

    with turnout.Client(gateway.address) as client:
        before = client.routes()
        check_all(WRONG_TABLES, check)


def corrupt(version: Path) -> None:
    """Change a byte, as a bad disk does."""
    content = bytearray((version / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (version / "model.onnx").write_bytes(content)


def truncate(version: Path) -> None:
    os.truncate(version / "model.onnx", 10)


def remove_a_file(version: Path) -> None:
    (version / "model.onnx").unlink()


def break_manifest(version: Path) -> None:
    (version / "manifest.json").write_text("{")


@pytest.mark.parametrize("harm", [corrupt, truncate, remove_a_file, break_manifest])
def test_a_version_that_is_not_what_was_published_leaves_the_old_one_serving(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    # Published elsewhere and moved in broken, so that no look at the store finds it whole.
    elsewhere = Path(shutil.copytree(store / "models/price", tmp_path / "elsewhere/models/price")).parents[1]
    assert publish_price(elsewhere, tmp_path, 3000) == 3
    harm(elsewhere / "models/price/3")
    (elsewhere / "models/price/3").rename(store / "models/price/3")
    DirectoryStore(store).set_label("price", "champion", 3)
    fails(gateway, traffic)


def test_a_graph_that_is_garbage_leaves_the_old_one_serving(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "garbage.onnx"
    file.write_bytes(b"\x08\x08garbage" * 100)
    assert publish_graph(store, "price", Task.PRICE, PRICE, file, label="champion") == 3
    fails(gateway, traffic)


def test_a_graph_of_another_signature_leaves_the_old_one_serving(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    file = tmp_path / "other.onnx"
    onnx.save(graphs.ranking([1, 2, 3]), file)
    assert publish_graph(store, "price", Task.PRICE, PRICE, file, label="champion") == 3
    fails(gateway, traffic)


def fails(gateway: Gateway, traffic: Traffic) -> None:
    """Version 3 of `price`, which its champion label names, must fail, be told of, and harm nobody."""
    detail = eventually(lambda: (found := state(gateway, "price", 3))[0] == "FAILED" and found[1])
    told = events(gateway, "version cannot be served", model="price", version=3)
    assert told[0]["level"] == "error"
    assert told[0]["problem"] == detail
    traffic.reaches("control", 1)
    assert state(gateway, "price", 1)[0] == "AVAILABLE"


def test_deleting_a_version_takes_nothing_from_what_is_loaded(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    shutil.rmtree(store / "models/price/1")  # the champion, in use
    traffic.goes_on()
    traffic.reaches("control", 1)
    publish_price(store, tmp_path, 3000, label="champion")
    traffic.reaches("control", 3)
    with turnout.Client(gateway.address) as client:
        eventually(lambda: [one.version for one in client.model("price").versions] == [3, 2])


@pytest.mark.parametrize("part", [".", "models"])
def test_a_store_that_is_away_for_a_while_costs_nothing(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path, part: str
) -> None:
    place, away = store / part, tmp_path / "away"
    place.rename(away)
    eventually(lambda: events(gateway, "the store cannot be read; what is loaded goes on serving", level="error"))
    traffic.goes_on()
    away.rename(place)
    eventually(lambda: events(gateway, "the store can be read again"))
    publish_price(store, tmp_path, 3000, label="champion")
    traffic.reaches("control", 3)


def test_a_model_that_is_away_for_a_while_costs_nothing(
    gateway: Gateway, traffic: Traffic, store: Path, tmp_path: Path
) -> None:
    (store / "models/price").rename(tmp_path / "price")
    with turnout.Client(gateway.address) as client:
        eventually(lambda: price_is_gone(client))
        traffic.goes_on()
        (tmp_path / "price").rename(store / "models/price")
        eventually(lambda: client.model("price").labels)
    assert records(gateway)[-1]["level"] != "error"


def price_is_gone(client: turnout.Client) -> bool:
    return not client.model("price").labels
