"""An artifact leaves as an ONNX file that gives its alpha, and comes back as what it was."""

import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from model.contract import verify
from model.u2net import u2net
from tests.training.official_tensors import telling_tensors
from training.evaluation.predict import load_network
from training.export.artifact import Card, Packing, Serving, export_network
from training.export.import_weights import assign_official, import_weights
from training.export.parity_images import parity_images
from training.export.to_onnx import OnnxExportError, normalised_picture, to_onnx
from training.weights.artifact_weights import rebuild_network

pytestmark = pytest.mark.slow  # builds whole networks in TensorFlow

SIZE = 64
SHARPNESS = 1.5
FORMS = ["pixels", "normalised"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """Small, sharpened, letterboxed: nothing is as it is by default."""
    network = u2net("lite", width=0.25)
    assign_official(network, telling_tensors())
    place = tmp_path_factory.mktemp("artifacts") / "people"
    card = Card(name="people", version="7", data="our portraits", licence="ours")
    export_network(network, Serving(SIZE, "letterbox", SHARPNESS), place, card, packing=Packing("float32"))
    return place


@pytest.fixture(scope="module")
def exported(artifact, tmp_path_factory):
    """By form and whether batch norm is kept: what the export returned, and its file."""
    folder = tmp_path_factory.mktemp("onnx")
    found = {}
    for form in FORMS:
        for kept in (False, True):
            file = folder / f"{form}-{kept}.onnx"
            found[form, kept] = to_onnx(artifact, file, form=form, keep_batch_norm=kept), file
    return found


def alphas(file, given):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_file_gives_the_artifacts_alpha_for_any_number_of_pictures(artifact, exported, form, kept, count):
    pictures = np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    pictures[0] = parity_images(SIZE)[0]
    expected = load_network(artifact)(pictures)
    assert np.ptp(expected) > 0.5
    result, file = exported[form, kept]
    assert result.manifest == verify(artifact)
    assert result.difference < 1e-4
    if form == "pixels":
        given = alphas(file, pictures)[:, :, :, 0]
    else:
        given = alphas(file, normalised_picture(pictures))[:, 0]
    # TensorFlow adds in another order on CPUs without AVX-512: 1.1e-4 was seen there in one pixel of 12,288.
    np.testing.assert_allclose(given, expected, atol=2e-4)


def test_normalised_form_takes_other_sizes_as_rembg_gives_them(exported):
    small = parity_images(SIZE)
    large = small.repeat(5, axis=1).repeat(3, axis=2)
    expected = alphas(exported["normalised", False][1], normalised_picture(small))
    # Bilinear from pixels that were repeated: the middle one of three or five is the pixel itself.
    given = alphas(exported["normalised", False][1], normalised_picture(large))
    np.testing.assert_allclose(given, expected, atol=1e-4)


@pytest.mark.parametrize(("form", "kept"), [("pixels", False), ("normalised", True)])
def test_what_leaves_comes_back_the_same(artifact, exported, tmp_path, form, kept):
    back = import_weights(exported[form, kept][1], tmp_path / "back").manifest
    assert (back.input_size, back.geometry, back.licence) == (SIZE, "letterbox", "ours")
    assert back.data.startswith("our portraits; imported from ")
    assert ("not measured" in back.data) is not kept
    pictures = parity_images(SIZE)
    expected = load_network(artifact)(pictures)
    # Batch norm that was folded rounds otherwise, and the network multiplies that.
    np.testing.assert_allclose(load_network(tmp_path / "back")(pictures), expected, atol=1e-4)
    if kept:
        weights = rebuild_network(tmp_path / "back").get_weights()
        for now, then in zip(weights, rebuild_network(artifact).get_weights(), strict=True):
            np.testing.assert_array_equal(now, then)
    assert back.sharpness == pytest.approx(SHARPNESS)


def test_file_is_folded_named_officially_and_says_what_it_is(exported):
    model = onnx.load(exported["pixels", False][1])
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    assert {"stage1.rebnconvin.conv_s1.weight", "side1.weight", "outconv.bias"} <= {
        each.name for each in model.graph.initializer
    }
    told = {each.key: each.value for each in model.metadata_props}
    assert (told["u2matte.model"], told["u2matte.licence"]) == ("people@7", "ours")
    assert "BatchNormalization" in {
        node.op_type for node in onnx.load(exported["pixels", True][1]).graph.node
    }


def test_an_existing_file_stays_unless_it_may_be_replaced(artifact, tmp_path):
    file = tmp_path / "x.onnx"
    file.write_bytes(b"mine")
    with pytest.raises(OnnxExportError, match=r"x.onnx exists; choose another place or give --overwrite"):
        to_onnx(artifact, file)
    assert file.read_bytes() == b"mine"
    to_onnx(artifact, file, overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == ["x.onnx"]
    onnx.checker.check_model(str(file), full_check=True)


def test_a_file_that_gives_another_alpha_is_not_written(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr("training.export.to_onnx.CHANNEL_MEAN", (0.5, 0.5, 0.5))
    with pytest.raises(OnnxExportError, match=r"ONNX Runtime's alpha differs from the artifact's by 0\.\d+"):
        to_onnx(artifact, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_runtime_nothing_is_compared_and_without_onnx_it_is_asked_for(
    artifact, tmp_path, monkeypatch
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert to_onnx(artifact, tmp_path / "x.onnx").difference is None
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(OnnxExportError, match="pip install onnx"):
        to_onnx(artifact, tmp_path / "y.onnx")
