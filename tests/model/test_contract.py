"""An artifact directory is whole and unchanged, or the error says what is wrong."""

import dataclasses
import json

import pytest

from model.contract import ContractError, Manifest, file_sha256, read_manifest, verify, write_manifest


@pytest.fixture
def artifact(tmp_path):
    saved_model = tmp_path / "saved_model"
    (saved_model / "variables").mkdir(parents=True)
    (saved_model / "saved_model.pb").write_bytes(b"graph")
    (saved_model / "variables" / "variables.index").write_bytes(b"index")
    files = {
        f"saved_model/{name}": file_sha256(saved_model / name)
        for name in ("saved_model.pb", "variables/variables.index")
    }
    manifest = Manifest(name="tiny", version="3", input_size=64, geometry="stretch", files=files)
    write_manifest(tmp_path, manifest)
    return tmp_path


def edit(artifact, **changes):
    path = artifact / "manifest.json"
    document = json.loads(path.read_text())
    document.update(changes)
    path.write_text(json.dumps(document))


def test_a_whole_artifact_is_verified(artifact):
    manifest = verify(artifact)
    assert manifest.label == "tiny@3"
    assert manifest.input_size == 64


def test_a_manifest_survives_writing_and_reading(artifact):
    manifest = dataclasses.replace(read_manifest(artifact), metrics={"P3M-500-NP/MAD": 0.0125}, data="drawn")
    write_manifest(artifact, manifest)
    assert read_manifest(artifact) == manifest


def test_the_models_digest_changes_with_any_file(artifact):
    before = read_manifest(artifact)
    files = dict(before.files)
    files["saved_model/saved_model.pb"] = "0" * 64
    assert dataclasses.replace(before, files=files).sha256 != before.sha256


def test_a_changed_file_is_named(artifact):
    (artifact / "saved_model" / "saved_model.pb").write_bytes(b"grapf")
    with pytest.raises(ContractError, match=r"saved_model\.pb: SHA-256 is .* changed or damaged"):
        verify(artifact)


def test_a_missing_file_is_named(artifact):
    (artifact / "saved_model" / "variables" / "variables.index").unlink()
    with pytest.raises(ContractError, match=r"missing saved_model/variables/variables\.index"):
        verify(artifact)


def test_an_unlisted_file_is_named(artifact):
    (artifact / "saved_model" / "extra.so").write_bytes(b"")
    with pytest.raises(ContractError, match=r"not listed in the manifest: saved_model/extra\.so"):
        verify(artifact)


def test_a_missing_directory_and_a_missing_manifest_are_told_apart(artifact, tmp_path):
    with pytest.raises(ContractError, match="no such model directory"):
        verify(tmp_path / "nowhere")
    (artifact / "manifest.json").unlink()
    with pytest.raises(ContractError, match="python -m training export"):
        verify(artifact)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 2}, "schema_version is 2, this version reads 1"),
        ({"input_size": 100}, "multiple of 32"),
        ({"input_size": "320"}, "input_size must be int"),
        ({"input_size": True}, "input_size must be int"),
        ({"sharpness": 0.0}, "sharpness must be positive"),
        ({"geometry": "fisheye"}, "geometry must be one of stretch, limited, letterbox"),
        ({"name": "Not A Name"}, "name must match"),
        ({"input_name": "x"}, "tensors must be named image and alpha"),
        ({"files": {}}, "must list the SavedModel"),
        ({"files": {"saved_model/../../etc/passwd": "0" * 64}}, "not below saved_model/"),
        ({"files": {"saved_model/saved_model.pb": "abc"}}, "not a SHA-256"),
        ({"metrics": {"MAD": "small"}}, "metrics must be numbers"),
        ({"cascade": {"100": 0.9}}, "cascade must name positive multiples of 32"),
        ({"cascade": {"-32": 0.9}}, "cascade must name positive multiples of 32"),
        ({"cascade": {"320": 2}}, r"cascade must hold confidences of 0\.\.1"),
        ({"cascade": {"960": 0.9}}, "cascade must name input_size"),
        ({"surprise": 1}, "unexpected keyword argument 'surprise'"),
    ],
)
def test_impossible_manifests_are_refused(artifact, changes, message):
    edit(artifact, **changes)
    with pytest.raises(ContractError, match=message):
        read_manifest(artifact)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_manifest_that_is_no_object_is_refused(artifact, text):
    (artifact / "manifest.json").write_text(text)
    with pytest.raises(ContractError, match=r"manifest\.json"):
        read_manifest(artifact)
