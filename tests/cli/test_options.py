"""What is typed, as values."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import typer

from turnout_server.cli import exits, options
from turnout_server.cli.exits import CommandError


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.7", 0.7), ("true", True), ("Ideal", "Ideal"), ('"7"', "7"), ("[1]", "[1]"), ("", ""), ("null", None)],
)
def test_a_value_is_read_as_json_would(text: str, value: Any) -> None:
    assert options.scalar(text) == value


@pytest.mark.parametrize(("text", "value"), [("7", 7), ("champion", "champion"), ("٣", "٣"), ("9" * 19, "9" * 19)])
def test_a_version_is_a_number_or_a_label(text: str, value: int | str) -> None:
    assert options.selector(text) == value


def test_pairs_have_a_name_and_a_value() -> None:
    assert options.pairs(["a=1", "b=x=y", "c="], "--set") == {"a": "1", "b": "x=y", "c": ""}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(typer.BadParameter, match="--set"):
            options.pairs(wrong, "--set")


def test_a_gateways_address_may_be_a_url() -> None:
    assert options._address(None) is None
    assert options._address("gateway:8001") == "gateway:8001"
    assert options._address("http://gateway:8001") == "gateway:8001"
    with pytest.raises(typer.BadParameter, match="asks for TLS"):
        options._address("https://gateway:8001")


def test_text_comes_from_a_file_or_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes("漢".encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"typed")))
    assert [options.read_text(file), options.read_text(Path("-"))] == ["漢", "typed"]
    file.write_bytes(b"\xff")
    for wrong, code in ((file, exits.INVALID), (tmp_path / "gone", exits.NOT_FOUND)):
        with pytest.raises(CommandError) as caught:
            options.read_text(wrong)
        assert caught.value.code == code
