from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from app.inference.repository import default_of, is_store, scan
from model.contract import ContractError, Manifest


def put(folder: Path, name: str, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(name, version, input_size=32, geometry="stretch", files={"saved_model/x": "0" * 64})
    (folder / "manifest.json").write_text(manifest.to_json())
    return folder


def labels(folder: Path) -> list[str]:
    return [each.label for each in scan(folder)]


def test_artifact_by_itself_is_one_model(tmp_path: Path) -> None:
    put(tmp_path / "mine", "mine", "3")
    assert not is_store(tmp_path / "mine")
    (only,) = scan(tmp_path / "mine")
    assert (only.label, only.number, only.path) == ("mine@3", 0, tmp_path / "mine")


def test_versions_come_by_name_and_the_newest_first_as_numbers(tmp_path: Path) -> None:
    for name, version in (("b", "2"), ("b", "10"), ("b", "9"), ("a", "1")):
        put(tmp_path / name / version, name, version)
    assert is_store(tmp_path)
    assert labels(tmp_path) == ["a@1", "b@10", "b@9", "b@2"]


def test_version_without_a_manifest_is_not_there_yet(tmp_path: Path) -> None:
    put(tmp_path / "a" / "1", "a", "1")
    (tmp_path / "a" / "2" / "saved_model").mkdir(parents=True)
    assert labels(tmp_path) == ["a@1"]


@pytest.mark.parametrize("folder", ["2-copying", ".2", "v2", "²"])
def test_folder_that_is_no_number_is_no_version(tmp_path: Path, folder: str) -> None:
    put(tmp_path / "a" / "1", "a", "1")
    put(tmp_path / "a" / folder, "a", "2")
    assert labels(tmp_path) == ["a@1"]


def test_version_in_the_wrong_place_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path / "a" / "1", "a", "1")
    put(tmp_path / "a" / "2", "a", "3")
    with caplog.at_level(logging.ERROR):
        assert labels(tmp_path) == ["a@1"]
    assert "its manifest says a@3; put it into a/3" in caplog.text


def test_broken_manifest_does_not_hide_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "a" / "1", "a", "1")
    (put(tmp_path / "a" / "2", "a", "2") / "manifest.json").write_text("{")
    assert labels(tmp_path) == ["a@1"]
    assert "not readable as JSON" in caplog.text


def test_store_of_broken_models_only_is_an_error(tmp_path: Path) -> None:
    (put(tmp_path / "a" / "2", "a", "2") / "manifest.json").write_text(json.dumps({}))
    with pytest.raises(ContractError, match="none of its versions can be served"):
        scan(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_folder_without_any_model_is_an_error(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "empty"
    if exists:
        folder.mkdir()
    with pytest.raises(ContractError, match=r"empty"):
        scan(folder)


def test_default_is_the_newest_of_the_only_name_or_the_chosen_one(tmp_path: Path) -> None:
    for version in ("1", "2"):
        put(tmp_path / "b" / version, "b", version)
    found = scan(tmp_path)
    assert [default_of(found, wish).label for wish in ("", "b", "b@1")] == ["b@2", "b@2", "b@1"]
    with pytest.raises(ContractError, match=r"MATTE_DEFAULT_MODEL is 'b@3', and there is b@2, b@1"):
        default_of(found, "b@3")
    put(tmp_path / "a" / "1", "a", "1")
    with pytest.raises(ContractError, match=r"several models \(a, b\): set MATTE_DEFAULT_MODEL"):
        default_of(scan(tmp_path), "")
