"""ModelService shows what the catalogue knows, and moves labels."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tests.rpc.turnout_v1.typed_fakes import FakeCall, FakeCatalog, manifest
from turnout import v1 as pb
from turnout_server.rpc.turnout_v1.models import ModelService
from turnout_server.serving.state import State
from turnout_server.store.manifest import Lineage
from turnout_server.vocabulary.errors import InvalidManifestError, InvalidRequestError, ModelNotFoundError
from turnout_server.vocabulary.signature import Column, DType, TensorSpec
from turnout_server.vocabulary.versions import VersionKey

CALL = FakeCall()


def catalog_of(*keys: tuple[str, int]) -> FakeCatalog:
    catalog = FakeCatalog()
    for model, version in keys:
        catalog.add(manifest(model, version), VersionKey(model, version))
    return catalog


async def test_models_come_by_name_and_versions_newest_first() -> None:
    catalog = catalog_of(("rank", 1), ("price", 2), ("price", 10), ("price", 9))
    catalog.label_maps = {"price": {"champion": 9}}
    answer = await ModelService(catalog, catalog).ListModels(pb.ListModelsRequest(), CALL)
    assert [(model.name, [one.version for one in model.versions]) for model in answer.models] == [
        ("price", [10, 9, 2]),
        ("rank", [1]),
    ]
    assert dict(answer.models[0].labels) == {"champion": 9}
    assert answer.next_page_token == ""


async def test_a_version_says_everything_about_itself() -> None:
    catalog = FakeCatalog()
    made = msgspec.structs.replace(
        manifest(
            "price",
            3,
            TensorSpec("features", DType.FP32, (-1, 2), columns=(Column("a"), Column("b", 1.0))),
            TensorSpec("cut", DType.BYTES, (-1, 1)),
            outputs=(TensorSpec("price", DType.FP32, (-1,)),),
        ),
        lineage=Lineage(framework="lightgbm 4.7.0", metrics={"rmse": 517.5}),
        owner="pricing",
        description="prices in dollars",
        created_at="2026-11-23T12:30:00.5+02:00",
    )
    catalog.add(made, VersionKey("price", 3), State.UNLOADING, "3 requests left")
    answer = await ModelService(catalog, catalog).GetModel(pb.GetModelRequest(model="price"), CALL)
    (version,) = answer.model.versions
    created = version.create_time.ToDatetime(UTC)
    assert created == datetime(2026, 11, 23, 10, 30, 0, 500_000, tzinfo=UTC)
    version.ClearField("create_time")
    assert version == pb.ModelVersion(
        version=3,
        task="price",
        state=pb.MODEL_STATE_UNLOADING,
        state_detail="3 requests left",
        framework="lightgbm 4.7.0",
        metrics={"rmse": 517.5},
        owner="pricing",
        description="prices in dollars",
        inputs=[
            pb.Tensor(name="features", datatype="FP32", shape=[-1, 2], columns=["a", "b"], column_defaults={"b": 1.0}),
            pb.Tensor(name="cut", datatype="BYTES", shape=[-1, 1]),
        ],
        outputs=[pb.Tensor(name="price", datatype="FP32", shape=[-1])],
    )


@pytest.mark.parametrize(
    ("dtype", "default", "sent"),
    [
        (DType.FP32, 2, pb.DefaultValue(number=2.0)),
        (DType.FP64, 0.5, pb.DefaultValue(number=0.5)),
        (DType.INT64, 0, pb.DefaultValue(integer=0)),
        (DType.UINT64, 2**64 - 1, pb.DefaultValue(number=2.0**64)),
        (DType.BOOL, True, pb.DefaultValue(integer=1)),
        (DType.BYTES, "", pb.DefaultValue(text="")),
    ],
)
async def test_a_default_is_told_apart_from_none(dtype: DType, default: Any, sent: pb.DefaultValue) -> None:
    catalog = FakeCatalog()
    spec = TensorSpec("x", dtype, (-1,), default=default)
    catalog.add(manifest("m", 1, spec, TensorSpec("y", dtype, (-1,))), VersionKey("m", 1))
    answer = await ModelService(catalog, catalog).GetModel(pb.GetModelRequest(model="m"), CALL)
    given, required = answer.model.versions[0].inputs
    assert given.default_value == sent
    assert not required.HasField("default_value")


async def test_every_state_has_its_name_on_the_wire() -> None:
    for state in State:
        catalog = FakeCatalog()
        catalog.add(manifest("price", 1), VersionKey("price", 1), state)
        answer = await ModelService(catalog, catalog).GetModel(pb.GetModelRequest(model="price"), CALL)
        assert pb.ModelState.Name(answer.model.versions[0].state) == f"MODEL_STATE_{state.name}"


@pytest.mark.parametrize(
    ("state", "detail", "expected"),
    [
        (State.STORED, "", (pb.MODEL_STATE_FAILED, "manifest.json: not JSON")),
        (State.FAILED, "cannot load", (pb.MODEL_STATE_FAILED, "cannot load")),
        (State.AVAILABLE, "", (pb.MODEL_STATE_AVAILABLE, "manifest.json: not JSON")),
    ],
)
async def test_an_unreadable_manifest_spoils_only_its_own_version(
    state: State, detail: str, expected: tuple[int, str]
) -> None:
    catalog = catalog_of(("price", 1))
    catalog.add(InvalidManifestError("manifest.json: not JSON"), VersionKey("price", 2), state, detail)
    answer = await ModelService(catalog, catalog).ListModels(pb.ListModelsRequest(), CALL)
    broken, sound = answer.models[0].versions
    assert (broken.version, broken.state, broken.state_detail) == (2, *expected)
    assert (sound.version, sound.state, sound.task) == (1, pb.MODEL_STATE_AVAILABLE, "price")


async def test_a_time_that_is_none_is_left_out() -> None:
    catalog = FakeCatalog()
    catalog.add(msgspec.structs.replace(manifest("price", 1), created_at="yesterday"), VersionKey("price", 1))
    answer = await ModelService(catalog, catalog).GetModel(pb.GetModelRequest(model="price"), CALL)
    assert not answer.model.versions[0].HasField("create_time")
    assert answer.model.versions[0].task == "price"


async def test_pages_follow_each_other() -> None:
    service = ModelService(catalog_of(("a", 1), ("b", 1), ("c", 1)), None)
    first = await service.ListModels(pb.ListModelsRequest(page_size=2), CALL)
    second = await service.ListModels(pb.ListModelsRequest(page_size=2, page_token=first.next_page_token), CALL)
    assert [model.name for model in (*first.models, *second.models)] == ["a", "b", "c"]
    assert second.next_page_token == ""


@pytest.mark.parametrize("request_", [pb.ListModelsRequest(page_size=-1), pb.ListModelsRequest(page_token="x")])
async def test_a_wrong_page_is_refused(request_: pb.ListModelsRequest) -> None:
    with pytest.raises(InvalidRequestError, match=r"page_(size|token)"):
        await ModelService(catalog_of(("a", 1)), FakeCatalog()).ListModels(request_, CALL)


async def test_an_unknown_model_is_not_found_and_no_name_is_refused() -> None:
    service = ModelService(catalog_of(("a", 1)), None)
    with pytest.raises(ModelNotFoundError, match="'b'"):
        await service.GetModel(pb.GetModelRequest(model="b"), CALL)
    with pytest.raises(InvalidRequestError, match="model: is empty"):
        await service.GetModel(pb.GetModelRequest(), CALL)


@pytest.mark.parametrize(
    ("version", "expected_version", "change"),
    [(2, None, (2, None, False)), (0, None, (None, None, False)), (2, 0, (2, None, True)), (0, 1, (None, 1, True))],
)
async def test_a_label_is_moved_or_removed_if_it_is_as_expected(
    version: int, expected_version: int | None, change: tuple[int | None, int | None, bool]
) -> None:
    catalog = catalog_of(("price", 1), ("price", 2))
    catalog.label_maps = {"price": {"champion": 1}}
    request = pb.SetLabelRequest(model="price", label="champion", version=version, expected_version=expected_version)
    answer = await ModelService(catalog, catalog).SetLabel(request, CALL)
    assert catalog.authors[0].who == "unnamed, from 127.0.0.1:1"
    assert catalog.changes == [("price", "champion", *change)]
    assert dict(answer.model.labels) == ({"champion": version} if version else {})


@pytest.mark.parametrize(
    ("request_", "place"),
    [
        (pb.SetLabelRequest(label="champion", version=1), "model"),
        (pb.SetLabelRequest(model="price", version=1), "label"),
        (pb.SetLabelRequest(model="price", label="champion", version=-1), "version: found -1"),
        (pb.SetLabelRequest(model="price", label="c", version=1, expected_version=-2), "expected_version: found -2"),
    ],
)
async def test_a_wrong_move_is_refused_and_changes_nothing(request_: pb.SetLabelRequest, place: str) -> None:
    catalog = catalog_of(("price", 1))
    with pytest.raises(InvalidRequestError, match=place):
        await ModelService(catalog, catalog).SetLabel(request_, CALL)
    assert catalog.changes == []
