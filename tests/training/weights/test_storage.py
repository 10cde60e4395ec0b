"""Kernels in 8 bits: each output channel has its own scale, and what was stored is stored again as it is."""

import keras
import numpy as np
import pytest

from training.weights.storage import LARGEST, StoredWeight, in_8_bits, restored_by_name


def kernel(*shape):
    return np.random.default_rng(1).normal(0, 0.1, shape).astype(np.float32)


def test_each_output_channel_has_its_own_scale_and_half_a_step_is_the_largest_error():
    exact = kernel(3, 3, 8, 4) * np.float32([1e-6, 1, 3, 1e4])
    values, scale = in_8_bits(exact)
    assert (values.dtype, values.shape, scale.shape) == (np.int8, exact.shape, (4,))
    assert (np.abs(values).max(axis=(0, 1, 2)) == LARGEST).all()
    assert (np.abs(values * scale - exact) <= 0.5001 * scale).all()


def test_what_was_stored_is_stored_again_as_it_is():
    values, scale = in_8_bits(kernel(3, 3, 8, 4))
    again, scale_again = in_8_bits(values * scale)
    np.testing.assert_array_equal(again, values)
    np.testing.assert_allclose(scale_again, scale, rtol=1e-6)


def test_a_channel_of_zeros_stays_one():
    values, scale = in_8_bits(np.zeros((3, 3, 2, 4), np.float32))
    assert not values.any()
    assert np.isfinite(scale).all()


@pytest.mark.parametrize(
    ("layer", "narrow"), [("stage1.rebnconvin.conv_s1", True), ("side1", False), ("outconv", False)]
)
def test_kernels_that_make_logits_keep_all_bits(layer, narrow):
    convolution = keras.layers.Conv2D(4, 3, name=layer)
    convolution.build((None, None, None, 8))
    stored = StoredWeight(convolution.kernel, "int8")
    assert [part.dtype.name for part in stored.parts] == (["int8", "float32"] if narrow else ["float32"])
    exact = convolution.kernel.numpy()
    assert np.abs(stored.restored() - exact).max() < 0.01 * np.abs(exact).max()
    (name,) = restored_by_name(stored.parts)
    np.testing.assert_array_equal(restored_by_name(stored.parts)[name], stored.restored())
