"""Settings, and addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from turnout_server.config import Config, format_address, load, parse_address
from turnout_server.vocabulary.errors import ConfigurationError


def test_without_anything_all_is_as_by_default() -> None:
    assert load(None) == Config()


def test_what_is_typed_wins_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("grace_s: 5\nlimits: {queue_rows: 7, queue_bytes: 9}")
    config = load(file, {"limits.queue_rows": 8})
    assert (config.grace_s, config.limits.queue_rows, config.limits.queue_bytes) == (5, 8, 9)


def test_a_model_has_of_its_own_what_is_said_and_else_what_holds_for_all(tmp_path: Path) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text("limits: {queue_rows: 7, queue_requests: 9}\nmodels: {price: {queue_wait_ms: 20, queue_rows: 8}}")
    config = load(file, {"models.rank.queue_requests": 0})
    price = config.models["price"].over(config.limits)
    assert (price.queue_wait_ms, price.queue_rows, price.queue_requests) == (20.0, 8, 9)
    rank = config.models["rank"].over(config.limits)
    assert (rank.queue_wait_ms, rank.queue_rows, rank.queue_requests) == (50.0, 7, 0)


@pytest.mark.parametrize(
    ("text", "overrides", "problem"),
    [
        ("[1]", {}, "expected a mapping at the top"),
        ("a: b: c", {}, "not YAML"),
        ("listen: !!bool x", {}, "not YAML"),
        ("listen: !!timestamp x", {}, "not YAML"),
        ("grace_s: " + "9" * 5_000, {}, "not YAML"),
        ("grace_s: " + "1:" * 200 + "1.5", {}, "not YAML"),
        ("limits: 3", {"limits.queue_rows": 1}, r"\$.limits: expected a mapping"),
        ("limits: {queue_rows: 0}", {}, r"\$.limits.queue_rows"),
        ("limits: {queue_rows: 1000000000000000000000000}", {}, r"\$.limits.queue_rows"),
        ("limits: {max_message_bytes: 2147483648}", {}, r"\$.limits.max_message_bytes"),
        ("scheduling: {workers: 1000000000000000000000000}", {}, r"\$.scheduling.workers"),
        ("store: {load_timeout_s: .inf}", {}, r"\$.store.load_timeout_s"),
        ("store: {load_timeout_s: 2200000}", {}, r"\$.store.load_timeout_s"),
        ("store: {load_timeout_s: .nan}", {}, r"\$.store.load_timeout_s"),
        ("store: {load_memory_mb: 511}", {}, r"\$.store.load_memory_mb"),
        ("store: {load_memory_mb: 100000000000000}", {}, r"\$.store.load_memory_mb"),
        ("grace_s: .inf", {}, r"\$.grace_s"),
        ("nonsense: 1", {}, "nonsense"),
        ("models: {price: {queue_wait_ms: -1}}", {}, r"\$.models\[...\].queue_wait_ms|\$.models"),
        ("models: {price: {queue_wait: 1}}", {}, "queue_wait"),
        ("models: {PRICE: {queue_wait_ms: 1}}", {}, "models"),
        (r'data_plane: "\ud800"', {}, "surrogates not allowed"),
        ("data_plane: rust", {}, r"Invalid enum value 'rust' - at `\$.data_plane`"),
        ("", {"listen": "nowhere"}, "listen: found 'nowhere'; expected HOST:PORT"),
        ("", {"telemetry.metrics": "x:y"}, "metrics: found"),
    ],
)
def test_what_is_wrong_has_its_place(tmp_path: Path, text: str, overrides: dict[str, Any], problem: str) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=problem):
        load(file, overrides)


@pytest.mark.parametrize(
    ("text", "data_plane"),
    [
        ("transport: native", "auto"),
        ("transport: grpcio", "python"),
        ("transport: native\ndata_plane: engine", "engine"),
        ("transport: native\ndata_plane: python", "python"),
        ("transport: grpcio\ndata_plane: python", "python"),
        ("transport: grpcio\ndata_plane: auto", "python"),
    ],
)
def test_the_older_key_means_the_newer_and_is_told_of(tmp_path: Path, text: str, data_plane: str) -> None:
    file = tmp_path / "turnout.yaml"
    file.write_text(text)
    config = load(file)
    assert config.data_plane == data_plane
    assert config.outdated.startswith(f"{text.partition(chr(10))[0]} is data_plane: ")
    assert not Config().outdated


def test_what_contradicts_the_older_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="transport: grpcio is data_plane: python now, and contradicts"):
        load(None, {"transport": "grpcio", "data_plane": "engine"})


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:8001", "name:65535"])
def test_an_address_is_put_together_as_it_was(text: str) -> None:
    assert format_address(*parse_address(text, "listen")) == text


@pytest.mark.parametrize("text", ["", ":1", "host", "host:", "host:-1", "host:65536", "::1:80", "host:٣"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        parse_address(text, "listen")
