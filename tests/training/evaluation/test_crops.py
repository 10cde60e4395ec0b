"""Cuts keep image, alpha and trimap together."""

import numpy as np

from training.evaluation.crops import Cut, Sample, cut_out


def sample(height=80, width=60, left=30, right=40, top=20):
    alpha = np.zeros((height, width), np.float32)
    alpha[top:, left:right] = 1
    image = np.repeat(np.arange(height * width).reshape(height, width, 1) % 251, 3, 2).astype(np.uint8)
    return Sample(image, alpha, (alpha * 255).astype(np.uint8))


def test_the_whole_picture_is_left_as_it_is():
    whole = sample()
    assert cut_out(whole, Cut.WHOLE) is whole


def test_a_landscape_is_the_upper_part_in_4_to_3():
    whole = sample()
    cut = cut_out(whole, Cut.LANDSCAPE)
    assert cut.alpha.shape == (45, 60)
    np.testing.assert_array_equal(cut.image, whole.image[:45])
    np.testing.assert_array_equal(cut.trimap, whole.trimap[:45])
    wide = sample(30, 80)
    assert cut_out(wide, Cut.LANDSCAPE).alpha.shape == (30, 80)


def test_nobody_is_the_largest_strip_without_people():
    assert cut_out(sample(), Cut.NOBODY).alpha.shape == (80, 30)
    assert cut_out(sample(left=10, right=12), Cut.NOBODY).alpha.shape == (80, 48)
    above = cut_out(sample(left=0, right=60, top=50), Cut.NOBODY)
    assert above.alpha.shape == (50, 60)
    assert above.alpha.max() == 0


def test_a_picture_full_of_people_has_no_such_strip():
    assert cut_out(sample(left=2, right=58, top=3), Cut.NOBODY) is None


def test_a_picture_without_people_is_its_own_strip():
    assert cut_out(sample(left=0, right=0), Cut.NOBODY).alpha.shape == (80, 60)
