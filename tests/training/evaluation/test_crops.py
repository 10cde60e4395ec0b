"""Cuts keep image, alpha and trimap together."""

import numpy as np

from training.evaluation.crops import Crop, Sample, crop_sample


def sample(height=80, width=60, left=30, right=40, top=20):
    alpha = np.zeros((height, width), np.float32)
    alpha[top:, left:right] = 1
    image = np.repeat(np.arange(height * width).reshape(height, width, 1) % 251, 3, 2).astype(np.uint8)
    return Sample(image, alpha, (alpha * 255).astype(np.uint8))


def test_the_whole_picture_is_left_as_it_is():
    whole = sample()
    assert crop_sample(whole, Crop.WHOLE) is whole


def test_a_landscape_is_the_upper_part_in_4_to_3():
    whole = sample()
    cut = crop_sample(whole, Crop.LANDSCAPE)
    assert cut.alpha.shape == (45, 60)
    np.testing.assert_array_equal(cut.image, whole.image[:45])
    np.testing.assert_array_equal(cut.trimap, whole.trimap[:45])
    wide = sample(30, 80)
    assert crop_sample(wide, Crop.LANDSCAPE).alpha.shape == (30, 80)


def test_nobody_is_the_largest_strip_without_people():
    assert crop_sample(sample(), Crop.NOBODY).alpha.shape == (80, 30)
    assert crop_sample(sample(left=10, right=12), Crop.NOBODY).alpha.shape == (80, 48)
    above = crop_sample(sample(left=0, right=60, top=50), Crop.NOBODY)
    assert above.alpha.shape == (50, 60)
    assert above.alpha.max() == 0


def test_a_picture_full_of_people_has_no_such_strip():
    assert crop_sample(sample(left=2, right=58, top=3), Crop.NOBODY) is None


def test_a_picture_without_people_is_its_own_strip():
    assert crop_sample(sample(left=0, right=0), Crop.NOBODY).alpha.shape == (80, 60)
