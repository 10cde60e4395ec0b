"""Ranges are what photos reach, and rounding to them is what 8 bits do."""

import cv2
import keras
import numpy as np
import pytest

from model.transforms import to_model_input
from model.u2net import normalise, u2net
from tests.training import shallow_network
from training.export.calibration import (
    PHOTOS,
    Cost,
    PhotosError,
    alphas,
    largest_activations,
    photos_in,
    squares,
    with_quantised_activations,
)

SIZE = 64


@pytest.fixture
def network(monkeypatch):
    shallow_network.use(monkeypatch)
    return u2net("lite")


def random_squares(count=3):
    return list(np.random.default_rng(2).integers(0, 256, (count, 1, SIZE, SIZE, 3), np.uint8))


def test_ranges_are_the_largest_values_in_the_order_of_computation(network):
    seen = random_squares()
    found = largest_activations(network, seen)
    assert list(found.sum) == ["stage1", "stage2", "stage1d"]
    assert next(iter(found.relu)) == "stage1.rebnconvin"
    assert list(found.relu)[-1] == "stage1d.rebnconv1d"
    assert len(found.relu) == sum(layer.name.endswith(".relu_s1") for layer in network.layers)
    inside = keras.Model(network.inputs, network.get_layer("stage1.add").output)
    expected = max(float(np.max(inside(normalise(square), training=False))) for square in seen)
    assert found.sum["stage1"] == pytest.approx(expected, rel=1e-4)


def test_rounded_activations_move_alphas_a_little_and_wrong_ranges_a_lot(network):
    seen = random_squares()
    exact = alphas(network, seen, 1.0)
    found = largest_activations(network, seen)
    cost = Cost.between(alphas(with_quantised_activations(network, found), seen, 1.0), exact)
    assert 0 < cost.mean < 0.01
    assert cost.mean <= cost.percentile
    narrow = type(found)({name: value / 20 for name, value in found.relu.items()}, found.sum)
    wrong = Cost.between(alphas(with_quantised_activations(network, narrow), seen, 1.0), exact)
    assert wrong.mean > 3 * cost.mean


def test_photos_are_seen_as_the_service_shows_them(tmp_path):
    coarse = np.random.default_rng(4).integers(0, 256, (9, 9, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "0.png"), cv2.resize(coarse, (90, 60)))
    photo = cv2.imread(str(tmp_path / "0.png"))[:, :, ::-1]
    (batch,) = squares(photos_in(tmp_path), SIZE, "letterbox")
    np.testing.assert_array_equal(batch, [to_model_input(photo, SIZE, "letterbox")])


def test_photos_are_spread_over_the_folder(tmp_path):
    (tmp_path / "notes.txt").touch()
    for i in range(3 * PHOTOS):
        (tmp_path / f"{i:03d}.JPG").touch()
    found = photos_in(tmp_path)
    assert len(set(found)) == PHOTOS
    assert (found[0].name, found[-1].name) == ("000.JPG", f"{3 * PHOTOS - 1:03d}.JPG")


def test_a_folder_without_photos_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(PhotosError, match=r"holds no photo \(\.jpeg, \.jpg, \.png, \.webp\); give a folder"):
        photos_in(tmp_path)
    with pytest.raises(PhotosError, match="none: no such folder of photos"):
        photos_in(tmp_path / "none")
