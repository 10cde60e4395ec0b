"""Kernels in 8 bits: each output channel has its own scale, and what was narrowed is narrowed again as it is."""

import numpy as np
import pytest

from model.eight_bits import LARGEST, bears_8_bits, in_8_bits


def kernel(*shape):
    return np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32)


def lopsided():
    """One input channel counts a hundred times as much as the others, and its centre alone."""
    found = kernel(3, 3, 32, 8)
    found[1, 1, 5] = np.random.default_rng(2).uniform(10, 20, 8)
    return found


def test_each_output_channel_has_its_own_scale_and_half_a_step_is_the_largest_error():
    exact = kernel(3, 3, 8, 4) * np.float32([1e-6, 1, 3, 1e4])
    values, scale = in_8_bits(exact)
    assert (values.dtype, values.shape, scale.shape) == (np.int8, exact.shape, (4,))
    assert (np.abs(values).max(axis=(0, 1, 2)) == LARGEST).all()
    assert (np.abs(values * scale - exact) <= 0.5001 * scale).all()


def test_what_was_narrowed_is_narrowed_again_as_it_is():
    values, scale = in_8_bits(kernel(3, 3, 8, 4))
    again, scale_again = in_8_bits(values * scale)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_allclose(scale_again, scale, rtol=1e-6)


def test_a_channel_of_zeros_stays_one():
    values, scale = in_8_bits(np.zeros((3, 3, 8, 4), np.float32))
    assert not values.any()
    assert np.isfinite(scale).all()


@pytest.mark.parametrize("shape", [(3, 3, 4, 16), (3, 3, 64, 16), (1, 1, 6, 4)])
def test_kernels_of_weights_of_one_size_bear_8_bits_whatever_their_channels_are_multiplied_by(shape):
    assert bears_8_bits(kernel(*shape))
    assert bears_8_bits(kernel(*shape) * np.geomspace(1e-6, 1e6, shape[-1], dtype=np.float32))


def test_a_kernel_of_which_one_weight_outdoes_all_others_does_not_bear_8_bits():
    assert not bears_8_bits(lopsided())
    assert not bears_8_bits(lopsided() * np.geomspace(1e-6, 1e6, 8, dtype=np.float32))


def test_one_odd_output_channel_among_many_is_no_reason_to_keep_a_kernel_in_float():
    exact = kernel(3, 3, 32, 8)
    exact[1, 1, 5, 2] = 15
    assert bears_8_bits(exact)


def test_a_kernel_of_zeros_bears_8_bits():
    assert bears_8_bits(np.zeros((3, 3, 8, 4), np.float32))


def test_the_kernel_that_sees_the_picture_stays_in_float():
    assert not bears_8_bits(kernel(3, 3, 3, 16))
