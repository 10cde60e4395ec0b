"""What variables hold a weight, and that it comes back from them."""

import keras
import numpy as np
import pytest

from training.weights.storage import StoredWeight, restored_by_name


@pytest.mark.parametrize(
    ("layer", "narrow"), [("stage1.rebnconv1.conv_s1", True), ("side1", False), ("outconv", False)]
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


def test_a_kernel_that_does_not_bear_8_bits_keeps_all_bits():
    convolution = keras.layers.Conv2D(4, 3, name="stage1.rebnconv1.conv_s1")
    convolution.build((None, None, None, 32))
    exact = convolution.kernel.numpy()
    exact[1, 1, 5] = 100
    convolution.kernel.assign(exact)
    stored = StoredWeight(convolution.kernel, "int8")
    assert [part.dtype.name for part in stored.parts] == ["float32"]
    np.testing.assert_array_equal(stored.restored(), exact)
