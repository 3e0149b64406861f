"""What layers and experiments are to each other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from turnout_server.routing.layer import Layer, check_layers
from turnout_server.routing.route import Route
from turnout_server.vocabulary.errors import InvalidRouteTableError

ARM = {"name": "a", "model": "m", "version": 1, "weight": 1}
LAYERS = {"checkout": Layer("checkout-2026", 0.05), "search": Layer("search-2026")}


def route(salt: str, **experiment: Any) -> Route:
    described = {"control": "a", "layer": "checkout"} | experiment
    return msgspec.convert({"salt": salt, "targets": [ARM], "experiment": described}, Route)


def refusal(layers: dict[str, Layer], **routes: Route) -> InvalidRouteTableError:
    with pytest.raises(InvalidRouteTableError) as caught:
        check_layers(layers, routes)
    return caught.value


def test_experiments_that_share_a_layers_buckets_pass() -> None:
    first, second = route("s", name="x", buckets=[[0, 300], [500, 501]]), route("t", name="y", buckets=[[300, 500]])
    check_layers(LAYERS, {"one": first, "two": second, "three": route("u", name="z", layer="search")})


def test_a_bucket_that_two_experiments_want_is_refused_with_both_places() -> None:
    wide, narrow = route("s", name="x", buckets=[[0, 10], [100, 600]]), route("t", name="y", buckets=[[599, 600]])
    found = refusal(LAYERS, one=wide, two=narrow)
    assert found.place == "$.routes.two.experiment.buckets[0]"
    assert "$.routes.one.experiment.buckets[1]" in str(found)
    assert "found [599, 600]" in str(found)
    assert "[100, 600]" in str(found)


def test_a_bucket_that_is_granted_to_one_experiment_twice_is_refused() -> None:
    found = refusal(LAYERS, one=route("s", name="x", buckets=[[0, 10], [9, 20]]))
    assert found.place == "$.routes.one.experiment.buckets[1]"


def test_the_same_buckets_of_two_layers_are_not_the_same() -> None:
    check_layers(LAYERS, {"one": route("s", name="x"), "two": route("t", name="y", layer="search")})


def test_two_experiments_of_one_name_are_refused_with_both_places() -> None:
    found = refusal(LAYERS, one=route("s", name="x"), two=route("t", name="x", layer="search"))
    assert found.place == "$.routes.two.experiment.name"
    assert "$.routes.one.experiment" in str(found)


def test_a_layer_that_is_not_there_is_refused_with_those_that_are() -> None:
    found = refusal(LAYERS, one=route("s", name="x", layer="chekout"))
    assert found.place == "$.routes.one.experiment.layer"
    assert "the table has checkout, search" in str(found)


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ({"checkout": Layer("s")}, "$.layers.checkout.salt"),
        ({"checkout": Layer("t"), "search": Layer("t")}, "$.layers.search.salt"),
        ({"checkout": Layer("half \ud800")}, "$.layers.checkout.salt"),
        ({"checkout": Layer("t", float("nan"))}, "$.layers.checkout.holdout"),
    ],
)
def test_a_layer_that_is_wrong_is_refused_with_its_place(layers: dict[str, Layer], place: str) -> None:
    assert refusal(layers, one=route("s", name="x")).place == place


def test_a_layer_that_no_experiment_is_in_may_wait_for_one() -> None:
    check_layers(LAYERS, {})
