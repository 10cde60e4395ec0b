"""The network against its paper: parameter counts, shapes, and an independent computation of its blocks."""

import keras
import numpy as np
import pytest
from keras import ops

from model.u2net import BATCH_NORM_EPSILON, CHANNEL_MEAN, CHANNEL_STD, normalise, u2net


@pytest.fixture(scope="module")
def lite():
    keras.utils.set_random_seed(3)
    return u2net("lite")


@pytest.mark.parametrize(
    ("variant", "trainable"),
    # The counts of the official PyTorch definitions (44.0 M and 1.13 M in the paper).
    [("full", 44_009_869), ("lite", 1_131_181)],
)
def test_parameter_counts_are_the_papers(variant, trainable):
    assert count_trainable(u2net(variant)) == trainable


def test_half_width_has_about_a_quarter_of_the_parameters():
    ratio = count_trainable(u2net("full", width=0.5)) / 44_009_869
    # Not quite: biases and batch norm shrink by a half, and stage1d's inner channels are rounded up to a block.
    assert 0.25 <= ratio < 0.255


def count_trainable(network):
    return sum(int(np.prod(w.shape)) for w in network.trainable_weights)


def test_gives_seven_logit_maps_of_the_inputs_size(lite):
    maps = lite(np.zeros((2, 64, 96, 3), np.float32))
    assert [tuple(each.shape) for each in maps] == [(2, 64, 96, 1)] * 7


def test_fused_map_is_a_weighted_sum_of_the_six_sides(lite):
    fused, *sides = lite(np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32))
    kernel, bias = lite.get_layer("outconv").get_weights()
    expected = np.concatenate([ops.convert_to_numpy(s) for s in sides], -1) @ kernel[0, 0] + bias
    # One 1x1 convolution in float32: only the order of six additions differs.
    np.testing.assert_allclose(ops.convert_to_numpy(fused), expected, atol=1e-5)


def test_layers_carry_the_official_names(lite):
    names = {layer.name for layer in lite.layers}
    assert {
        "stage1.rebnconvin.conv_s1",
        "stage1.rebnconv7.bn_s1",
        "stage4.rebnconv1d.conv_s1",
        "stage5d.rebnconv3d.bn_s1",
        "side6",
        "outconv",
    } <= names


@pytest.mark.parametrize(
    ("block", "dilation"),
    [("stage1.rebnconv6", 1), ("stage1.rebnconv7", 2), ("stage5.rebnconv3", 4), ("stage6.rebnconv4", 8)],
)
def test_dilations_follow_the_paper(lite, block, dilation):
    assert lite.get_layer(f"{block}.conv_s1").dilation_rate == (dilation, dilation)


def test_enlarging_is_bilinear_with_half_pixel_centres(lite):
    ramp = np.array([0.0, 4.0], np.float32).reshape(1, 1, 2, 1)
    enlarged = ops.convert_to_numpy(lite.get_layer("side2.up")(np.tile(ramp, (1, 2, 1, 1))))
    # PyTorch's align_corners=False puts samples at -0.25, 0.25, 0.75, 1.25, clamped to the ends.
    np.testing.assert_allclose(enlarged[0, 0, :, 0], [0, 1, 3, 4])


def test_pooling_keeps_an_odd_last_row_as_ceil_mode_does(lite):
    column = np.array([1.0, 2.0, 3.0], np.float32).reshape(1, 3, 1, 1)
    pooled = ops.convert_to_numpy(lite.get_layer("stage1.pool1")(column))
    assert pooled[0, :, 0, 0].tolist() == [2, 3]


def test_batch_norm_epsilon_is_pytorchs(lite):
    assert lite.get_layer("stage3.rebnconv2.bn_s1").epsilon == BATCH_NORM_EPSILON == 1e-5


def test_normalise_maps_the_mean_colour_to_zero_and_one_deviation_to_one():
    mean, deviation = np.array(CHANNEL_MEAN), np.array(CHANNEL_STD)
    pixels = np.stack([mean * 255, (mean + deviation) * 255]).reshape(1, 1, 2, 3)
    # float32 division and subtraction near 1: a few units in the last place.
    np.testing.assert_allclose(ops.convert_to_numpy(normalise(pixels))[0, 0], [[0] * 3, [1] * 3], atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "huge"}, "unknown variant 'huge': use one of full, lite"),
        ({"width": 0}, "width must be positive"),
        ({"input_size": 300}, "multiple of 32"),
    ],
)
def test_impossible_networks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        u2net(**arguments)
